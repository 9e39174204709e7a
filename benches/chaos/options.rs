//! What can be asked for on the command line.

use clap::Parser;

/// Seeds of a sign of life, which CI has time for.
const SMOKE: u64 = 20;

/// Strikes everything that a gateway is connected to, by schedules that are made from seeds.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// How many schedules
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first one's seed
    #[arg(long, default_value_t = 1)]
    pub(crate) from: u64,
    /// Plays the schedule of this seed alone
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Worlds, each with two gateways and stores of its own, that play schedules at the same time
    #[arg(long, default_value_t = 3)]
    lanes: usize,
    /// Prints every schedule
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Mixed traffic for so many minutes instead, with a restart of a server now and then
    #[arg(long, value_name = "MINUTES")]
    pub(crate) soak: Option<f64>,
    /// Plays twenty schedules
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
    /// Returns the seeds to be played.
    pub(crate) fn seeds(&self) -> std::ops::Range<u64> {
        match self.seed {
            Some(seed) => seed..seed + 1,
            None if self.test || !self.bench => self.from..self.from + SMOKE,
            None => self.from..self.from + self.seeds,
        }
    }

    /// Returns how many worlds there are: no more than schedules.
    pub(crate) fn lanes(&self) -> usize {
        let seeds = self.seeds().count();
        self.lanes.clamp(1, seeds.max(1))
    }
}
