//! A value before it has a type: what a layer found, and what it reads as.

use std::borrow::Cow;

/// How much of a wrong value a message repeats, in characters.
const SHOWN: usize = 60;

/// A value as a layer spells it. No `Debug`: it may hold a secret.
#[derive(Clone)]
pub(crate) enum Value {
    /// Untyped text: an environment variable, or a default.
    Bare(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML decimal number.
    Decimal(f64),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array.
    List(Vec<Located>),
    /// A TOML table, its keys in file order.
    Table(Vec<(String, Located)>),
    /// Something no key takes, named for messages.
    Other(&'static str),
}

/// A value in the file.
#[derive(Clone)]
pub(crate) struct Located {
    pub(crate) value: Value,
    /// Line in the file, from 1.
    pub(crate) line: usize,
}

impl Value {
    /// Returns a string's text.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Bare(text) => Some(text.trim()),
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the whole number, in the environment spelt as text.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Bare(text) => text.trim().parse().ok(),
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the number, whole or not, in the environment spelt as text.
    pub(crate) fn decimal(&self) -> Option<f64> {
        match self {
            Self::Decimal(number) => Some(*number),
            Self::Bare(text) => text.trim().parse().ok(),
            // No key takes a number that a double cannot hold.
            Self::Integer(number) => i32::try_from(*number).ok().map(f64::from),
            _ => None,
        }
    }

    /// Returns the boolean, in the environment spelt in any of the usual ways.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match self {
            Self::Bare(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the items with their lines; in the environment a comma separates them.
    pub(crate) fn items(&self) -> Option<Vec<(Cow<'_, Self>, Option<usize>)>> {
        match self {
            Self::Bare(text) => Some(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| (Cow::Owned(Self::Bare(item.into())), None))
                    .collect(),
            ),
            Self::List(items) => Some(
                items
                    .iter()
                    .map(|item| (Cow::Borrowed(&item.value), Some(item.line)))
                    .collect(),
            ),
            _ => None,
        }
    }

    /// Tells whether this is the empty string, which stands for "not set".
    pub(crate) fn is_blank(&self) -> bool {
        self.text().is_some_and(|text| text.trim().is_empty())
    }

    /// Describes the value for a message; not for secrets.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Bare(text) | Self::Text(text) => quote(text),
            Self::Integer(number) => number.to_string(),
            Self::Decimal(number) => number.to_string(),
            Self::Boolean(value) => value.to_string(),
            Self::List(_) | Self::Table(_) | Self::Other(_) => self.kind().into(),
        }
    }

    /// Names the kind of value, without the value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Bare(_) | Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Decimal(_) => "a decimal number",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Quotes text for a message, shortened and with controls escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// Why a value does not fit its key.
pub(crate) struct Mismatch {
    /// What was found; `None` when it must not be shown.
    pub(crate) got: Option<String>,
    /// What is allowed.
    pub(crate) need: String,
    /// Line of the offending item, where that is not the key's own.
    pub(crate) line: Option<usize>,
}

impl Mismatch {
    /// Repeats the value in the message.
    pub(crate) fn showing(value: &Value, need: impl Into<String>) -> Self {
        Self {
            got: Some(value.describe()),
            need: need.into(),
            line: None,
        }
    }

    /// Says what was found in words that do not repeat the value.
    pub(crate) fn describing(got: impl Into<String>, need: impl Into<String>) -> Self {
        Self {
            got: Some(got.into()),
            need: need.into(),
            line: None,
        }
    }

    /// Points at the line of an item, unless something more precise is known.
    pub(crate) fn at(self, line: Option<usize>) -> Self {
        Self {
            line: self.line.or(line),
            ..self
        }
    }
}
