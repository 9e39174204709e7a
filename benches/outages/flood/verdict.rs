//! What a flood may cost, and what the floods did.

use super::{CLIENTS, Flood, HOT, Leg, Slice, watch::Costs};
use crate::options::Options;

/// Most a flood may slow the slowest hundredth of normal requests.
const WORST_RATIO: f64 = 2.0;

/// Most resident memory that a flood may add, in KiB: 65,536 refusals of 40 bytes in a table that
/// doubles when it is full (and is there twice while it does), the connections and their buffers,
/// and what the allocator keeps of all that.
const MOST_MEMORY: u64 = 32 * 1024;

/// Most lookups that Postgres may have at a time: three quarters of `postgres.pool_size`.
const MOST_LOOKUPS: i64 = 12;

/// Most keys in Redis: a hundred refusals a second for the 10 s that each lives, and another
/// second's for the edges; with each hundred those that were under way when it was full; and the
/// hot tokens.
const MOST_KEYS: usize = (100 + CLIENTS) * 11 + HOT;

/// Least share of the normal requests that is answered from the local map.
const LEAST_LOCAL: f64 = 0.99;

impl Flood {
    pub(super) fn check(&mut self, leg: &Leg, options: &Options) {
        let mut must = |holds: bool, what: String| {
            if !holds {
                self.violations.push(format!("{}: {what}", leg.name));
            }
        };
        let Costs {
            lookups,
            lookups_at_a_time,
            memory_kib,
            keys,
            ..
        } = leg.costs;
        must(
            lookups_at_a_time <= MOST_LOOKUPS,
            format!("{lookups_at_a_time} lookups at a time"),
        );
        must(
            lookups <= leg.sent as f64 * 1.01 + HOT as f64,
            format!("{lookups} lookups for {} tokens", leg.sent),
        );
        must(
            memory_kib <= MOST_MEMORY,
            format!("{memory_kib} KiB more memory"),
        );
        must(keys <= MOST_KEYS, format!("{keys} keys in Redis"));
        let local = leg.costs.local_share();
        must(
            local >= LEAST_LOCAL,
            format!("{local} of normal requests answered from the local map"),
        );
        // Two short slices say nothing about the slowest hundredth.
        if !options.is_smoke() && leg.is_paced() {
            let ratio = leg.ratio();
            must(ratio <= WORST_RATIO, format!("normal p99 × {ratio:.2}"));
        }
    }

    /// Writes the table, as Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| flood | tokens | a second | normal p50, quiet → flood | normal p99, quiet → flood | \
             ratio | 503 | lookups in Postgres | at a time | turned away | `invalid` keys | \
             memory | hot from the local map |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for leg in &self.legs {
            let millis = |figure: fn(&Slice) -> f64| 1e3 * leg.median(figure);
            let costs = &leg.costs;
            table.push_str(&format!(
                "| {} | {} | {:.0} | {:.2} → {:.2} ms | {:.2} → {:.2} ms | {:.2} | {} | {} | {} | \
                 {} | {} | +{} KiB | {:.2} % |\n",
                leg.name,
                leg.sent,
                leg.sent as f64 / leg.took.as_secs_f64(),
                millis(|slice| slice.quiet[0]),
                millis(|slice| slice.flooded[0]),
                millis(|slice| slice.quiet[1]),
                millis(|slice| slice.flooded[1]),
                leg.ratio(),
                leg.undecided,
                costs.lookups,
                costs.lookups_at_a_time,
                costs.shed,
                costs.keys,
                costs.memory_kib,
                100.0 * costs.local_share(),
            ));
        }
        table
            + &format!(
                "\nAllowed: p99 × {WORST_RATIO} at the set pace, {MOST_LOOKUPS} lookups at a time, \
                 {MOST_KEYS} keys, {MOST_MEMORY} KiB, {} % of the hot tokens' requests answered \
                 from the local map.\n",
                100.0 * LEAST_LOCAL
            )
    }
}
