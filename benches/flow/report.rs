//! Figures, with what they were measured on.

use std::{fs, time::Duration};

use crate::{
    meter::{Call, Meter},
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
        "load       {} logins at once, at most {} requests at a time, each on a new connection",
        options.flows(),
        options.requests
    );
    println!();
}

/// Tells how far the run is.
pub(crate) fn progress(flows: usize, under_way: usize, failed: usize, meter: &Meter) {
    let done = |call: Call| meter.latencies(call).len();
    eprintln!(
        "begun {:>5}   polled {:>5}   approved {:>5}   over {:>5} of {flows}   failed {failed}",
        done(Call::Code),
        done(Call::PendingPoll),
        done(Call::Approve),
        flows - under_way,
    );
}

/// Prints rates over the time in which a request was under way, and each call's latency.
pub(crate) fn table(flows: usize, meter: &Meter, took: Duration) {
    let busy = meter.busy().as_secs_f64();
    let requests: usize = Call::ALL
        .iter()
        .map(|call| meter.latencies(*call).len())
        .sum();
    println!();
    println!("{:<18}{:>10.1} s", "whole run", took.as_secs_f64());
    println!("{:<18}{busy:>10.1} s", "busy");
    println!("{:<18}{:>10.0} /s", "flows, busy", flows as f64 / busy);
    println!(
        "{:<18}{:>10.0} /s",
        "requests, busy",
        requests as f64 / busy
    );
    println!();
    println!("{:<18}{:>8}{:>10}{:>10}", "ms", "calls", "p50", "p99");
    for call in Call::ALL {
        let latencies = meter.latencies(call);
        println!(
            "{:<18}{:>8}{:>10.2}{:>10.2}",
            call.name(),
            latencies.len(),
            quantile(&latencies, 0.5),
            quantile(&latencies, 0.99)
        );
    }
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((last * share) as usize)
        .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

/// Prints what was not as it should be.
pub(crate) fn faults(failures: &[String], left: &[String], live: i64) {
    println!();
    println!(
        "{} errors, {live} live rows, {} keys left beside windows and refusals",
        failures.len(),
        left.len()
    );
    for fault in failures.iter().take(5) {
        println!("error      {fault}");
    }
    for key in left.iter().take(5) {
        println!("left       {key}");
    }
}
