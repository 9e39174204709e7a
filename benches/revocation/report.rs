//! Figures, with what they were measured on.

use std::{fs, time::Duration};

use crate::{
    lag::{Refusal, Revoker},
    options::Options,
};

/// Prints the machine, the version and the parameters.
pub(crate) fn machine(options: &Options) {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().unwrap();
    println!("machine    {model}, {cores} cores");
    println!("versions   difygate {}", env!("CARGO_PKG_VERSION"));
    println!(
        "load       {} revocations at a time beside {} requests/s at each of two gateways",
        options.at_once, options.load
    );
    println!();
}

/// Tells how far a part is, now and then.
pub(crate) fn progress(name: &str, over: usize, of: usize) {
    if over.is_multiple_of(500) || over == of {
        eprintln!("{name}: {over} of {of}");
    }
}

/// Prints how long after its acknowledgement a revocation was in force at every replica.
pub(crate) fn lag(results: &[(Revoker, Vec<Refusal>)]) {
    let head = ["p50", "p99", "max"];
    println!(
        "{:<34}{:>9}{:>9}{:>9}{:>9}   {:>12}",
        "ms from acknowledgement to", "replicas", head[0], head[1], head[2], "accepted max"
    );
    let mut all = Vec::new();
    for (revoker, refusals) in results {
        row(revoker.name(), refusals);
        all.extend_from_slice(refusals);
    }
    row("all", &all);
}

fn row(name: &str, refusals: &[Refusal]) {
    let mut came: Vec<Duration> = refusals.iter().map(|refusal| refusal.came_after).collect();
    came.sort_unstable();
    let accepted = refusals.iter().map(|refusal| refusal.accepted_after).max();
    println!(
        "{name:<34}{:>9}{:>9.2}{:>9.2}{:>9.2}   {:>12.2}",
        refusals.len(),
        quantile(&came, 0.5),
        quantile(&came, 0.99),
        quantile(&came, 1.0),
        accepted.unwrap_or_default().as_secs_f64() * 1e3,
    );
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((last * share) as usize)
        .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

/// Prints what came of a race.
pub(crate) fn race(name: &str, trials: usize, lost: f64, redis: usize, here: usize) {
    println!(
        "race {name}: {trials} trials, {lost} fills lost their lease, \
         live again in redis {redis}, here {here}"
    );
}
