//! Where every key was set, for problems that are found after the layers have been read.

use std::collections::BTreeMap;

use super::Problem;
use super::keys::KEYS;
use super::layers::Layers;

/// `config.toml:12`, or the name of a variable, for every key that somebody has set.
#[derive(Debug, Clone)]
pub struct Origins(BTreeMap<&'static str, String>);

impl Origins {
    pub(super) fn of(layers: &Layers) -> Self {
        let origin = |path| layers.get(path)?.origin.show(None);
        let set = KEYS.iter().map(|key| key.path);
        Self(set.filter_map(|path| Some((path, origin(path)?))).collect())
    }

    /// Adds to each problem where its key was set, unless it says so itself.
    pub fn place(&self, problems: &mut [Problem]) {
        for problem in problems {
            let origin = || self.0.get(problem.key.as_str()).cloned();
            problem.origin = problem.origin.take().or_else(origin);
        }
    }
}
