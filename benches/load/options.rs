//! What can be asked for on the command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use crate::peers::Peer;

/// Compares the gateway with other proxies.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Only these proxies
    #[arg(long, value_delimiter = ',', value_name = "PROXY")]
    pub(crate) peers: Vec<Peer>,
    /// Only the loads whose name has this in it
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Worker threads of each proxy; several to measure one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    pub(crate) threads: Vec<usize>,
    /// Measured rounds of each proxy under each load
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of a round in seconds
    #[arg(long)]
    seconds: Option<f64>,
    /// Half a second for everything
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Every number of threads with every load
    #[arg(long)]
    pub(crate) full: bool,
    /// Puts the tables and charts into docs/benchmarks.md
    #[arg(long)]
    pub(crate) write: bool,
    /// A key of the gateway's configuration, as section.key=TOML
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// A gateway that was built with a profile (`make release`), as one proxy more
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) profiled: Option<PathBuf>,
    /// Measures what the gateway and its cached tokens weigh, and nothing else
    #[arg(long)]
    pub(crate) check_memory: bool,
    /// Distinct tokens for the measurement of memory
    #[arg(long, default_value_t = 100_000)]
    tokens: usize,
    /// Only shows that everything runs
    #[arg(long)]
    test: bool,
    /// What this process is for, when the bench has started it
    #[arg(long, hide = true)]
    pub(crate) role: Option<Role>,
    /// Where the bare proxy sends requests
    #[arg(long, hide = true)]
    pub(crate) upstream: Option<SocketAddr>,
    /// Where the authorizer finds Redis
    #[arg(long, hide = true)]
    pub(crate) redis: Option<SocketAddr>,
    /// What its keys there begin with
    #[arg(long, hide = true)]
    pub(crate) prefix: Option<String>,
    /// Passed by `cargo bench`, and missing under `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
    /// Filters are for the other benches
    #[arg(hide = true)]
    _filters: Vec<String>,
}

/// A process that the bench starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The server behind all proxies.
    Upstream,
    /// The bare proxy.
    Bare,
    /// Whom proxies ask that cannot check by themselves.
    Authorizer,
}

impl Options {
    /// Tells whether only a sign of life is wanted; as criterion does, under `cargo test` too.
    pub(crate) fn is_smoke(&self) -> bool {
        self.test || !self.bench
    }

    /// Returns how many rounds count.
    pub(crate) fn rounds(&self) -> usize {
        let default = match () {
            () if self.is_smoke() || self.quick => 1,
            () if self.full => 5,
            () => 3,
        };
        self.rounds.unwrap_or(default)
    }

    /// Returns how long a round takes.
    pub(crate) fn round(&self) -> Duration {
        let default = match () {
            () if self.is_smoke() => 0.1,
            () if self.quick => 0.5,
            () => 2.0,
        };
        Duration::from_secs_f64(self.seconds.unwrap_or(default))
    }

    /// Tells whether the load of this name is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }

    /// Returns the proxies that take part, in the order of the tables.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let there = |peer: &Peer| *peer != Peer::Profiled || self.profiled.is_some();
        let wanted =
            |peer: &Peer| there(peer) && (self.peers.is_empty() || self.peers.contains(peer));
        let all = Peer::value_variants().iter().copied();
        all.filter(wanted).collect()
    }

    /// Returns how many tokens are cached to find out what one weighs.
    pub(crate) fn tokens(&self) -> usize {
        if self.is_smoke() { 200 } else { self.tokens }
    }
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("needs key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}
