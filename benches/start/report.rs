//! Figures, with what they were measured on.

use std::{fs, time::Duration};

use crate::{cold::Phase, options::Options};

/// Prints the machine, what else it does, and the version.
pub(crate) fn machine(options: &Options) {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().unwrap();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("machine    {model}, {cores} cores");
    println!("versions   difygate {}", env!("CARGO_PKG_VERSION"));
    println!("others     load average before: {}", load.trim());
    println!(
        "load       {} connections to each of two gateways, each token {} times at each",
        options.connections, options.times
    );
}

/// Heads the table of starts.
pub(crate) fn starts_head(starts: usize) {
    println!();
    println!("{starts} starts each, ms from exec");
    println!(
        "{:<28}{:<22}{:>9}{:>9}{:>9}",
        "configuration", "until", "median", "least", "most"
    );
}

/// Prints one line of it.
pub(crate) fn start(name: &str, until: &str, took: &[Duration]) {
    let mut took = took.to_vec();
    took.sort_unstable();
    println!(
        "{name:<28}{until:<22}{:>9.1}{:>9.1}{:>9.1}",
        quantile(&took, 0.5),
        quantile(&took, 0.0),
        quantile(&took, 1.0)
    );
}

/// Heads the table of phases.
pub(crate) fn cold_head(tokens: usize, options: &Options) {
    println!();
    println!(
        "{tokens} live tokens at two gateways, {} requests in a phase",
        2 * tokens * options.times
    );
    println!(
        "{:<22}{:>9}{:>9}{:>8}{:>7}{:>7}{:>6}{:>9}{:>9}{:>9}{:>9}{:>8}",
        "phase",
        "lookups",
        "at most",
        "at once",
        "conns",
        "redis",
        "503",
        "p50 ms",
        "p99 ms",
        "1st p50",
        "1st p99",
        "hot s"
    );
}

/// Prints one line of it, and what Redis was asked.
pub(crate) fn phase(name: &str, phase: &Phase, bound: usize) {
    let answers = &phase.answers;
    let [all, first] = [&answers.all, &answers.first].map(|latencies| {
        let mut sorted = latencies.clone();
        sorted.sort_unstable();
        sorted
    });
    println!(
        "{name:<22}{:>9}{bound:>9}{:>8}{:>7}{:>7}{:>6}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>8.2}",
        phase.lookups,
        phase.at_a_time,
        phase.connections,
        phase.commands.values().sum::<usize>(),
        answers.unavailable,
        quantile(&all, 0.5),
        quantile(&all, 0.99),
        quantile(&first, 0.5),
        quantile(&first, 0.99),
        answers.hot_after.as_secs_f64(),
    );
    let mut commands: Vec<_> = phase.commands.iter().collect();
    commands.sort_by_key(|(_, calls)| std::cmp::Reverse(**calls));
    for (name, calls) in commands.iter().take(6) {
        eprintln!("    {name} {calls}");
    }
}

/// Heads what follows about herds.
pub(crate) fn herd_head(options: &Options) {
    println!();
    println!(
        "{} clients of two gateways ask for one cold token at once, {} times",
        2 * options.clients_each(),
        options.herds()
    );
}

/// Prints what came of all herds: lookups in Postgres, and when the last client had its answer.
pub(crate) fn herds(herds: &[Phase]) {
    let mut lookups: Vec<usize> = herds.iter().map(|herd| herd.lookups).collect();
    lookups.sort_unstable();
    let mut first: Vec<Duration> = herds.iter().map(|herd| herd.answers.hot_after).collect();
    first.sort_unstable();
    let mut all: Vec<Duration> = herds
        .iter()
        .flat_map(|herd| herd.answers.all.clone())
        .collect();
    all.sort_unstable();
    let unavailable: usize = herds.iter().map(|herd| herd.answers.unavailable).sum();
    let commands: usize = herds.iter().flat_map(|herd| herd.commands.values()).sum();
    println!(
        "lookups for one token: median {}, {} at least, {} at most; {} redis commands; {unavailable} times 503",
        lookups[lookups.len() / 2],
        lookups[0],
        lookups[lookups.len() - 1],
        commands / herds.len(),
    );
    println!(
        "latency p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; first answers after {:.1} ms (median)",
        quantile(&all, 0.5),
        quantile(&all, 0.99),
        quantile(&all, 1.0),
        quantile(&first, 0.5)
    );
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((last * share) as usize)
        .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}
