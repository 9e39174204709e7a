//! Reads typed values out of the layers and collects what does not fit.

use super::layers::{Found, Layers};
use super::parse::Parsed;
use super::value::{Mismatch, Value};
use super::{Environment, Problem, keys, secrets};
use crate::secret::Secret;

/// A pass over the layers; problems accumulate instead of ending it.
pub(crate) struct Reader<'a> {
    layers: Layers,
    env: &'a Environment,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(layers: Layers, env: &'a Environment, problems: Vec<Problem>) -> Self {
        Self {
            layers,
            env,
            problems,
            warnings: Vec::new(),
        }
    }

    /// Returns the problems and the warnings.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<String>) {
        (self.problems, self.warnings)
    }

    /// Reads a key that has a default.
    ///
    /// A value that does not fit is recorded and stands in as its default, so that the pass
    /// goes on; the configuration is discarded in the end.
    ///
    /// # Panics
    ///
    /// Panics when the key has no default that parses, which every load would show.
    pub(crate) fn value<T>(&mut self, path: &str, parse: impl Fn(&Value) -> Parsed<T>) -> T {
        if let Some(value) = self.optional(path, &parse) {
            return value;
        }
        let default = keys::find(path).and_then(|key| key.default);
        let parsed = default.and_then(|text| parse(&Value::Bare(text.to_owned())).ok());
        #[expect(
            clippy::expect_used,
            reason = "a test reads every default of the table"
        )]
        parsed.expect("a default that parses")
    }

    /// Reads a key that may be unset; without a default the empty string means unset.
    pub(crate) fn optional<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<T> {
        let found = self.layers.get(path)?;
        let default = keys::find(path).and_then(|key| key.default);
        if default.is_none() && found.value.is_blank() {
            return None;
        }
        match parse(&found.value) {
            Ok(value) => Some(value),
            Err(mismatch) => {
                self.mismatch(path, mismatch);
                None
            }
        }
    }

    /// Reads a key that must be set; `remedy` says how.
    pub(crate) fn required<T>(
        &mut self,
        path: &str,
        remedy: &str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<T> {
        if self.is_set(path) {
            return self.optional(path, parse);
        }
        self.missing(path, remedy);
        None
    }

    /// Reads a secret; `None` when it is unset, blank or cannot be had.
    pub(crate) fn secret(&mut self, path: &str) -> Option<Secret> {
        let env = self.env;
        let secret = self.optional(path, |value| secrets::read(value, env))?;
        (!secret.is_empty()).then_some(secret)
    }

    /// Tells whether any layer but the defaults sets the key to more than an empty string.
    pub(crate) fn is_set(&self, path: &str) -> bool {
        self.layer(path) > 0
    }

    /// Returns the rank of the layer that sets the key; 0 when none does.
    pub(crate) fn layer(&self, path: &str) -> u8 {
        let found = self
            .layers
            .get(path)
            .filter(|found| !found.value.is_blank());
        found.map_or(0, |found| found.origin.rank())
    }

    /// Returns the raw value of a key and where it came from.
    pub(crate) fn found(&self, path: &str) -> Option<Found> {
        self.layers.get(path).cloned()
    }

    /// Spells where the key was set.
    pub(crate) fn origin(&self, path: &str) -> Option<String> {
        self.layers.get(path)?.origin.show(None)
    }

    /// Returns the environment that secrets may refer to.
    pub(crate) fn env(&self) -> &'a Environment {
        self.env
    }

    /// Records a value that does not fit its key.
    pub(crate) fn mismatch(&mut self, path: &str, mismatch: Mismatch) {
        let found = self.layers.get(path);
        let origin = found.and_then(|found| found.origin.show(mismatch.line));
        self.problem(Problem {
            key: path.to_owned(),
            origin,
            got: mismatch.got,
            need: mismatch.need,
            remedy: None,
        });
    }

    /// Records that a required key is not set.
    pub(crate) fn missing(&mut self, path: &str, remedy: &str) {
        let blank = self.layers.get(path).is_some();
        self.problem(Problem {
            key: path.to_owned(),
            origin: self.origin(path),
            got: blank.then(|| "an empty string".to_owned()),
            need: "a value".to_owned(),
            remedy: Some(remedy.to_owned()),
        });
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Records a value that was adjusted; names the key and its origin first.
    pub(crate) fn warn(&mut self, path: &str, text: &str) {
        let origin = self.origin(path).unwrap_or_default();
        self.warnings.push(format!("{path} ({origin}): {text}"));
    }
}
