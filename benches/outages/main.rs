//! Outages under load: what each store's failure does to requests, again and again.
//!
//! `cargo bench --bench outages` strikes a private Redis and Postgres while clients use two real
//! gateways and tokens are revoked; `-- --test` goes once through everything, quickly. It ends
//! with an error, and with evidence, unless every answer was one that the documents allow.
//! `-- --write` puts the tables into `docs/outages.md`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench prints, looks at the clock, and breaks off when its own tools fail"
)]

#[expect(unused_macros, reason = "the tests wait for more than a bench does")]
#[path = "../../tests/it"]
mod it {
    pub(crate) mod support;
}
mod bounds;
mod connection;
mod dify;
mod document;
mod flood;
mod judge;
mod load;
mod options;
mod report;
mod rounds;
mod scenario;
mod stage;
mod tokens;
mod upstream;

pub(crate) use it::support;

use clap::Parser as _;
use tokio::task::LocalSet;

use self::{document::Tables, judge::Record, options::Options};

fn main() {
    let options = Options::parse();
    // The load stays on this thread; relays and the upstream get another.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let tables = LocalSet::new().block_on(&runtime, run(&options));
    drop(runtime);
    if options.write && tables.violations == 0 {
        document::write(&tables);
    }
    if tables.violations > 0 {
        eprintln!("{} answers that must not be", tables.violations);
        std::process::exit(1);
    }
}

async fn run(options: &Options) -> Tables {
    let mut tables = Tables::new(options);
    println!("{}", tables.header);
    let outages = rounds::run(options).await;
    tables.violations += outages.iter().map(Record::violations).sum::<usize>();
    if !outages.is_empty() {
        tables.outages = report::outages(&outages);
        println!("{}", tables.outages);
    }
    if options.wants("flood") {
        let flood = flood::run(options).await;
        tables.violations += flood.violations.len();
        tables.flood = flood.table();
        println!("{}", tables.flood);
    }
    tables
}
