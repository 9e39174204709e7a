//! Audit events and their fields, from the one place that writes them.

use std::fmt::Write as _;

const SOURCE: &str = include_str!("../../../src/audit.rs");

/// The text between two others.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let start = text.find(from).unwrap_or_else(|| panic!("no {from}")) + from.len();
    let length = text[start..].find(to).unwrap_or_else(|| panic!("no {to}"));
    &text[start..start + length]
}

/// Every variant with its comment.
fn variants() -> Vec<(String, String)> {
    let body = between(SOURCE, "pub enum AuditEvent<'a> {\n", "\n}\n");
    let (mut comment, mut found) = (Vec::new(), Vec::new());
    for line in body.lines() {
        let Some(line) = line.strip_prefix("    ").filter(|l| !l.starts_with(' ')) else {
            continue;
        };
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push(text);
        } else if let Some(name) = line.strip_suffix(" {") {
            found.push((name.to_owned(), comment.join(" ")));
            comment.clear();
        }
    }
    found
}

/// The fields that a variant's line has: `name`, `%name` or `name = value`.
fn fields(variant: &str) -> Vec<String> {
    let emit = between(SOURCE, "fn write(&self) {", "\n    }\n");
    let arm = &emit[emit.find(&format!("Self::{variant} {{")).unwrap()..];
    let inside = between(arm, "tracing::info!(", ");\n");
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for c in inside.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {}
        }
        if c != ',' || depth > 0 {
            part.push(c);
        }
    }
    parts.push(part);
    parts
        .iter()
        .map(|part| part.split('=').next().unwrap().trim())
        .filter(|name| !name.is_empty() && !name.contains(['"', ':']) && *name != "event")
        .map(|name| format!("`{}`", name.trim_start_matches(['%', '?'])))
        .collect()
}

pub(super) fn table() -> String {
    let mut table =
        "\n## Audit events\n\nWhere `log.audit` says, with `\"target\": \"audit\"` and \
                     the name as `event`. A field without a value is left out.\n\n\
                     | event | when | fields |\n|---|---|---|\n"
            .to_owned();
    let variants = variants();
    assert!(variants.len() > 4, "{variants:?}");
    for (variant, when) in variants {
        let name = between(SOURCE, &format!("Self::{variant} {{ .. }} =>"), ",");
        let name = name.split('"').nth(1).unwrap();
        let _ = writeln!(
            table,
            "| `{name}` | {when} | {} |",
            fields(&variant).join(", ")
        );
    }
    table
}
