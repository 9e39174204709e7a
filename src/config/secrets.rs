//! A secret's three forms: the text itself, `{ env = "NAME" }`, `{ file = "/path" }`.

use std::fs;

use super::Environment;
use super::value::{Mismatch, Value, quote};
use crate::secret::Secret;

const FORMS: &str = "a string, { env = \"NAME\" } or { file = \"/path\" }";

/// Reads a secret; a message names the reference, never the value.
///
/// # Errors
///
/// Returns a mismatch for another form, an unset variable or an unreadable file.
pub(crate) fn read(value: &Value, env: &Environment) -> Result<Secret, Mismatch> {
    let wrong = || Mismatch::describing(value.kind(), FORMS);
    match value {
        // Not trimmed: a password may well end in a blank.
        Value::Bare(text) | Value::Text(text) => Ok(Secret::new(text.clone())),
        Value::Table(entries) => {
            let [(form, located)] = entries.as_slice() else {
                return Err(Mismatch::describing("a table of another form", FORMS));
            };
            match (form.as_str(), &located.value) {
                ("env", Value::Text(name)) => from_variable(name, env),
                ("file", Value::Text(path)) => from_file(path),
                _ => Err(Mismatch::describing("a table of another form", FORMS)),
            }
        }
        Value::Integer(_)
        | Value::Decimal(_)
        | Value::Boolean(_)
        | Value::List(_)
        | Value::Other(_) => Err(wrong()),
    }
}

fn from_variable(name: &str, env: &Environment) -> Result<Secret, Mismatch> {
    match env.var(name) {
        Some(text) if !text.is_empty() => Ok(Secret::new(text.to_owned())),
        Some(_) => Err(Mismatch::describing(
            format!("the empty environment variable {}", quote(name)),
            "a variable that holds the secret",
        )),
        None => Err(Mismatch::describing(
            format!("the environment variable {}, which is not set", quote(name)),
            "a variable that holds the secret",
        )),
    }
}

fn from_file(path: &str) -> Result<Secret, Mismatch> {
    match fs::read_to_string(path) {
        Ok(text) => {
            // Editors and `echo` end a file with a newline; it is not part of the secret.
            let line = text.strip_suffix('\n').unwrap_or(&text);
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                return Err(Mismatch::describing(
                    format!("the empty file {}", quote(path)),
                    "a file that holds the secret",
                ));
            }
            Ok(Secret::new(line.to_owned()))
        }
        Err(err) => Err(Mismatch::describing(
            format!("the file {}, which cannot be read ({err})", quote(path)),
            "a file that holds the secret",
        )),
    }
}
