//! Rules about the sources themselves: layers, sizes, one place for every table.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longest source file, in lines.
const MAX_LINES: usize = 450;

/// What a layer must not name. `app`, `demo`, `preflight` and `main` put everything together and
/// may name all of it.
const FORBIDDEN: [(&[&str], &[&str]); 4] = [
    (
        // The domain knows neither HTTP, nor SQL, nor Redis.
        &[
            "token",
            "activity",
            "check",
            "console",
            "device",
            "licence",
            "mint",
            "rate_limit",
            "retention",
            "sso",
            "jws",
            "audit",
            "clock",
            "entropy",
            "dify_json",
        ],
        &[
            "pingora",
            "hyper",
            "http::",
            "crate::http",
            "tokio_postgres",
            "deadpool",
            "redis::",
            "crate::gateway",
            "crate::app",
            "crate::admin",
            "crate::route",
            "crate::trace",
            "opentelemetry",
            "store::postgres",
            "store::redis",
            "store::embedded",
            "SELECT ",
            "SET ",
        ],
    ),
    (
        // Stores know nothing of what stands on them.
        &["store"],
        &[
            "pingora",
            "hyper",
            "crate::http",
            "crate::check",
            "crate::gateway",
            "crate::route",
            "crate::trace",
            "crate::app",
            "crate::admin",
        ],
    ),
    (
        // The rules of the edge are plain functions on plain values.
        &["route", "http"],
        &[
            "pingora",
            "hyper",
            "tokio_postgres",
            "redis::",
            "store::",
            "crate::app",
            "crate::gateway",
        ],
    ),
    (
        // The edge goes through the domain to the stores, never around it.
        &["gateway", "admin", "enterprise", "listener", "trace"],
        &[
            "tokio_postgres",
            "deadpool",
            "redis::",
            "store::",
            "crate::app",
        ],
    ),
];

/// Words of one place, and the only files that may have them.
const ONE_PLACE: [(&str, &[&str]); 6] = [
    ("opentelemetry_proto", &["src/trace/otlp.rs"]),
    ("StatusCode::UNAUTHORIZED", &["src/http.rs"]),
    (
        "oauth_access_tokens",
        &[
            "src/store/postgres/migrate.rs",
            "src/store/postgres/sessions.rs",
            "src/store/postgres/tokens.rs",
            "src/store/postgres/grants.rs",
        ],
    ),
    ("\"auth:token:", &["src/store/redis/token_cache.rs"]),
    (
        "\"/openapi/v1",
        &[
            "src/route/table.rs",
            "src/route/table/tests.rs",
            "src/route/path.rs",
        ],
    ),
    (
        "Instant::now()",
        &[
            "src/clock.rs",
            "src/store/postgres.rs",
            "src/store/postgres/opening.rs",
        ],
    ),
];

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 30, "the sources were found");
    found
}

/// The lines of a file that are code and not tests of it.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line))
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests")
        || path.components().any(|part| part.as_os_str() == "tests")
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix("src").unwrap();
    let first = inside.iter().next().unwrap().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn no_layer_is_crossed() {
    let mut crossed = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        let module = module_of(path);
        for (modules, words) in FORBIDDEN {
            if !modules.contains(&module.as_str()) {
                continue;
            }
            for (line, code) in code(text) {
                for word in words.iter().filter(|word| code.contains(**word)) {
                    // `store/redis` may name redis, `store/postgres` may name Postgres.
                    crossed.push(format!("{}:{line}: {word}", path.display()));
                }
            }
        }
    }
    assert_eq!(crossed, Vec::<String>::new());
}

#[test]
fn every_table_has_one_place() {
    let mut elsewhere = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        for (word, places) in ONE_PLACE {
            let here = path.to_str().unwrap();
            let demo = here.starts_with("src/demo");
            if !demo && !places.contains(&here) && code(text).any(|(_, line)| line.contains(word)) {
                elsewhere.push(format!("{here}: {word}"));
            }
        }
    }
    assert_eq!(elsewhere, Vec::<String>::new());
}

#[test]
fn files_stay_small_and_are_never_called_mod() {
    for (path, text) in sources() {
        assert!(
            text.lines().count() <= MAX_LINES,
            "{} is too long",
            path.display()
        );
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let banned = ["mod", "utils", "helpers", "common", "misc", "manager"];
        assert!(!banned.contains(&stem.as_str()), "{}", path.display());
    }
}
