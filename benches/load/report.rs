//! Figures, with what they were measured on and how far they spread.

use std::fs;

use crate::{generator::Round, options::Options};

/// Prints the machine, the versions and the parameters.
pub(crate) fn machine(options: &Options) {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().unwrap();
    println!("machine    {model}, {cores} cores");
    println!(
        "versions   difygate {}, pingora {}",
        env!("CARGO_PKG_VERSION"),
        locked("pingora")
    );
    println!(
        "load       {} connections, {} threads per proxy, rounds of {:?}",
        options.connections(),
        options.threads(),
        options.round()
    );
    for (key, value) in &options.set {
        println!("set        {key} = {value}");
    }
    println!();
}

/// The version of a dependency that this was built with.
fn locked(package: &str) -> &'static str {
    include_str!("../../Cargo.lock")
        .split_once(&format!("name = \"{package}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or("unknown")
}

/// Prints one round of both.
pub(crate) fn round(number: usize, [bare, gateway]: &[Round; 2]) {
    println!(
        "round {number:>2}   bare {:>6.0}/s {:>5.1} µs CPU   difygate {:>6.0}/s {:>5.1} µs CPU",
        bare.requests_per_second, bare.cpu_micros, gateway.requests_per_second, gateway.cpu_micros
    );
}

/// A name, and the figure that goes by it.
type Row = (&'static str, fn(&Round) -> f64);

const ROWS: [Row; 4] = [
    ("requests/s", |round| round.requests_per_second),
    ("p50 µs", |round| round.p50_micros),
    ("p99 µs", |round| round.p99_micros),
    ("CPU µs/request", |round| round.cpu_micros),
];

/// Prints the medians, in brackets the least and the greatest. A ratio is taken in each round,
/// whose two halves ran next to each other.
pub(crate) fn comparison(rounds: &[[Round; 2]]) {
    println!();
    println!(
        "{:<16}{:>28}{:>28}{:>28}",
        "median (range)", "bare pingora", "difygate", "difygate / bare"
    );
    for (name, figure) in ROWS {
        let of = |index: usize| spread(rounds.iter().map(|pair| figure(&pair[index])), 1);
        let ratio = spread(rounds.iter().map(|[a, b]| figure(b) / figure(a)), 3);
        println!("{name:<16}{:>28}{:>28}{ratio:>28}", of(0), of(1));
    }
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

fn spread(figures: impl Iterator<Item = f64>, digits: usize) -> String {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let (least, greatest) = (figures[0], figures[figures.len() - 1]);
    let median = (figures[(figures.len() - 1) / 2] + figures[figures.len() / 2]) / 2.0;
    format!("{median:.digits$} ({least:.digits$}..{greatest:.digits$})")
}
