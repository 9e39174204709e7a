//! What is built in: every crate from crates.io under a licence that is allowed, and every direct
//! dependency with its reasons. `make deny` asks more, with cargo-deny; this needs nothing but cargo.

mod fuzzers;
mod licences;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::Value;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What the parts of `docs/dependencies.md` are headed by, behind the first.
const TWICE: &str = "\n## Two versions of one crate\n";
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

#[test]
fn every_direct_dependency_has_its_row() {
    let metadata = metadata();
    let own = packages(&metadata).iter();
    let own = own.clone().find(|it| it["name"] == "difygate").unwrap();
    let direct = own["dependencies"].as_array().unwrap().iter();
    let direct: BTreeSet<&str> = direct.map(|it| text(&it["name"])).collect();

    let page = fs::read_to_string("docs/dependencies.md").unwrap();
    let (page, _) = page.split_once(TWICE).unwrap();
    let rows = rows(page);
    let named: BTreeSet<&str> = rows.iter().map(|(name, _)| *name).collect();

    assert_eq!(named, direct);
    assert_eq!(named.len(), rows.len(), "one row each");
    for (name, row) in rows {
        is_locked(&metadata, name, row);
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells[3], features(own, name), "features of {name}");
    }
}

/// The features that `Cargo.toml` asks for, as its row has them: where the tests ask for more of a
/// crate, those of the program.
fn features(own: &Value, name: &str) -> String {
    let all = own["dependencies"].as_array().unwrap().iter();
    let asked = all
        .filter(|it| it["name"] == name)
        .min_by_key(|it| text(&it["kind"]));
    let asked = asked.unwrap();
    let default = asked["uses_default_features"] == true;
    let listed = asked["features"].as_array().unwrap().iter().map(text);
    let features: Vec<&str> = default
        .then_some("default")
        .into_iter()
        .chain(listed)
        .collect();
    if features.is_empty() {
        return "none".to_owned();
    }
    features.join(", ")
}

#[test]
fn whatever_is_there_twice_has_its_row() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages(&metadata) {
        let of = versions.entry(text(&package["name"])).or_default();
        of.insert(text(&package["version"]));
    }
    versions.retain(|_, versions| versions.len() > 1);

    let page = fs::read_to_string("docs/dependencies.md").unwrap();
    let (_, page) = page.split_once(TWICE).unwrap();
    let (page, _) = page.split_once(ADVISORIES).unwrap();
    let rows = rows(page);
    let named = rows.iter().map(|(name, row)| {
        let listed = row.split(" | ").next().unwrap();
        (*name, listed.split(", ").collect())
    });

    assert_eq!(named.collect::<BTreeMap<_, _>>(), versions);
    assert!(versions.len() > 10, "the table is there");
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
