//! The gateway through its front: real sockets, a real Postgres, a real Redis.

mod bearer;
mod commands;
mod config;
mod contract;
mod leaks;
mod lifecycle;
mod outages;
mod support;
mod tidy;
