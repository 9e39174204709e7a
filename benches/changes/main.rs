//! Reloads and upgrades under load: not one request may fail.
//!
//! `cargo bench --bench changes` sends requests without a pause for a minute, over connections that
//! are used again, over new ones, and as streams, while the gateway reads its configuration again
//! and again and is replaced by another process every few seconds. It ends with an error if any
//! request got no complete 200. `-- --test` does each once.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench prints, looks at the clock, and breaks off when its own tools fail"
)]

mod client;
#[expect(unused_macros, reason = "the tests wait for more than a bench does")]
#[path = "../../tests/it"]
mod it {
    pub(crate) mod support;
}
mod operator;
mod upstream;

pub(crate) use it::support;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;

use self::{
    client::{Kind, Load, Tally},
    operator::Operator,
};

/// Reloads and upgrades a gateway under load.
#[derive(Debug, Parser)]
struct Options {
    /// Length of the run in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Time between two upgrades in seconds; there are four reloads in between
    #[arg(long, default_value_t = 10)]
    every: u64,
    /// Clients of each kind: on connections used again, on new ones, and streams
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Only shows that everything runs
    #[arg(long)]
    test: bool,
    /// Passed by `cargo bench`, and missing under `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
    /// Filters are for the other benches
    #[arg(hide = true)]
    _filters: Vec<String>,
}

fn main() {
    let mut options = Options::parse();
    if options.test || !options.bench {
        (options.seconds, options.every, options.clients) = (4, 2, 4);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let failed = runtime.block_on(run(&options));
    drop(runtime);
    if failed > 0 {
        eprintln!("{failed} requests failed");
        std::process::exit(1);
    }
}

async fn run(options: &Options) -> u64 {
    let mut operator = Operator::start().await;
    let load = Arc::new(Load::new(operator.target(), operator.token()));
    let mut clients = Vec::new();
    for kind in [Kind::Reused, Kind::New, Kind::Stream] {
        for _ in 0..options.clients {
            clients.push(tokio::spawn(client::run(kind, Arc::clone(&load))));
        }
    }
    let pause = Duration::from_secs(options.every) / 5;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    while Instant::now() < end {
        for _ in 0..4 {
            tokio::time::sleep(pause).await;
            operator.reload().await;
        }
        tokio::time::sleep(pause).await;
        operator.upgrade().await;
        eprintln!(
            "{} reloads, {} upgrades, {} requests so far",
            operator.reloads,
            operator.upgrades,
            load.answered()
        );
    }
    load.stop();
    let mut tallies = BTreeMap::<Kind, Tally>::new();
    for client in clients {
        let (kind, tally) = client.await.unwrap();
        tallies.entry(kind).or_default().add(tally);
    }
    operator.finish().await;
    report(&operator, &tallies)
}

/// Prints what came of it; returns how many requests failed.
fn report(operator: &Operator, tallies: &BTreeMap<Kind, Tally>) -> u64 {
    println!(
        "{} reloads and {} upgrades, {} cores",
        operator.reloads,
        operator.upgrades,
        std::thread::available_parallelism().unwrap()
    );
    println!(
        "{:<28}{:>12}{:>14}{:>8}{:>12}",
        "requests over", "answered", "connections", "failed", "slowest ms"
    );
    for (kind, tally) in tallies {
        println!(
            "{:<28}{:>12}{:>14}{:>8}{:>12.1}",
            kind.name(),
            tally.answered,
            tally.connections,
            tally.failures.len(),
            tally.slowest.as_secs_f64() * 1e3
        );
        assert!(tally.answered > 0, "there was a load");
        for failure in tally.failures.iter().take(5) {
            eprintln!("{}: {failure}", kind.name());
        }
    }
    tallies
        .values()
        .map(|tally| tally.failures.len() as u64)
        .sum()
}
