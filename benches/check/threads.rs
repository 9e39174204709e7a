//! Many threads that look tokens up at once: one token for all of them, or each its own.
//!
//! The gateway's map is in shards with a lock each, and everybody who looks the same token up reads
//! the same shard and counts a user of the same entry up and down: that is the worst case.

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use criterion::Criterion;
use difygate::token::TokenHash;

use crate::{Filled, hash_of, naive_hash, naive_look_up, naive_map};

/// As many as a large machine has processors.
const THREADS: usize = 64;

/// Compares both ways, in the gateway's map and in the naive one.
pub(crate) fn bench(criterion: &mut Criterion, filled: &Filled) {
    let map = naive_map(filled);
    let mut group = criterion.benchmark_group("64_threads");
    for (scenario, distinct) in [("one_token", 1), ("64_tokens", THREADS)] {
        let headers = || filled.live[..distinct].iter().cycle().take(THREADS);
        let hashes: Vec<TokenHash> = headers().map(|header| hash_of(header)).collect();
        group.bench_function(format!("{scenario}/difygate"), |bencher| {
            bencher.iter_custom(|count| {
                together(count, |thread| {
                    black_box(filled.checker.look_up(black_box(&hashes[thread])));
                })
            });
        });
        let digits: Vec<String> = headers().map(|header| naive_hash(header)).collect();
        group.bench_function(format!("{scenario}/naive"), |bencher| {
            bencher.iter_custom(|count| {
                together(count, |thread| {
                    black_box(naive_look_up(&map, black_box(&digits[thread])));
                })
            });
        });
    }
}

/// Has all threads together do something `count` times, and returns how long that took. Each does
/// its part, and one more than none.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench looks at the clock by itself"
)]
fn together(count: u64, look_up: impl Fn(usize) + Sync) -> Duration {
    let each = count / THREADS as u64 + 1;
    let (ready, done) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    let took = thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ready, done, look_up) = (&ready, &done, &look_up);
            scope.spawn(move || {
                ready.wait();
                for _ in 0..each {
                    look_up(thread);
                }
                done.wait();
            });
        }
        ready.wait();
        let begun = Instant::now();
        done.wait();
        begun.elapsed()
    });
    took.mul_f64(count as f64 / (each * THREADS as u64) as f64)
}
