//! What the collector is sent beside the spans: keys of accounts, as headers.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;

use crate::config::{
    layers::inline_table,
    reader::Reader,
    secrets,
    value::{Mismatch, Value, quote},
};
use crate::secret::Secret;

const NEED: &str = "a table from header to secret, { \"x-api-key\" = { file = \"/path\" } }";

/// Reads `tracing.headers`, and `tracing.api_key` as a bearer token, which is how Dify sends it.
pub(super) fn read(reader: &mut Reader<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(key) = reader.secret("tracing.api_key") {
        let bearer = Secret::new(format!("Bearer {}", key.expose()));
        match sensitive(&bearer) {
            Some(value) => {
                headers.insert(header::AUTHORIZATION, value);
            }
            None => unfit(reader, "tracing.api_key"),
        }
    }
    for (name, secret) in table(reader).unwrap_or_default() {
        match (HeaderName::try_from(&name), sensitive(&secret)) {
            (Ok(name), Some(value)) => {
                headers.insert(name, value);
            }
            _ => unfit(reader, "tracing.headers"),
        }
    }
    headers
}

/// Reads the table, or the standard variable's `name=value,…` with percent-encoded values (W3C
/// Baggage, which the specification of OTLP's variables refers to).
fn table(reader: &mut Reader<'_>) -> Option<Vec<(String, Secret)>> {
    const KEY: &str = "tracing.headers";
    if !reader.is_set(KEY) {
        return None;
    }
    let value = match reader.found(KEY)?.value {
        Value::Bare(text) if !text.trim_start().starts_with('{') => {
            let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
            let pairs: Option<Vec<_>> = pairs.map(pair).collect();
            if pairs.is_none() {
                unfit(reader, KEY);
            }
            return pairs;
        }
        Value::Bare(text) => inline_table(&text),
        value => Some(value),
    };
    let Some(Value::Table(entries)) = value else {
        reader.mismatch(KEY, Mismatch::describing("something else", NEED));
        return None;
    };
    let mut pairs = Vec::with_capacity(entries.len());
    for (name, located) in &entries {
        match secrets::read(&located.value, reader.env()) {
            Ok(secret) => pairs.push((name.clone(), secret)),
            Err(mismatch) => {
                let got = mismatch.got.unwrap_or_default();
                let got = format!("for {}: {got}", quote(name));
                let mismatch = Mismatch::describing(got, mismatch.need);
                reader.mismatch(KEY, mismatch.at(Some(located.line)));
            }
        }
    }
    Some(pairs)
}

fn pair(text: &str) -> Option<(String, Secret)> {
    let (name, value) = text.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    Some((name.trim().to_owned(), Secret::new(value.into_owned())))
}

/// Returns a header value that libraries leave out of what they print.
fn sensitive(secret: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(secret.expose()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Says that a header cannot be sent, without saying which value.
fn unfit(reader: &mut Reader<'_>, key: &str) {
    let mismatch = Mismatch::describing(
        "what no header can carry",
        "names and values that may stand in a header, the latter in visible ASCII",
    );
    reader.mismatch(key, mismatch);
}
