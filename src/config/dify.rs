//! `[dify]`: what the gateway shares with Dify itself.

use std::collections::BTreeMap;

use url::Url;

use super::Problem;
use super::layers::inline_table;
use super::parse::{choice, http_url, is_word, text};
use super::reader::Reader;
use super::secrets;
use super::value::{Mismatch, Value, quote};
use crate::secret::Secret;

/// The one kid of the default key set, as Dify and its enterprise service name it.
pub const SHARED_KID: &str = "dify-shared-v1";

const EDITIONS: &[(&str, Edition)] = &[
    ("SELF_HOSTED", Edition::SelfHosted),
    ("CLOUD", Edition::Cloud),
];

/// Keys, URLs and edition of the Dify behind the gateway.
#[derive(Debug, Clone)]
pub struct DifyConfig {
    /// Dify's `SECRET_KEY`; not empty.
    pub secret_key: Secret,
    /// Keys of signed envelopes by kid; not empty.
    pub keys: BTreeMap<String, Secret>,
    /// The kid that signs; one of `keys`.
    pub active_kid: String,
    /// Where Dify's console runs; `None`: codes are typed where the gateway is.
    pub console_web_url: Option<Url>,
    /// Where the console's API runs; with the others it says how Dify names its cookies.
    pub console_api_url: Option<Url>,
    /// Domain of Dify's cookies; empty: the host's own.
    pub cookie_domain: String,
    /// Which Dify it is; a self-hosted one has to be set up before anybody can approve.
    pub edition: Edition,
}

/// Dify's editions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// `SELF_HOSTED`.
    SelfHosted,
    /// `CLOUD`.
    Cloud,
}

impl DifyConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let secret_key = secret_key(reader);
        let key_set = key_set(reader, secret_key.as_ref());
        let console_web_url = reader.optional("dify.console_web_url", http_url);
        let console_api_url = reader.optional("dify.console_api_url", http_url);
        let cookie_domain = reader.value("dify.cookie_domain", text);
        let edition = reader.value("dify.edition", choice(EDITIONS));
        let (keys, active_kid) = key_set?;
        Some(Self {
            secret_key: secret_key?,
            keys,
            active_kid,
            console_web_url,
            console_api_url,
            cookie_domain,
            edition,
        })
    }
}

fn secret_key(reader: &mut Reader<'_>) -> Option<Secret> {
    if !reader.is_set("dify.secret_key") {
        reader.missing(
            "dify.secret_key",
            "set dify.secret_key, or hand over Dify's SECRET_KEY",
        );
    }
    reader.secret("dify.secret_key")
}

/// Reads the key set and its active kid; without `dify.keys` it is the shared secret alone.
fn key_set(
    reader: &mut Reader<'_>,
    shared: Option<&Secret>,
) -> Option<(BTreeMap<String, Secret>, String)> {
    let keys = if reader.is_set("dify.keys") {
        keys(reader)?
    } else {
        // A missing secret is reported already; the kid can still be checked.
        let secret = shared
            .cloned()
            .unwrap_or_else(|| Secret::new(String::new()));
        BTreeMap::from([(SHARED_KID.to_owned(), secret)])
    };
    let active = reader.optional("dify.active_kid", text);
    let kids: Vec<String> = keys.keys().map(|kid| quote(kid)).collect();
    match active {
        Some(kid) if keys.contains_key(&kid) => Some((keys, kid)),
        None if keys.len() == 1 && !reader.is_set("dify.active_kid") => {
            let kid = keys.keys().next()?.clone();
            Some((keys, kid))
        }
        active => {
            reader.problem(Problem {
                key: "dify.active_kid".to_owned(),
                origin: reader.origin("dify.active_kid"),
                got: active.map(|kid| quote(&kid)),
                need: format!("a kid of dify.keys: {}", kids.join(", ")),
                remedy: Some("name the kid that signs".to_owned()),
            });
            None
        }
    }
}

fn keys(reader: &mut Reader<'_>) -> Option<BTreeMap<String, Secret>> {
    let need = "a table from kid to secret, { \"2026-a\" = { file = \"/path\" } }";
    let value = match reader.found("dify.keys")?.value {
        Value::Bare(text) => inline_table(&text),
        value => Some(value),
    };
    let Some(Value::Table(entries)) = value else {
        reader.mismatch("dify.keys", Mismatch::describing("something else", need));
        return None;
    };
    if entries.is_empty() {
        reader.mismatch("dify.keys", Mismatch::describing("an empty table", need));
        return None;
    }
    let mut keys = BTreeMap::new();
    for (kid, located) in &entries {
        let secret = secrets::read(&located.value, reader.env())
            .map_err(|mismatch| mismatch.at(Some(located.line)));
        match secret {
            Ok(secret) if is_word(kid) && !secret.is_empty() => {
                keys.insert(kid.clone(), secret);
            }
            Ok(_) => {
                let got = format!("the kid {} or its secret, blank", quote(kid));
                let mismatch = Mismatch::describing(got, "a kid and a secret that are not empty");
                reader.mismatch("dify.keys", mismatch.at(Some(located.line)));
            }
            Err(mismatch) => reader.mismatch("dify.keys", mismatch),
        }
    }
    (keys.len() == entries.len()).then_some(keys)
}
