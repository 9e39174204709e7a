//! The TOML file as a layer: every key with its line, unknown ones refused.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{Layers, Origin, unknown};
use crate::config::keys::{self, KEYS};
use crate::config::value::{Located, Value};
use crate::config::{Invalid, Problem};

/// Reads a file's keys into the layers.
///
/// # Errors
///
/// Returns a syntax error with its line.
pub(super) fn read(
    name: &str,
    text: &str,
    layers: &mut Layers,
    problems: &mut Vec<Problem>,
) -> Result<(), Invalid> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|err| Invalid {
        problems: vec![Problem {
            key: "TOML syntax".to_owned(),
            origin: Some(match err.span() {
                Some(span) => format!("{name}:{}", lines.at(&span)),
                None => name.to_owned(),
            }),
            got: Some(err.message().trim().replace('\n', ", ")),
            need: "a valid TOML file".to_owned(),
            remedy: None,
        }],
    })?;
    let root = lines.table(table.get_ref());
    walk("", root, name, layers, problems);
    Ok(())
}

/// Descends into sections; a key of the table is taken whole, whatever its type.
fn walk(
    prefix: &str,
    table: Vec<(String, Located)>,
    name: &str,
    layers: &mut Layers,
    problems: &mut Vec<Problem>,
) {
    for (key, Located { value, line }) in table {
        let path = format!("{prefix}{key}");
        let section = format!("{path}.");
        if let Some(key) = keys::find(&path) {
            let name = name.to_owned();
            layers.set(key, value, Origin::File { name, line });
        } else if !KEYS.iter().any(|key| key.path.starts_with(&section)) {
            let origin = format!("{name}:{line}");
            problems.push(unknown(&path, origin, |key| leaf(key.path)));
        } else if let Value::Table(table) = value {
            walk(&section, table, name, layers, problems);
        } else {
            problems.push(Problem {
                key: path.clone(),
                origin: Some(format!("{name}:{line}")),
                got: Some(value.kind().to_owned()),
                need: format!("a table [{path}]"),
                remedy: None,
            });
        }
    }
}

fn leaf(path: &str) -> String {
    path.rsplit('.').next().unwrap_or(path).to_owned()
}

/// Turns the parser's byte spans into lines and its borrowed values into ours.
struct Lines {
    /// Where each line of the text ends.
    ends: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Self { ends }
    }

    /// Returns the line that a span begins in, from 1.
    fn at(&self, span: &Range<usize>) -> usize {
        1 + self.ends.partition_point(|end| *end < span.start)
    }

    fn table(&self, table: &DeTable<'_>) -> Vec<(String, Located)> {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| {
                let located = Located {
                    value: self.value(value.get_ref()),
                    line: self.at(&key.span()),
                };
                (key.get_ref().to_string(), located)
            })
            .collect();
        entries.sort_by_key(|(_, located)| located.line);
        entries
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("an integer too large"), Value::Integer),
            DeValue::Float(number) => number
                .as_str()
                .replace('_', "")
                .parse()
                .map_or(Value::Other("a decimal number"), Value::Decimal),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| Located {
                        value: self.value(item.get_ref()),
                        line: self.at(&item.span()),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }
}

/// Parses an inline TOML table, the one form in which a variable can carry a table.
pub(crate) fn inline_table(text: &str) -> Option<Value> {
    let document = format!("value = {}", text.trim());
    let table = DeTable::parse(&document).ok()?;
    // More than one entry means that the text went on after the table.
    let mut entries = Lines::of(&document).table(table.get_ref());
    match (entries.pop(), entries.is_empty()) {
        (Some((_, located)), true) if matches!(located.value, Value::Table(_)) => {
            Some(located.value)
        }
        _ => None,
    }
}
