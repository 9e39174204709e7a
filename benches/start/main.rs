//! From the start of a process to its first answers, and what a cold cache costs the stores.
//!
//! `cargo bench --bench start` starts the gateway again and again, then lets two gateways meet
//! 10,000 live tokens that stand in no cache, and a thousand clients with the same one; `-- --test`
//! only shows that all of it runs. It ends with an error when an answer was wrong, or Postgres was
//! asked more than the bounds in `bounds` allow. No time is judged.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench prints, looks at the clock, and breaks off at the first surprise"
)]

#[expect(unused_macros, reason = "the tests wait for more than a bench does")]
#[path = "../../tests/it"]
mod it {
    pub(crate) mod support;
}
mod bounds;
mod clients;
mod cold;
#[path = "../outages/connection.rs"]
mod connection;
mod options;
mod process;
mod report;
mod starts;
mod stores;
#[path = "../outages/upstream.rs"]
mod upstream;

pub(crate) use it::support;

use clap::Parser as _;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::task::LocalSet;

use self::{options::Options, stores::Stores};

fn main() {
    let options = Options::parse();
    // A thousand clients, and as many connections upstream.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    // The clients stay on this thread; the upstream gets another.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let faults = LocalSet::new().block_on(&runtime, run(&options));
    drop(runtime);
    println!();
    println!("{} faults", faults.len());
    for fault in &faults {
        println!("fault      {fault}");
    }
    if !faults.is_empty() {
        std::process::exit(1);
    }
}

async fn run(options: &Options) -> Vec<String> {
    report::machine(options);
    let stores = Stores::start(options.tokens().max(options.starts())).await;
    starts::run(options, &stores).await;
    cold::run(options, &stores).await
}
