//! Every seed of the fuzz targets, every input that has once found something and what fuzzing has
//! reached since, through the same functions that the fuzzer calls. What these rules are is written
//! there, in `tests/fuzz/src`.

#[path = "../fuzz/src/lib.rs"]
#[allow(
    unreachable_pub,
    dead_code,
    reason = "a library to the fuzz targets, where all of it is used from outside"
)]
mod targets;

mod inputs;

use std::{collections::BTreeSet, fs, panic, path::PathBuf};

use self::{
    inputs::{CORPORA, SEEDS, corpus_of, names_in, seeds_of},
    targets::TARGETS,
};

#[test]
fn every_seed_keeps_the_rules_of_its_target() {
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        for (path, bytes) in seeds_of(name) {
            if panic::catch_unwind(|| target(&bytes)).is_err() {
                broken.push(path);
            }
        }
    }
    assert_eq!(broken, Vec::<PathBuf>::new());
}

#[test]
fn what_fuzzing_has_reached_keeps_them_too() {
    for (name, target) in TARGETS {
        let inputs = corpus_of(name);
        assert!(inputs.len() >= 10, "{name} has too small a corpus");
        for input in inputs {
            let kept = panic::catch_unwind(|| target(&input));
            assert!(kept.is_ok(), "{name} breaks with {}", input.escape_ascii());
        }
    }
}

/// What a fuzzer does first, without one: each seed cut short, with a bit flipped, and said twice.
#[test]
fn every_neighbour_of_a_seed_keeps_them_too() {
    for (name, target) in TARGETS {
        for (path, seed) in seeds_of(name) {
            for at in 0..seed.len() {
                let mut flipped = seed.clone();
                flipped[at] ^= 1 << (at % 8);
                let without = [&seed[..at], &seed[at + 1..]].concat();
                for bytes in [&flipped, &without, &seed[..at]] {
                    let kept = panic::catch_unwind(|| target(bytes));
                    assert!(
                        kept.is_ok(),
                        "{name} breaks near {} with {bytes:?}",
                        path.display()
                    );
                }
            }
            target(&seed.repeat(2));
        }
    }
}

#[test]
fn every_target_has_seeds_and_a_file_for_the_fuzzer() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_in(SEEDS), known);
    assert_eq!(names_in(CORPORA), known);
    let files = known.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names_in("tests/fuzz/fuzz_targets"), files);
    let manifest = fs::read_to_string("tests/fuzz/Cargo.toml").unwrap();
    for name in known {
        assert!(seeds_of(&name).len() >= 5, "{name} has too few seeds");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let file = fs::read_to_string(format!("tests/fuzz/fuzz_targets/{name}.rs")).unwrap();
        assert!(
            file.contains(&format!("difygate_fuzz::{name}(bytes)")),
            "{name}"
        );
    }
}
