//! Licences, and where crates come from.

use std::{collections::BTreeSet, fs};

use super::{REGISTRY, metadata, packages, text};

/// What `deny.toml` says of licences.
struct Licences {
    /// Those that any crate may have.
    allowed: BTreeSet<String>,
    /// Crates that may have another one.
    exceptions: Vec<(String, String)>,
}

impl Licences {
    fn of_deny_toml() -> Self {
        let deny: toml::Table = fs::read_to_string("deny.toml").unwrap().parse().unwrap();
        let list = |value: &toml::Value| -> Vec<String> {
            let listed = value.as_array().unwrap().iter();
            listed
                .map(|name| name.as_str().unwrap().to_owned())
                .collect()
        };
        let exceptions = deny["licenses"]["exceptions"].as_array().unwrap().iter();
        let exceptions = exceptions.flat_map(|exception| {
            let name = exception["crate"].as_str().unwrap();
            let allowed = list(&exception["allow"]).into_iter();
            allowed.map(move |licence| (name.to_owned(), licence))
        });
        Self {
            allowed: list(&deny["licenses"]["allow"]).into_iter().collect(),
            exceptions: exceptions.collect(),
        }
    }

    /// Whether a crate may be under these.
    fn let_in(&self, name: &str, expression: &str) -> bool {
        let own = self.exceptions.iter().filter(|(of, _)| of == name);
        let own = own.map(|(_, licence)| licence.clone());
        is_met(
            expression,
            &self.allowed.iter().cloned().chain(own).collect(),
        )
    }
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
    let (metadata, licences) = (metadata(), Licences::of_deny_toml());
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
        if !licences.let_in(name, licence) {
            wrong.push(format!("{name} is under {licence:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(packages(&metadata).len() > 100, "the graph is there");
}

#[test]
fn no_licence_is_allowed_that_nobody_needs() {
    let (metadata, licences) = (metadata(), Licences::of_deny_toml());
    let all = |licences: &Licences| {
        packages(&metadata)
            .iter()
            .filter(|package| package["name"] != "difygate")
            .all(|package| licences.let_in(text(&package["name"]), text(&package["license"])))
    };

    for left_out in &licences.allowed {
        let without = Licences {
            allowed: licences
                .allowed
                .iter()
                .filter(|it| *it != left_out)
                .cloned()
                .collect(),
            exceptions: licences.exceptions.clone(),
        };
        assert!(!all(&without), "{left_out}");
    }
    for left_out in &licences.exceptions {
        let without = Licences {
            allowed: licences.allowed.clone(),
            exceptions: licences
                .exceptions
                .iter()
                .filter(|it| *it != left_out)
                .cloned()
                .collect(),
        };
        assert!(!all(&without), "{left_out:?}");
    }
}

#[test]
fn an_exception_is_one_crates_alone() {
    let licences = Licences {
        allowed: ["MIT".to_owned()].into(),
        exceptions: vec![("webdriver".to_owned(), "MPL-2.0".to_owned())],
    };

    assert!(licences.let_in("webdriver", "MPL-2.0"));
    assert!(!licences.let_in("another", "MPL-2.0"));
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
