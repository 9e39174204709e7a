//! The gateway through its front: real sockets, a real Postgres, a real Redis.

mod config;
mod support;
