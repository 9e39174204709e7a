//! What every integration test stands on: private servers, a scripted upstream, a raw client
//! and the gateway itself as a child process.
//!
//! PostgreSQL and Redis are started once per run on first use; a test gets its own database
//! and its own key prefix. Tests that stop or freeze a server start a dedicated one.

#![allow(
    dead_code,
    unused_imports,
    reason = "a library: not every name needs a user at every moment"
)]

mod bridge;
mod browser;
mod certificates;
mod chromium;
mod client;
mod collector;
mod gateway;
mod guard;
mod openssl;
mod patience;
mod postgres;
mod redis;
mod relay;
mod relayed;
mod selftest;
mod spelling;
mod sso;
mod stage;
mod terminator;
mod tool;
mod upstream;
mod wire;
mod wsgi;

pub(crate) use self::{
    bridge::Bridge,
    browser::{Browser, Login, jwt, unix_now},
    certificates::{Authority, Issued, toml},
    chromium::Chromium,
    client::{RawClient, RequestBuilder, Response, get, request},
    collector::{Collector, Recorded},
    gateway::{Gateway, GatewayBuilder, SECRET_KEY},
    guard::{Guard, Plan, free_port},
    openssl::Certificates,
    patience::{assert_eventually, patience, within},
    postgres::{Bouncer, Database, DedicatedPostgres, IssuedToken, NewToken},
    redis::{
        DedicatedCluster, DedicatedRedis, DedicatedSentinels, RedisSpace, SERVICE, redis_fixture,
    },
    relay::{Relay, Side},
    relayed::{Relayed, hash},
    spelling::spellings,
    sso::{
        ENTERPRISE_SECRET, Grant, IDP_PAGE, SHARED_KID, assertion, assertion_claims, claims_of,
        completes, enterprise, enterprise_stage, is_licensed, jws, licence, with_enterprise,
    },
    stage::{ISSUER, Stage},
    terminator::Terminator,
    tool::{Printed, run},
    upstream::{Behaviour, Disconnect, RecordedRequest, Upstream},
    wsgi::{Matched, Wsgi},
};
