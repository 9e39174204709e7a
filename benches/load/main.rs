//! The end-to-end comparison: the gateway against a bare pingora proxy, both in front of the same
//! upstream and under the same load.
//!
//! `cargo bench --bench load` compares speed and processor time, `-- --check-memory` measures what
//! the gateway and its cached tokens weigh, `-- --test` only shows that all of it runs. Bare
//! proxy, upstream and gateway are processes of their own, so that each one's share is known.

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

mod bare;
mod generator;
#[expect(unused_macros, reason = "the tests wait for more than a bench does")]
#[path = "../../tests/it"]
mod it {
    pub(crate) mod support;
}
mod memory;
mod options;
mod processes;
mod report;
mod speed;
mod upstream;

pub(crate) use it::support;

use clap::Parser as _;

use self::options::{Options, Role};

/// The gateway's own, so that the bare proxy allocates no slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let options = Options::parse();
    match options.role {
        Some(Role::Upstream) => upstream::serve(),
        Some(Role::Bare) => bare::serve(&options),
        None => {
            // One thread, as the upstream: what is left of the machine is for the proxy.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            if options.check_memory {
                runtime.block_on(memory::measure(&options));
            } else {
                runtime.block_on(speed::compare(&options));
            }
        }
    }
}
