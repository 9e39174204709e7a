//! The end-to-end comparison: the gateway, and other proxies, in front of the same upstream and
//! under the same load.
//!
//! `cargo bench --bench load` compares all of them, `-- --write` puts the result into
//! `docs/benchmarks.md`, `-- --peers bare,difygate` compares two of them, `-- --check-memory`
//! measures what the gateway and its cached tokens weigh, and `-- --test` only shows that all of it
//! runs. Proxies, upstream and authorizer are processes of their own, so that each one's share is
//! known.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench prints, looks at the clock, and breaks off at the first surprise"
)]

mod accounting;
mod authorizer;
mod bare;
mod cells;
mod charts;
mod connection;
mod document;
mod foreign;
mod generator;
#[expect(unused_macros, reason = "the tests wait for more than a bench does")]
#[path = "../../tests/it"]
mod it {
    pub(crate) mod support;
}
mod machine;
mod matrix;
mod memory;
mod open;
mod options;
mod peers;
mod pinning;
mod processes;
mod report;
mod results;
mod stage;
mod streams;
mod summary;
mod svg;
mod tables;
mod upstream;

pub(crate) use it::support;

use std::process::ExitCode;

use clap::Parser as _;

use self::options::{Options, Role};

/// The gateway's own, so that the bare proxy allocates no slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    match options.role {
        Some(Role::Upstream) => upstream::serve(),
        Some(Role::Bare) => bare::serve(&options),
        Some(Role::Authorizer) => authorizer::serve(&options),
        None => {
            // One thread, as the upstream: what is left of the machine is for the proxy.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            return runtime.block_on(run(&options));
        }
    }
    ExitCode::SUCCESS
}

async fn run(options: &Options) -> ExitCode {
    if options.check_memory {
        memory::measure(options).await;
        return ExitCode::SUCCESS;
    }
    if let Err(error) = machine::has_room(options) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    print!("{}", machine::describe(options));
    let all = match matrix::measure(options).await {
        Ok(all) => all,
        Err(error) => {
            eprintln!("\n{error}");
            return ExitCode::FAILURE;
        }
    };
    print!("\n{}", summary::lines(&all));
    if options.write {
        document::write(options, &all);
    }
    ExitCode::SUCCESS
}
