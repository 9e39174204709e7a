//! The gateway through its front: real sockets, a real Postgres, a real Redis.

mod bearer;
mod config;
mod lifecycle;
mod outages;
mod support;
