//! What can be asked for on the command line.

use std::time::Duration;

use clap::{Parser, builder::PossibleValuesParser};

use crate::targets::TARGETS;

/// Looks for inputs whose cost grows faster than their size, among those that fuzzing has found.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// What the pieces are chosen by; the same seed makes the same recipes
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Only these targets
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(TARGETS.map(|one| one.0)))]
    pub(crate) targets: Vec<String>,
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
    /// Tells whether only a sign of life is wanted, in which no time is judged; as criterion does,
    /// under `cargo test` too.
    pub(crate) fn is_smoke(&self) -> bool {
        self.test || !self.bench
    }

    /// Returns how long is looked among the inputs of one target.
    pub(crate) fn time(&self) -> Duration {
        if self.is_smoke() {
            Duration::from_millis(100)
        } else {
            Duration::from_secs(self.seconds)
        }
    }
}
