//! What the terminal gets to see while it runs.

use std::io::{self, Write as _};

use crate::{
    cells::{Cell, grouped},
    generator::Round,
    results::Measured,
    tables,
};

/// Names a load that begins.
pub(crate) fn begin(cell: &Cell, rate: Option<f64>) {
    println!("\n== {}{}", cell.name(), tables::at(rate));
}

/// Prints a proxy's round.
pub(crate) fn round(number: usize, label: &str, round: &Round) {
    println!(
        "round {number}  {label:<26} {:>8}/s  {:>7.1} µs CPU",
        grouped(round.per_second),
        round.cpu_micros + round.beside_micros
    );
    let _ = io::stdout().flush();
}

/// Prints the table of a load that is through.
pub(crate) fn cell(measured: &Measured) {
    println!("\n{}", tables::of(measured));
}

/// Prints what an idle gateway and a cached token weigh.
pub(crate) fn memory(idle: u64, before: u64, after: u64, tokens: u64) {
    let added = after.saturating_sub(before) * 1024;
    println!();
    println!("{:<34}{:>10.1} MiB", "idle", idle as f64 / 1024.0);
    println!(
        "{:<34}{:>10.1} MiB",
        "connections warm",
        before as f64 / 1024.0
    );
    println!(
        "{:<34}{:>10.1} MiB",
        format!("{tokens} more tokens"),
        after as f64 / 1024.0
    );
    println!("{:<34}{:>10} bytes", "per token", added / tokens.max(1));
}
