//! **difygate**: a bearer-auth gateway in front of a Dify API. See `ARCHITECTURE.md` for the map.

pub mod admin;
pub mod app;
pub mod audit;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dify_json;
pub mod entropy;
pub mod gateway;
pub mod health;
pub mod http;
pub mod jws;
pub mod listener;
pub mod metrics;
pub mod preflight;
pub mod route;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod token;
