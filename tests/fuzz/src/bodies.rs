//! Bodies and queries of the local endpoints.

use difygate::{
    fuzzing::{paging, query_value},
    http::body::{Accepts, Members, NotText},
};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use serde_json::{Map, Value};
use url::form_urlencoded;

/// Most levels that are accepted.
const MAX_DEPTH: usize = 8;

fn parse(kind: &'static str, body: &[u8]) -> Option<Members> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
    Members::parse(&headers, body, Accepts::JsonOrForm).ok()
}

/// A JSON body that is accepted is an object by another reading too, is not deep, and says the
/// same when it is written again.
pub fn json(body: &[u8]) {
    let value: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    let Some(members) = parse("application/json", body) else {
        // What is plain and shallow is never refused.
        let plain = value.filter(|value| value.values().all(Value::is_number));
        assert!(
            plain.is_none_or(|value| value.keys().any(|name| name.contains('\\'))
                || body.iter().filter(|byte| **byte == b':').count() != value.len())
        );
        return;
    };
    let value = value.expect("an object");
    assert!(value.values().map(depth).max().unwrap_or_default() < MAX_DEPTH);
    let again = serde_json::to_vec(&value).expect("what was read can be written");
    let again = parse("application/json", &again).expect("what was written is accepted");
    same_texts(&members, &again, &value);
}

/// A form that is accepted says the same when it is written again.
pub fn form(body: &[u8]) {
    let pairs: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
    let value: Map<String, Value> = pairs
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(&**value)))
        .collect();
    let Some(members) = parse("application/x-www-form-urlencoded", body) else {
        assert_ne!(value.len(), pairs.len(), "only what comes twice is refused");
        return;
    };
    assert_eq!(value.len(), pairs.len());
    let again = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&pairs)
        .finish();
    let again = parse("application/x-www-form-urlencoded", again.as_bytes());
    same_texts(
        &members,
        &again.expect("what was written is accepted"),
        &value,
    );
    for (name, text) in &pairs {
        assert_eq!(members.optional_text(name), Ok(Some(&**text)));
    }
}

fn same_texts(one: &Members, other: &Members, names: &Map<String, Value>) {
    for (name, value) in names {
        let text = match value {
            Value::String(text) => Ok(Some(&**text)),
            Value::Null => Ok(None),
            _ => Err(NotText),
        };
        assert_eq!(one.optional_text(name), text, "{name}");
        assert_eq!(other.optional_text(name), text, "{name}");
    }
    let mut faults = Vec::new();
    let text = one.text("client_id", 64, &mut faults);
    if faults.is_empty() {
        assert!((1..=64).contains(&text.chars().count()) && text.trim() == text);
        assert!(!text.contains(char::is_control));
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Pages are within their bounds, and a parameter is the first of its name.
pub fn query(bytes: &[u8]) {
    let Ok(query) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok((page, limit)) = paging(query) {
        assert!(page >= 1 && (1..=200).contains(&limit));
        assert_eq!(
            paging(&format!("page={page}&limit={limit}")).ok(),
            Some((page, limit))
        );
        assert!(paging(&format!("{query}&other=1")).is_err());
        // The first of each counts.
        let later = paging(&format!("page={page}&limit={limit}&{query}&page=7&limit=7"));
        assert_eq!(later.ok(), Some((page, limit)));
    }
    let first = query_value(query, "user_code");
    let later = query_value(&format!("{query}&user_code=later"), "user_code");
    assert_eq!(later, first.or_else(|| Some("later".to_owned())));
}
