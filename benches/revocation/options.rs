//! What can be asked for on the command line.

use clap::Parser;

/// Revokes tokens, and watches what becomes of them.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Trials of each kind
    #[arg(long, default_value_t = 10_000)]
    trials: usize,
    /// Revocations under way at any moment
    #[arg(long, default_value_t = 4)]
    pub(crate) at_once: usize,
    /// Requests with other tokens that each gateway gets meanwhile, per second
    #[arg(long, default_value_t = 1_000)]
    pub(crate) load: usize,
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
    /// Returns how many trials there are; few where only a sign of life is wanted.
    pub(crate) fn trials(&self) -> usize {
        if self.test || !self.bench {
            150
        } else {
            self.trials
        }
    }
}
