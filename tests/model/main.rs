//! The protocol of the token cache (`design/coherence.md`), explored without gaps.
//!
//! One token, one row, one key, two gateways: `world`. What each may do next is in `flight`
//! (`check/resolve.rs`), `follow` (`check/follow.rs`, `store/redis/tracking.rs`), `writers`
//! (`check/end.rs`, and Dify) and `redis`; what must never be is in `properties` and `flight::land`.
//! `explore` visits every state that any order of those steps can reach. Each rule is a switch
//! (`rules`), and `tests` shows what goes wrong without it, by the shortest way there:
//! `cargo test --test model -- --nocapture`.
//!
//! The explorer is our own hundred lines: for a breadth-first search, the `stateright` crate would
//! bring a web server along.
//!
//! What is left out:
//! - Time. An entry may end at any moment, and a short life counts as bounded: that
//!   `untracked_ttl` is one is for the unit tests of `check`. Clocks that run at different speeds.
//! - Two servers that both take themselves for the master; a cluster, which is several servers.
//! - An account that is blocked and unblocked: a refusal may outlive the block by its 10 s.
//! - A revocation that Redis did not take (`check/end.rs`): it is not acknowledged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::fmt;

mod explore;
mod flight;
mod follow;
mod model;
mod properties;
mod redis;
mod rules;
mod scenarios;
mod tests;
mod world;
mod writers;

/// Who does what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step(pub(crate) &'static str, pub(crate) &'static str);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10} {}", self.0, self.1)
    }
}
