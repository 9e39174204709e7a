//! The configuration's keys, from the example that explains them.

use std::{collections::BTreeSet, fmt::Write as _};

use difygate::config::key_paths;

use super::cell;

const EXAMPLE: &str = include_str!("../../../config.toml.example");

/// One key.
struct Row {
    path: String,
    default: String,
    dify: String,
    meaning: String,
}

/// What a line sets, and whether it is commented out: `key = value`, or a table's name.
fn setting(line: &str) -> Option<(&str, bool)> {
    let (code, commented) = match line.strip_prefix("# ") {
        Some(code) => (code, true),
        None => (line, false),
    };
    let key = code.split_once(" = ").map_or("", |(key, _)| key);
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    // One of Dify's variables, alone in its line, is in capitals.
    let is_table = code.starts_with('[')
        && code.ends_with(']')
        && code
            .chars()
            .all(|c| c.is_ascii_lowercase() || "_.[]".contains(c));
    (is_key || is_table).then_some((code, commented))
}

fn row(section: &str, code: &str, commented: bool, comment: &[&str]) -> Row {
    let (key, value) = code.split_once(" = ").unwrap();
    let path = format!("{section}.{key}");
    let mut meaning = comment.join(" ");
    let mut dify = String::new();
    if let Some(at) = meaning.rfind('[').filter(|_| meaning.ends_with(']')) {
        dify = format!("`{}`", &meaning[at + 1..meaning.len() - 1]);
        meaning.truncate(at);
    }
    let default = match path.as_str() {
        // Either these or the address as one URL; what the example shows is no default.
        "postgres.host" | "redis.host" => "required, or `url`".to_owned(),
        _ if meaning.starts_with("Required") => "required".to_owned(),
        _ if commented => "unset".to_owned(),
        _ => format!("`{value}`"),
    };
    Row {
        path,
        default,
        dify,
        meaning: meaning.trim().to_owned(),
    }
}

fn rows() -> Vec<Row> {
    let (mut section, mut comment, mut rows) = (String::new(), Vec::new(), Vec::new());
    for line in EXAMPLE.lines().skip_while(|line| *line != "[server]") {
        match setting(line) {
            Some((code, _)) if code.starts_with('[') => {
                code.trim_matches(['[', ']']).clone_into(&mut section);
                comment.clear();
            }
            Some((code, commented)) => {
                rows.push(row(&section, code, commented, &comment));
                comment.clear();
            }
            None if line.is_empty() || line.starts_with("# ---") => comment.clear(),
            None => comment.push(line.trim_start_matches("# ")),
        }
    }
    rows
}

pub(super) fn table() -> String {
    let rows = rows();
    let explained: BTreeSet<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    assert_eq!(explained, key_paths().collect(), "every key is explained");
    let mut table = "\n## Keys\n\nA key's variable is `DIFYGATE__SECTION__KEY`; it wins over the \
                     file, the file over Dify's own variable.\n\n\
                     | key | default | Dify's variable | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for row in &rows {
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            row.path,
            cell(&row.default),
            row.dify,
            cell(&row.meaning)
        );
    }
    table
}
