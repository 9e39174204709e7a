//! What can be asked for on the command line.

use clap::Parser;

/// Runs complete device logins, all at once.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Logins
    #[arg(long, default_value_t = 1_000)]
    flows: usize,
    /// Requests under way at any moment
    #[arg(long, default_value_t = 32)]
    pub(crate) requests: usize,
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
    /// Returns how many logins there are; few where only a sign of life is wanted.
    pub(crate) fn flows(&self) -> usize {
        if self.test || !self.bench {
            10
        } else {
            self.flows
        }
    }
}
