//! `docs/hardening.md` names tests; they are there.

use std::{collections::BTreeSet, fs};

const PATH: &str = "docs/hardening.md";

/// The rows of the table of classes: what is tried, and the tests that are named.
fn classes() -> Vec<(String, Vec<(String, String)>)> {
    let text = fs::read_to_string(PATH).unwrap();
    let table = text.split("\n## Classes of attack\n").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        let named = cells[2].split('`').filter_map(|name| name.split_once(' '));
        let named = named.filter(|(kind, _)| !kind.is_empty());
        let named = named.map(|(kind, name)| (kind.to_owned(), name.to_owned()));
        (cells[0].trim().to_owned(), named.collect())
    })
    .collect()
}

/// Where a test of this name may be: its module's file, or the file of the module's tests.
fn files(kind: &str, name: &str) -> Vec<String> {
    let module: Vec<&str> = name.split("::").collect();
    let module = module[..module.len() - 1].join("/");
    match kind {
        "it" => vec![format!("tests/it/{module}.rs")],
        "model" => vec!["tests/model/tests.rs".to_owned()],
        "lib" => {
            let (parent, last) = module.rsplit_once('/').unwrap_or((&module, ""));
            vec![
                format!("src/{module}.rs"),
                format!("src/{module}/tests.rs"),
                format!("src/{parent}/tests/{last}.rs"),
            ]
        }
        other => panic!("`{other} {name}`: of which kind?"),
    }
}

/// Whether `text` has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    let named = format!("fn {name}(");
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains(&named));
    at.is_some_and(|at| {
        lines[at.saturating_sub(3)..at]
            .iter()
            .any(|line| line.contains("test"))
    })
}

/// Whether there is a test, or a target of the fuzzer, of this name.
fn exists(kind: &str, name: &str) -> bool {
    if kind == "fuzz" {
        return fs::exists(format!("tests/fuzz/fuzz_targets/{name}.rs")).unwrap();
    }
    let last = name.rsplit("::").next().unwrap();
    let texts = files(kind, name)
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    texts.into_iter().any(|text| has_test(&text, last))
}

#[test]
fn every_test_that_is_named_exists() {
    let mut missing = Vec::new();
    for (class, named) in classes() {
        assert!(!named.is_empty(), "no test for: {class}");
        let named = named.into_iter().filter(|(kind, name)| !exists(kind, name));
        missing.extend(named.map(|(kind, name)| format!("{kind} {name}")));
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// In what has been found, as among the classes.
#[test]
fn every_test_that_is_named_anywhere_exists() {
    let text = fs::read_to_string(PATH).unwrap();
    let named = text
        .split('`')
        .filter_map(|name| name.split_once(' '))
        .filter(|(kind, name)| ["it", "lib", "model"].contains(kind) && name.contains("::"));
    let is_module = |name: &str| {
        let file = format!("tests/it/{}.rs", name.replace("::", "/"));
        fs::exists(file).unwrap()
    };
    let missing: Vec<_> = named
        .filter(|(kind, name)| !exists(kind, name) && !is_module(name))
        .collect();
    assert_eq!(missing, Vec::<(&str, &str)>::new());
}

#[test]
fn every_target_of_the_fuzzer_is_in_a_class() {
    let named = classes().into_iter().flat_map(|(_, named)| named);
    let named: BTreeSet<String> = named
        .filter(|(kind, _)| kind == "fuzz")
        .map(|(_, name)| name)
        .collect();
    let files = fs::read_dir("tests/fuzz/fuzz_targets").unwrap();
    let files = files.map(|file| file.unwrap().path().file_stem().unwrap().to_owned());
    let targets: BTreeSet<String> = files.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(named, targets);
    assert!(classes().len() >= 20, "the classes were found");
}
