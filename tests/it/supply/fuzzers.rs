//! The fuzzers have a workspace and a lock file of their own: what they try is what is shipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::{metadata, packages, text};

/// The versions of every crate in a lock file, and the packages' own dependencies.
struct Locked {
    versions: BTreeMap<String, BTreeSet<String>>,
    gateway: BTreeSet<String>,
}

fn locked(path: &str) -> Locked {
    let file: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
    let (mut versions, mut gateway) = (BTreeMap::new(), BTreeSet::new());
    for package in file["package"].as_array().unwrap() {
        let text = |name: &str| package[name].as_str().unwrap().to_owned();
        let of: &mut BTreeSet<String> = versions.entry(text("name")).or_default();
        of.insert(text("version"));
        if text("name") == "difygate" {
            let named = package["dependencies"].as_array().unwrap().iter();
            // Where there are two of a name, its version follows it.
            let named = named.map(|name| name.as_str().unwrap().split(' ').next().unwrap());
            gateway.extend(named.map(str::to_owned));
        }
    }
    Locked { versions, gateway }
}

#[test]
fn what_is_fuzzed_has_the_versions_that_are_shipped() {
    let (shipped, fuzzed) = (locked("Cargo.lock"), locked("tests/fuzz/Cargo.lock"));

    let mut shared = 0;
    let mut wrong = Vec::new();
    for (name, versions) in &fuzzed.versions {
        // What the fuzzer itself brings is nobody else's.
        let Some(ours) = shipped.versions.get(name) else {
            continue;
        };
        shared += 1;
        if !versions.is_subset(ours) {
            wrong.push(format!("{name}: {versions:?} and not {ours:?}"));
        }
    }

    let remedy = "cargo update --manifest-path tests/fuzz/Cargo.toml -p NAME --precise VERSION";
    assert!(wrong.is_empty(), "{wrong:#?}\n{remedy}");
    assert!(shared > 100, "both graphs are there");
}

#[test]
fn the_fuzzers_lock_file_knows_every_dependency_of_the_gateway() {
    let metadata = metadata();
    let own = packages(&metadata).iter();
    let own = own.clone().find(|it| it["name"] == "difygate").unwrap();
    let all = own["dependencies"].as_array().unwrap().iter();
    let program = all.filter(|it| it["kind"].is_null());
    let program: BTreeSet<String> = program.map(|it| text(&it["name"]).to_owned()).collect();

    assert_eq!(
        locked("tests/fuzz/Cargo.lock").gateway,
        program,
        "cargo metadata --manifest-path tests/fuzz/Cargo.toml brings it up to date"
    );
}
