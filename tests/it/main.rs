//! The gateway through its front: real sockets, a real Postgres, a real Redis.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, which is what it is for"
)]

mod approvals;
mod audit;
mod bearer;
mod bearer_limit;
mod ceilings;
mod cluster;
mod coherence;
mod commands;
mod config;
mod contract;
mod contract_flow;
mod contract_leases;
mod contract_nonces;
mod corpus;
mod demo_enterprise;
mod device_flow;
mod device_page;
mod errors;
mod failover;
mod flow_chaos;
mod flow_killed;
mod forwarding;
mod framing;
mod hardening;
mod heads;
mod http2;
mod leaks;
mod lifecycle;
mod limits;
mod local_api;
mod logging;
mod maintenance;
mod manual;
mod observability;
mod outages;
mod panics;
mod privileges;
mod proxy_protocol;
mod public_tls;
mod reference;
mod reload;
mod room;
mod routes;
mod sessions;
mod sso;
mod status;
mod streaming;
mod supply;
mod support;
mod surfaces;
mod tidy;
mod tls;
mod traces;
mod unix_sockets;
mod upgrade;
mod werkzeug;
