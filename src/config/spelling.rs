//! How every key was spelt, so that a reload can tell which have changed.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use sha2::{Digest as _, Sha256};

use super::Environment;
use super::keys::{Form, InForce, KEYS, Key};
use super::layers::Layers;
use super::secrets;
use super::value::Value;
use crate::entropy::{Entropy as _, OsEntropy};

/// Comes before everything that is digested: nobody can try short secrets on a digest without what
/// this process alone knows. Its length is a block of SHA-256, and what follows it is not shown to
/// anybody, so that no more than a prefix is needed.
static KEY: LazyLock<[u8; 64]> = LazyLock::new(|| {
    let mut key = [0; 64];
    OsEntropy.fill(&mut key);
    key
});

/// A digest of each key's value, whichever layer it came from; of a secret that stands elsewhere, of
/// the secret. It is kept in memory and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Spelling(BTreeMap<&'static str, [u8; 32]>);

impl Spelling {
    pub(super) fn of(layers: &Layers, env: &Environment) -> Self {
        let spelt = KEYS.iter().filter_map(|key| {
            let mut digest = Sha256::new_with_prefix(*KEY);
            feed_key(&mut digest, key, &layers.get(key.path)?.value, env);
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

/// Writes a key's value; a file or a variable that a secret is in may say something else by now.
fn feed_key(digest: &mut Sha256, key: &Key, value: &Value, env: &Environment) {
    if key.form == Form::Secret
        && let Ok(secret) = secrets::read(value, env)
    {
        feed_text(digest, secret.expose());
    } else {
        feed(digest, value);
    }
}

/// Writes a value so that no two values are written alike: each with its kind and its length.
fn feed(digest: &mut Sha256, value: &Value) {
    let mut part = |kind: &str, bytes: &[u8]| feed_part(digest, kind, bytes);
    match value {
        // An environment variable may say what the file said.
        Value::Bare(text) | Value::Text(text) => feed_text(digest, text),
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

fn feed_text(digest: &mut Sha256, text: &str) {
    feed_part(digest, "text", text.as_bytes());
}

fn feed_part(digest: &mut Sha256, kind: &str, bytes: &[u8]) {
    digest.update(kind);
    digest.update(bytes.len().to_be_bytes());
    digest.update(bytes);
}
