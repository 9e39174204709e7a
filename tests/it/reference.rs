//! `docs/reference.md`, made from the code: stale, it fails. `UPDATE_REFERENCE=1 cargo test --test
//! it reference` writes it anew.

mod events;
mod keys;

use std::{collections::BTreeMap, fmt::Write as _};

use difygate::http::Rejection;
use serde_json::Value;

use crate::observability::scrape;

const PATH: &str = "docs/reference.md";

const HEAD: &str = "\
# Reference

Made from the code; a test fails when it is stale, and `UPDATE_REFERENCE=1 cargo test --test it
reference` writes it anew. The command line is in `difygate --help` and in its manual pages.
";

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Every metric with its type, labels and meaning, as a scrape tells it.
fn metrics() -> String {
    let scrape = scrape();
    let mut table = "\n## Metrics\n\nOn `admin.listen`, `/metrics`.\n\n\
                     | metric | type | labels | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for line in scrape.lines() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' '))
        else {
            continue;
        };
        let kind = format!("# TYPE {name} ");
        let kind = scrape.lines().find_map(|line| line.strip_prefix(&kind));
        let mut labels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for series in scrape.lines().filter_map(|line| line.strip_prefix(name)) {
            let Some(inside) = series.strip_prefix('{').and_then(|s| s.split_once('}')) else {
                continue;
            };
            for (label, value) in inside.0.split(',').filter_map(|pair| pair.split_once('=')) {
                let values = labels.entry(label).or_default();
                let value = value.trim_matches('"');
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, values)| match *label {
                "reason" if name.contains("rejections") => "`reason`: see below".to_owned(),
                _ => format!("`{label}`: {}", values.join(", ")),
            })
            .collect();
        let _ = writeln!(
            table,
            "| `{name}` | {} | {} | {} |",
            kind.unwrap(),
            labels.join("; "),
            cell(help)
        );
    }
    table
}

/// Every refusal: the reason in log and metric, and what the client is told.
fn refusals() -> String {
    let mut rows: Vec<String> = Rejection::EXAMPLES
        .iter()
        .map(|rejection| {
            let reply = rejection.reply();
            let body: Value = serde_json::from_slice(reply.body()).unwrap();
            let told = body.get("error").or_else(|| body.get("code")).unwrap();
            let told = told.as_str().unwrap();
            let status = reply.status().as_u16();
            format!("| `{}` | {status} | `{told}` |\n", rejection.reason())
        })
        .collect();
    rows.sort();
    rows.dedup();
    format!(
        "\n## Refusals\n\nThe `reason` is in the log's line and in `difygate_rejections_total`; the \
         client gets status and code.\n\n| reason | status | code |\n|---|---|---|\n{}",
        rows.concat()
    )
}

/// Every endpoint that the gateway answers by itself.
fn endpoints() -> String {
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let mut table = "\n## Endpoints\n\nWhat the gateway answers by itself; \
                     [openapi.json](openapi.json) has requests and answers. Everything else is \
                     forwarded, or refused.\n\n| endpoint | aliases | |\n|---|---|---|\n"
        .to_owned();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(summary) = operation["summary"].as_str() else {
                continue;
            };
            let aliases = operation["x-aliases"].as_array();
            let aliases: Vec<String> = aliases
                .into_iter()
                .flatten()
                .map(|alias| format!("`{}`", alias.as_str().unwrap()))
                .collect();
            let method = method.to_uppercase();
            let aliases = aliases.join(", ");
            let _ = writeln!(table, "| `{method} {path}` | {aliases} | {summary} |");
        }
    }
    table
}

#[test]
fn the_reference_is_what_the_code_says() {
    let made = [
        HEAD.to_owned(),
        keys::table(),
        metrics(),
        refusals(),
        events::table(),
        endpoints(),
    ]
    .concat();

    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(PATH, &made).unwrap();
    }
    let there = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        made == there,
        "{PATH} is stale; write it anew with UPDATE_REFERENCE=1 cargo test --test it reference"
    );
}
