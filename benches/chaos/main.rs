//! Chaos: two gateways, and everything that they are connected to, are struck at random and at the
//! same time.
//!
//! `cargo bench --bench chaos -- --seeds 1000` plays a thousand schedules of strikes, each made from
//! its seed, against pairs of real gateways under load. Whenever an answer is one that the documents do not
//! allow, it prints the seed, the schedule and the evidence, and ends with an error; `-- --seed 17`
//! plays one schedule again. `-- --test` plays twenty. `-- --soak 60` is an hour of traffic with a
//! restart now and then, after which the gateway must hold no more than before.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench prints, looks at the clock, and breaks off when its own tools fail"
)]

mod attempt;
#[path = "../outages/bounds.rs"]
mod bounds;
mod connection;
mod dice;
#[path = "../outages/dify.rs"]
mod dify;
#[expect(unused_macros, reason = "the tests wait for more than a bench does")]
#[path = "../../tests/it"]
mod it {
    pub(crate) mod support;
}
mod judge;
mod lateness;
mod load;
mod login;
mod operator;
mod options;
mod replica;
mod revoke;
mod run;
mod schedule;
mod soak;
mod steps;
#[path = "../outages/tokens.rs"]
mod tokens;
#[path = "../changes/upstream.rs"]
mod upstream;
mod weather;
mod world;

pub(crate) use it::support;

use std::rc::Rc;

use clap::Parser as _;
use tokio::task::LocalSet;

use self::options::Options;

fn main() {
    let options = Rc::new(Options::parse());
    // Clients stay on this thread; relays and upstreams get another.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    if let Some(minutes) = options.soak {
        let faults = LocalSet::new().block_on(&runtime, soak::run(minutes));
        drop(runtime);
        if faults > 0 {
            eprintln!("{faults} faults");
            std::process::exit(1);
        }
        return;
    }
    let total = LocalSet::new().block_on(&runtime, run::run(options));
    drop(runtime);
    total.print();
    let failed = total.failed.borrow();
    if !failed.is_empty() {
        eprintln!("seeds that failed: {failed:?}");
        std::process::exit(1);
    }
}
