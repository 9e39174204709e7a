//! Looks for inputs whose cost grows faster than their size: what a fuzzer does not see, since at
//! the sizes it plays with anything is fast.
//!
//! `cargo bench --bench growth` takes what fuzzing has found for each target, says a piece of it
//! again and again, or two, with or without a number in it, and measures what the target's whole
//! body makes of a KiB, of four and of sixteen; `-- --test` only shows that all of it runs, and
//! judges no time. Two bodies that are quadratic on purpose go along: it ends with an error when a
//! target is found to be, when one breaks, or when either of these is not found.

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
    time::{Duration, Instant},
};

use clap::Parser as _;

use self::{
    cost::{Growth, growth},
    dice::Dice,
    options::Options,
    recipe::Recipe,
    targets::{TARGETS, Target},
};

/// As in the gateway; the system's returns what is large at once, and has it again page by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The longest input that pieces are taken of: half of the smallest size that is measured.
const LONGEST_BASE: usize = 512;

/// What was found out about a target.
struct Found<'b> {
    recipes: u64,
    /// The largest input that cost most.
    slowest: Option<(Duration, Recipe<'b>)>,
    /// The power by which the worst of all grows, if it does so excessively.
    worst: Option<(f64, Recipe<'b>)>,
    broken: Option<Recipe<'b>>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut faults = Vec::new();
    println!(
        "{:<16}{:>10}{:>14}  excessive growth",
        "target", "recipes", "slowest, µs"
    );
    for (target, quadratic) in control::TARGETS {
        let inputs = control::inputs();
        let found = search(target, &inputs, &options, true);
        if found.worst.is_none() && !options.is_smoke() {
            faults.push(format!("{} is {quadratic}, which was not found", target.0));
        }
    }
    for target in TARGETS {
        if !options.targets.is_empty() && !options.targets.iter().any(|name| name == target.0) {
            continue;
        }
        let seeds = inputs::seeds_of(target.0).into_iter().map(|(_, seed)| seed);
        let inputs: Vec<_> = seeds.chain(inputs::corpus_of(target.0)).collect();
        let found = search(target, &inputs, &options, false);
        if let Some((power, recipe)) = found.worst
            && !options.is_smoke()
        {
            faults.push(format!(
                "{} grows by the power of {power:.1}: {recipe}",
                target.0
            ));
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
        match panic::catch_unwind(|| growth(body, &recipe)) {
            Ok(growth) => found.note(growth, recipe),
            Err(_) => found.broken = Some(recipe),
        }
    }
    let slowest = found
        .slowest
        .as_ref()
        .map_or(0.0, |(time, _)| time.as_secs_f64() * 1e6);
    let worst = match &found.worst {
        Some((power, recipe)) => format!("power {power:.1}: {recipe}"),
        None => "none".to_owned(),
    };
    println!("{:>10}{slowest:>14.0}  {worst}", found.recipes);
    found
}

impl<'b> Found<'b> {
    fn note(&mut self, growth: Growth, recipe: Recipe<'b>) {
        let slowest = self.slowest.as_ref().map(|(time, _)| *time);
        if slowest.is_none_or(|slowest| growth.largest > slowest) {
            self.slowest = Some((growth.largest, recipe.clone()));
        }
        let worst = self.worst.as_ref().map(|(power, _)| *power);
        if growth.excessive && worst.is_none_or(|worst| growth.power > worst) {
            self.worst = Some((growth.power, recipe));
        }
    }
}
