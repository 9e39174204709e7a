//! Complete logins under load: a thousand devices at once, each from its code to its revocation.
//!
//! `cargo bench --bench flow` runs them against the gateway with a private Postgres and Redis,
//! `-- --test` only shows that all of it runs. It ends with an error unless every answer was the
//! expected one and nothing of a login is left in Redis.

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
mod meter;
mod options;
mod person;
mod report;
mod run;

pub(crate) use it::support;

use clap::Parser as _;

use self::options::Options;

fn main() {
    let options = Options::parse();
    // One thread: what is left of the machine is for the gateway and its stores.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let faultless = runtime.block_on(run::run(&options));
    drop(runtime);
    if !faultless {
        std::process::exit(1);
    }
}
