//! The layers, lowest first: defaults, Dify's own variables, the file, `DIFYGATE__…`.
//!
//! The result holds one value per key: the highest layer's, with where it came from.

mod file;

use std::collections::BTreeMap;

use super::keys::{self, Form, KEYS, Key, VARIABLE_PREFIX};
use super::value::Value;
use super::{Environment, Invalid, Problem};

pub(crate) use self::file::inline_table;

/// Where a value came from. No `Debug` on what holds values: some are secrets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// One of Dify's own variables.
    Dify(&'static str),
    /// A line of the file.
    File { name: String, line: usize },
    /// A `DIFYGATE__…` variable.
    Variable(String),
}

impl Origin {
    /// Orders origins by precedence; equal ranks are the same layer.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::Dify(_) => 1,
            Self::File { .. } => 2,
            Self::Variable(_) => 3,
        }
    }

    /// Spells the origin for a message, at another line of the file if one is given.
    pub(crate) fn show(&self, at: Option<usize>) -> Option<String> {
        match self {
            Self::Default => None,
            Self::Dify(name) => Some((*name).to_owned()),
            Self::File { name, line } => Some(format!("{name}:{}", at.unwrap_or(*line))),
            Self::Variable(name) => Some(name.clone()),
        }
    }
}

/// A value and its origin.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// The winning value of every key that has one.
pub(crate) struct Layers(BTreeMap<&'static str, Found>);

impl Layers {
    pub(crate) fn get(&self, path: &str) -> Option<&Found> {
        self.0.get(path)
    }

    fn set(&mut self, key: &'static Key, value: Value, origin: Origin) {
        self.0.insert(key.path, Found { value, origin });
    }
}

/// Merges all layers; the problems are the unknown names.
///
/// # Errors
///
/// Returns a TOML syntax error, alone.
pub(crate) fn merge(
    file: Option<(&str, &str)>,
    env: &Environment,
) -> Result<(Layers, Vec<Problem>), Invalid> {
    let mut layers = Layers(BTreeMap::new());
    let mut problems = Vec::new();
    for key in KEYS {
        if let Some(default) = key.default {
            layers.set(key, Value::Bare(default.to_owned()), Origin::Default);
        }
        // Dify's own `.env` names many variables without a value: not set.
        let dify = key.dify.and_then(|name| Some((name, env.var(name)?)));
        if let Some((name, value)) = dify
            && !value.trim().is_empty()
        {
            layers.set(key, Value::Bare(value.to_owned()), Origin::Dify(name));
        }
    }
    if let Some((name, text)) = file {
        file::read(name, text, &mut layers, &mut problems)?;
    }
    overrides(env, &mut layers, &mut problems);
    Ok((layers, problems))
}

fn overrides(env: &Environment, layers: &mut Layers, problems: &mut Vec<Problem>) {
    for (name, value) in env.iter() {
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
            continue;
        };
        match KEYS.iter().find(|key| key.variable() == name) {
            Some(key) if key.form == Form::Routes => problems.push(Problem {
                key: key.path.to_owned(),
                origin: Some(name.to_owned()),
                got: None,
                need: "to be set in the file".to_owned(),
                remedy: Some("write [[routes]] blocks there".to_owned()),
            }),
            Some(key) => layers.set(
                key,
                Value::Bare(value.to_owned()),
                Origin::Variable(name.to_owned()),
            ),
            None => {
                let path = rest.to_ascii_lowercase().replace("__", ".");
                problems.push(unknown(&path, name.to_owned(), Key::variable));
            }
        }
    }
}

/// Reports an unknown key, naming the known ones around it as `spell` writes them.
fn unknown(path: &str, origin: String, spell: fn(&Key) -> String) -> Problem {
    let section = |path: &str| path.rsplit_once('.').map(|(section, _)| section.to_owned());
    let siblings: Vec<&Key> = KEYS
        .iter()
        .filter(|key| section(key.path) == section(path))
        .collect();
    let need = if siblings.is_empty() || section(path).is_none() {
        format!("one of the sections {}", keys::sections().join(", "))
    } else {
        let names: Vec<String> = siblings.iter().map(|key| spell(key)).collect();
        format!("a known key: {}", names.join(", "))
    };
    Problem {
        // A quoted TOML key can hold anything, line breaks included.
        key: path.escape_debug().to_string(),
        origin: Some(origin),
        got: Some("an unknown key".to_owned()),
        need,
        remedy: keys::closest(path).map(|key| format!("did you mean {}?", spell(key))),
    }
}
