//! What can be asked for on the command line.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, ValueEnum};

/// Compares the gateway with a bare pingora proxy.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Keep-alive connections that send requests without a pause
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Measured rounds of each proxy
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of a round in seconds
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Worker threads of each proxy; 0: one for each CPU
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// A key of the gateway's configuration, as section.key=TOML
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Measures memory instead of speed
    #[arg(long)]
    pub(crate) check_memory: bool,
    /// Distinct tokens for the measurement of memory
    #[arg(long, default_value_t = 100_000)]
    tokens: usize,
    /// Only shows that everything runs
    #[arg(long, visible_alias = "quick")]
    test: bool,
    /// What this process is for, when the bench has started it
    #[arg(long, hide = true)]
    pub(crate) role: Option<Role>,
    /// Where the bare proxy sends requests
    #[arg(long, hide = true)]
    pub(crate) upstream: Option<SocketAddr>,
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
    /// The server behind both proxies.
    Upstream,
    /// The bare proxy.
    Bare,
}

impl Options {
    /// Tells whether only a sign of life is wanted; as criterion does, under `cargo test` too.
    pub(crate) fn is_smoke(&self) -> bool {
        self.test || !self.bench
    }

    /// Returns how many connections there are.
    pub(crate) fn connections(&self) -> usize {
        if self.is_smoke() { 8 } else { self.connections }
    }

    /// Returns how many rounds count.
    pub(crate) fn rounds(&self) -> usize {
        if self.is_smoke() { 1 } else { self.rounds }
    }

    /// Returns how long a round takes.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs_f64(if self.is_smoke() { 0.3 } else { self.seconds })
    }

    /// Returns how many threads each proxy has.
    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().unwrap().get(),
            threads => threads,
        }
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
