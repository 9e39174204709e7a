//! The shipped example is the documentation of the configuration: it must be true.

use std::collections::BTreeSet;

use difygate::config::{
    Config, Environment, Invalid, PostgresTarget, RedisTarget, key_paths, load,
};

use crate::support::Authority;

const EXAMPLE: &str = include_str!("../../config.toml.example");

/// What a file must set at least, with the example's placeholders.
const REQUIRED: &str = r#"
    upstream.url = "http://127.0.0.1:5001"
    dify.secret_key = "placeholder"
    postgres.host = "127.0.0.1"
    redis.host = "127.0.0.1"
"#;

/// Which of the two forms of an address to keep, where the example explains both.
#[derive(Clone, Copy, PartialEq)]
enum Address {
    Parts,
    Url,
}

fn config(text: &str) -> Result<Config, Invalid> {
    let env = Environment::default();
    load(Some(("config.toml.example", text)), &env).map(|loaded| loaded.config)
}

/// Returns what a commented line would set: `# key = value` or `# [[table]]`, never prose.
fn commented(line: &str) -> Option<&str> {
    let code = line.strip_prefix("# ")?;
    let key = code.split_once(" = ").map_or("", |(key, _)| key);
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    (is_key || code.starts_with("[[")).then_some(code)
}

/// Uncomments every key, keeping one form of each address; TLS is spoken with an authority's files.
fn uncommented(keep: Address, authority: &Authority) -> String {
    let mut inside = None;
    let mut lines = Vec::new();
    for line in EXAMPLE.lines() {
        if line.starts_with("# --- ") {
            inside = match line {
                _ if line.starts_with("# --- either") => Some(Address::Parts),
                _ if line.starts_with("# --- or") => Some(Address::Url),
                _ => None,
            };
        } else if inside.is_none_or(|form| form == keep) {
            lines.push(commented(line).unwrap_or(line));
        }
    }
    let issued = authority.issue(&["difygate"]);
    let mut text = lines.join("\n");
    for (shown, real) in [
        ("upstream-ca.crt", authority.file()),
        ("postgres-ca.crt", authority.file()),
        ("redis-ca.crt", authority.file()),
        ("redis.crt", issued.cert),
        ("redis.key", issued.key),
    ] {
        text = text.replace(&format!("/etc/difygate/{shown}"), real.to_str().unwrap());
    }
    text.replace("tls = false", "tls = true")
        .replace("\"redis://", "\"rediss://")
}

#[test]
fn the_example_loads_as_shipped() {
    config(EXAMPLE).unwrap();
}

#[test]
fn the_example_loads_with_every_key_uncommented() {
    let config = config(&uncommented(Address::Parts, &Authority::new())).unwrap();

    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.dify.keys.len(), 2);
    assert!(config.server.tls.is_some());
}

#[test]
fn the_example_loads_with_urls_in_place_of_parts() {
    let config = config(&uncommented(Address::Url, &Authority::new())).unwrap();

    assert!(matches!(config.postgres.target, PostgresTarget::Url(_)));
    assert!(matches!(config.redis.target, RedisTarget::Url(_)));
}

#[test]
fn the_example_shows_the_defaults() {
    let example = format!("{:#?}", config(EXAMPLE).unwrap());
    let defaults = format!("{:#?}", config(REQUIRED).unwrap());

    assert_eq!(example, defaults);
}

#[test]
fn the_example_names_every_key_and_no_other() {
    let mut section = String::new();
    let mut named = BTreeSet::new();
    for line in EXAMPLE.lines() {
        let code = commented(line).unwrap_or(line);
        if code.starts_with('#') || code.is_empty() {
            continue;
        }
        match code.split_once(" = ") {
            Some((key, _)) => assert!(named.insert(format!("{section}.{key}")), "{key} twice"),
            None => section = code.trim_matches(['[', ']']).to_owned(),
        }
    }

    let known: BTreeSet<String> = key_paths().map(ToOwned::to_owned).collect();
    assert_eq!(named, known);
}

#[test]
fn the_example_never_prints_its_secrets() {
    for address in [Address::Parts, Address::Url] {
        let printed = format!(
            "{:?}",
            config(&uncommented(address, &Authority::new())).unwrap()
        );

        for secret in ["replace-with", "another-secret", "password@"] {
            assert!(!printed.contains(secret), "{secret}");
        }
    }
}
