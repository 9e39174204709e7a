//! How every key was spelt, so that a reload can tell which have changed.

use std::{collections::BTreeMap, fmt};

use sha2::{Digest as _, Sha256};

use super::keys::{InForce, KEYS};
use super::layers::Layers;
use super::value::Value;

/// A digest of each key's value, whichever layer it came from. Secrets are among them: it is kept
/// in memory and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Spelling(BTreeMap<&'static str, [u8; 32]>);

impl Spelling {
    pub(super) fn of(layers: &Layers) -> Self {
        let spelt = KEYS.iter().filter_map(|key| {
            let mut digest = Sha256::new();
            feed(&mut digest, &layers.get(key.path)?.value);
            Some((key.path, digest.finalize().into()))
        });
        Self(spelt.collect())
    }

    /// Lists the keys that are spelt otherwise in `next` and are not followed before a restart, in
    /// table order.
    pub fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        KEYS.iter()
            .filter(|key| key.in_force == InForce::Now)
            .map(|key| key.path)
            .filter(|path| self.0.get(path) != next.0.get(path))
            .collect()
    }
}

impl fmt::Debug for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spelling(…)")
    }
}

/// Writes a value so that no two values are written alike: each with its kind and its length.
fn feed(digest: &mut Sha256, value: &Value) {
    let mut part = |kind: &str, bytes: &[u8]| {
        digest.update(kind);
        digest.update(bytes.len().to_be_bytes());
        digest.update(bytes);
    };
    match value {
        // An environment variable may say what the file said.
        Value::Bare(text) | Value::Text(text) => part("text", text.as_bytes()),
        Value::Integer(number) => part("integer", &number.to_be_bytes()),
        Value::Decimal(number) => part("decimal", &number.to_be_bytes()),
        Value::Boolean(value) => part("boolean", &[u8::from(*value)]),
        Value::Other(kind) => part("other", kind.as_bytes()),
        Value::List(items) => {
            part("list", &items.len().to_be_bytes());
            for item in items {
                feed(digest, &item.value);
            }
        }
        Value::Table(entries) => {
            part("table", &entries.len().to_be_bytes());
            for (name, located) in entries {
                digest.update(name.len().to_be_bytes());
                digest.update(name);
                feed(digest, &located.value);
            }
        }
    }
}
