//! What can be asked for on the command line.

use clap::Parser;

/// Starts gateways, and has them meet tokens that stand in no cache.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Starts with each configuration
    #[arg(long, default_value_t = 30)]
    starts: usize,
    /// Live tokens that both gateways are asked for
    #[arg(long, default_value_t = 10_000)]
    tokens: usize,
    /// How often each gateway is asked for each of them
    #[arg(long, default_value_t = 3)]
    pub(crate) times: usize,
    /// Connections to each gateway
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Clients of both gateways that ask for one token at once
    #[arg(long, default_value_t = 1_000)]
    clients: usize,
    /// How often they do, each time for another token
    #[arg(long, default_value_t = 20)]
    herds: usize,
    /// Only shows that everything runs
    #[arg(long, visible_alias = "quick")]
    test: bool,
    /// Passed by `cargo bench`, and missing under `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
    /// Filters are for the other benches
    #[arg(hide = true)]
    _filters: Vec<String>,
}

impl Options {
    /// Tells whether only a sign of life is wanted; as criterion does, under `cargo test` too.
    fn is_smoke(&self) -> bool {
        self.test || !self.bench
    }

    /// Returns how many starts each configuration gets.
    pub(crate) fn starts(&self) -> usize {
        if self.is_smoke() { 2 } else { self.starts }
    }

    /// Returns how many tokens there are.
    pub(crate) fn tokens(&self) -> usize {
        if self.is_smoke() { 1_000 } else { self.tokens }
    }

    /// Returns how many clients ask each gateway for one token at once.
    pub(crate) fn clients_each(&self) -> usize {
        if self.is_smoke() {
            100
        } else {
            self.clients / 2
        }
    }

    /// Returns how often they do.
    pub(crate) fn herds(&self) -> usize {
        if self.is_smoke() { 4 } else { self.herds }
    }
}
