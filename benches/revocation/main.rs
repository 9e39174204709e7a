//! How fast a revocation is heard of, and whether a fill can bring a revoked token back.
//!
//! `cargo bench --bench revocation` runs 10,000 trials of each against two gateways with a private
//! Postgres and Redis, under load; `-- --test` only shows that all of it runs. It ends with an
//! error when a revoked token was accepted where it must not be.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench prints, looks at the clock, and breaks off at the first surprise"
)]

#[path = "../../tests/it"]
mod it {
    pub(crate) mod support;
}
mod client;
mod lag;
mod load;
mod options;
mod races;
mod report;
mod stores;

pub(crate) use it::support;

use clap::Parser as _;

use self::options::Options;

fn main() {
    let options = Options::parse();
    // One thread: what is left of the machine is for the gateways and their stores.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let violations = runtime.block_on(tokio::task::LocalSet::new().run_until(async {
        report::machine(&options);
        let lag = lag::run(&options).await;
        let races = races::run(&options).await;
        lag + races
    }));
    drop(runtime);
    println!();
    println!("{violations} violations");
    if violations > 0 {
        std::process::exit(1);
    }
}
