//! What is built in: every crate from crates.io under a licence that is allowed, and every direct
//! dependency with its reasons. `make deny` asks more, with cargo-deny; this needs nothing but cargo.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What the second half of `docs/dependencies.md` is headed by.
const ADVISORIES: &str = "\n## Advisories\n";

/// The whole graph of `Cargo.lock`.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages(metadata: &Value) -> &Vec<Value> {
    metadata["packages"].as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The rows of a table that begin with a crate: its name, and what follows.
fn rows(page: &str) -> Vec<(&str, &str)> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once("` | ")).collect()
}

/// Asserts that the version that a row begins with is the one of `Cargo.lock`.
fn is_locked(metadata: &Value, name: &str, row: &str) {
    let version = row.split(" | ").next().unwrap();
    let locked = packages(metadata).iter();
    let locked = locked
        .clone()
        .any(|it| it["name"] == name && it["version"] == version);
    assert!(locked, "{name} {version} is not the version of Cargo.lock");
}

/// The licences that `deny.toml` allows.
fn allowed() -> BTreeSet<String> {
    let deny: toml::Table = fs::read_to_string("deny.toml").unwrap().parse().unwrap();
    let listed = deny["licenses"]["allow"].as_array().unwrap();
    let listed = listed.iter().map(|name| name.as_str().unwrap().to_owned());
    listed.collect()
}

/// Whether an SPDX expression can be met: a choice by one of its sides, a conjunction by all.
/// Parentheses are only known around a choice that is one side of a conjunction.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    let sides = expression.split(" AND ");
    sides
        .map(|side| side.trim().trim_matches(['(', ')']))
        .all(|side| side.split(" OR ").any(|name| allowed.contains(name.trim())))
}

#[test]
fn every_crate_is_from_the_registry_under_a_licence_that_is_allowed() {
    let (metadata, allowed) = (metadata(), allowed());
    let mut wrong = Vec::new();
    for package in packages(&metadata) {
        let (name, source) = (text(&package["name"]), text(&package["source"]));
        if name == "difygate" {
            continue;
        }
        if source != REGISTRY {
            wrong.push(format!("{name} comes from {source:?}"));
        }
        let licence = text(&package["license"]);
        if !is_met(licence, &allowed) {
            wrong.push(format!("{name} is under {licence:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(packages(&metadata).len() > 100, "the graph is there");
}

#[test]
fn a_licence_is_met_as_spdx_means_it() {
    let allowed = ["MIT", "Unicode-3.0"].map(str::to_owned).into();

    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "Apache-2.0/MIT",
        "(MIT OR X) AND Unicode-3.0",
    ] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "(X OR Y) AND MIT"] {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn every_direct_dependency_has_its_row() {
    let metadata = metadata();
    let own = packages(&metadata).iter();
    let own = own.clone().find(|it| it["name"] == "difygate").unwrap();
    let direct = own["dependencies"].as_array().unwrap().iter();
    let direct: BTreeSet<&str> = direct.map(|it| text(&it["name"])).collect();

    let page = fs::read_to_string("docs/dependencies.md").unwrap();
    let (page, _) = page.split_once(ADVISORIES).unwrap();
    let rows = rows(page);
    let named: BTreeSet<&str> = rows.iter().map(|(name, _)| *name).collect();

    assert_eq!(named, direct);
    assert_eq!(named.len(), rows.len(), "one row each");
    for (name, row) in rows {
        is_locked(&metadata, name, row);
    }
}

#[test]
fn what_advisories_are_about_has_the_version_that_is_named() {
    let metadata = metadata();
    let page = fs::read_to_string("docs/dependencies.md").unwrap();
    let (_, advisories) = page.split_once(ADVISORIES).unwrap();
    let rows = rows(advisories);

    assert!(rows.len() > 20, "the table is there");
    for (name, row) in rows {
        let versions = row.split(" | ").next().unwrap();
        for version in versions.split(", ") {
            is_locked(&metadata, name, version);
        }
    }
}

#[test]
fn nothing_that_is_banned_is_in_the_graph() {
    let deny: toml::Table = fs::read_to_string("deny.toml").unwrap().parse().unwrap();
    let banned = deny["bans"]["deny"].as_array().unwrap().iter();
    let banned: Vec<&str> = banned.map(|it| it["crate"].as_str().unwrap()).collect();
    assert!(banned.contains(&"openssl-sys"));

    let metadata = metadata();
    let names = packages(&metadata).iter().map(|it| text(&it["name"]));
    let found: Vec<&str> = names.filter(|name| banned.contains(name)).collect();
    assert_eq!(found, Vec::<&str>::new());
}
