//! Looks for inputs whose cost grows faster than their size: what a fuzzer does not see, since at
//! the sizes it plays with anything is fast.
//!
//! `cargo bench --bench growth` takes what fuzzing has found for each target, says a piece of it
//! again and again, or two, with or without a number in it, and measures what the target's whole
//! body makes of 4 KiB, of 8 and of 16; `-- --test` only shows that all of it runs, and judges no
//! time. Two bodies that are quadratic on purpose go along: it ends with an error when a target is
//! found to be, when one breaks, or when either of these is not found.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench prints, looks at the clock, and breaks off at the first surprise"
)]

mod control;
mod cost;
#[path = "../chaos/dice.rs"]
mod dice;
#[path = "../../tests/it/corpus/inputs.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod inputs;
mod options;
mod recipe;
#[path = "../../tests/fuzz/src/lib.rs"]
#[allow(
    unreachable_pub,
    dead_code,
    reason = "a library to the fuzz targets, where all of it is used from outside"
)]
mod targets;

use std::{
    io::{Write as _, stdout},
    panic,
    process::ExitCode,
    time::Instant,
};

use clap::Parser as _;

use self::{
    cost::{Growth, glance, look_again},
    dice::Dice,
    options::Options,
    recipe::Recipe,
    targets::{TARGETS, Target},
};

/// As in the gateway; the system's returns what is large at once, and has it again page by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The longest input that pieces are taken of: an eighth of the smallest size that is measured.
const LONGEST_BASE: usize = 512;

/// What was found out about a target.
struct Found<'b> {
    recipes: u64,
    /// The one whose largest input cost most.
    slowest: Option<Growth>,
    /// The one that grows by the highest power, if it does so excessively.
    worst: Option<(Growth, Recipe<'b>)>,
    broken: Option<Recipe<'b>>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut faults = Vec::new();
    println!(
        "{:<16}{:>10}{:>14}{:>8}  excessive growth",
        "target", "recipes", "slowest, µs", "power"
    );
    for (target, quadratic) in control::TARGETS {
        let inputs = control::inputs();
        let found = search(target, &inputs, &options, true);
        if found.worst.is_none() && !options.is_smoke() {
            faults.push(format!("{} is {quadratic}, which was not found", target.0));
        }
    }
    let chosen = &options.targets;
    for target in TARGETS {
        if !chosen.is_empty() && !chosen.iter().any(|name| name == target.0) {
            continue;
        }
        let seeds = inputs::seeds_of(target.0).into_iter().map(|(_, seed)| seed);
        let inputs: Vec<_> = seeds.chain(inputs::corpus_of(target.0)).collect();
        let found = search(target, &inputs, &options, false);
        if let (Some((growth, recipe)), false) = (found.worst, options.is_smoke()) {
            let (name, power) = (target.0, growth.power);
            faults.push(format!("{name} grows by the power of {power:.1}: {recipe}"));
        }
        if let Some(recipe) = found.broken {
            faults.push(format!("{} breaks: {recipe}", target.0));
        }
    }
    println!("\n{} faults", faults.len());
    for fault in &faults {
        println!("fault      {fault}");
    }
    ExitCode::from(u8::from(!faults.is_empty()))
}

/// Tries recipes until the time is over, or until one is found if that is all that is asked.
fn search<'b>(
    (name, body): Target,
    inputs: &'b [Vec<u8>],
    options: &Options,
    first: bool,
) -> Found<'b> {
    let usable = |input: &&Vec<u8>| (1..=LONGEST_BASE).contains(&input.len());
    let bases: Vec<_> = inputs.iter().filter(usable).collect();
    assert!(!bases.is_empty(), "{name} has no short input");
    let mut found = Found {
        recipes: 0,
        slowest: None,
        worst: None,
        broken: None,
    };
    print!("{name:<16}");
    stdout().flush().unwrap();
    let (mut dice, begun) = (Dice::new(options.seed), Instant::now());
    while begun.elapsed() < options.time() && !(first && found.worst.is_some()) {
        let base = bases[dice.below(bases.len() as u64) as usize];
        let recipe = Recipe::by_chance(base, &mut dice);
        found.recipes += 1;
        match panic::catch_unwind(|| glance(body, &recipe)) {
            // One look may have been at something else that the machine had to do.
            Ok(glance) if glance.excessive || found.is_slowest(glance) => {
                found.note(look_again(body, &recipe), recipe);
            }
            Ok(_) => {}
            Err(_) => found.broken = Some(recipe),
        }
    }
    let worst = match &found.worst {
        Some((growth, recipe)) => format!("by the power of {:.1}: {recipe}", growth.power),
        None => "none".to_owned(),
    };
    let (micros, power) = found.slowest.map_or((0.0, 0.0), |slowest| {
        (slowest.largest.as_secs_f64() * 1e6, slowest.power)
    });
    println!("{:>10}{micros:>14.0}{power:>8.1}  {worst}", found.recipes);
    found
}

impl<'b> Found<'b> {
    fn is_slowest(&self, growth: Growth) -> bool {
        self.slowest
            .is_none_or(|slowest| growth.largest > slowest.largest)
    }

    fn note(&mut self, growth: Growth, recipe: Recipe<'b>) {
        if self.is_slowest(growth) {
            self.slowest = Some(growth);
        }
        let worst = self.worst.as_ref().map(|(worst, _)| worst.power);
        if growth.excessive && worst.is_none_or(|worst| growth.power > worst) {
            self.worst = Some((growth, recipe));
        }
    }
}
