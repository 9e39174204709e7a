//! The canonical path, and what the route table decides about it.

use std::sync::LazyLock;

use difygate::{
    config::{RoutePolicy, RouteRule, RouteUpstream},
    route::{CanonicalPath, Decision, RouteTable, Surface},
};
use http::Method;

use super::choice;

/// A target has one canonical form: it holds nothing that could be read twice, it is what a WSGI
/// server would decode, it does not depend on the query, and it is its own canonical form.
pub fn path(target: &[u8]) {
    let Ok(path) = CanonicalPath::parse(target) else {
        return;
    };
    assert_canonical(&path);
    let raw = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    assert_eq!(path.as_str().as_bytes(), as_wsgi_reads(raw));
    assert_eq!(
        CanonicalPath::parse(&encode(path.as_str())),
        Ok(path.clone())
    );
    assert_eq!(CanonicalPath::parse(raw), Ok(path.clone()));
    let with_query = [raw, b"?/../%2f;x=//"].concat();
    assert_eq!(CanonicalPath::parse(&with_query), Ok(path.clone()));
    if let Some(Ok(second)) = path.second_reading() {
        assert_canonical(&second);
    }
    if let Some(stripped) = path.without_parameters() {
        assert_canonical(&stripped);
        assert!(!stripped.as_str().contains(';'));
    }
}

/// A decision is that of the canonical form, however the target was spelled; what the contract
/// guards never passes, under no spelling; and HEAD is GET, unless a rule names HEAD alone.
pub fn route(bytes: &[u8]) {
    let (choice, target) = choice(bytes);
    let Ok(path) = CanonicalPath::parse(target) else {
        return;
    };
    let table = &TABLES[usize::from(choice) % TABLES.len()];
    let method = &METHODS[usize::from(choice >> 3) % METHODS.len()];
    let decision = table.decide(&path, method);
    let respelled = encode(path.as_str());
    let again = CanonicalPath::parse(&respelled).expect("what is canonical parses");
    assert_eq!(table.decide(&again, method), decision);

    let passes = matches!(decision, Ok(Decision::Pass { .. }));
    if matches!(decision, Ok(Decision::BearerOptions(_))) {
        assert_eq!(method, Method::OPTIONS);
    }
    let by = |method| table.decide(&path, method);
    let mut heads = false;
    let readings = [
        Some(path.as_str().to_owned()),
        path.second_reading()
            .and_then(Result::ok)
            .map(|read| read.as_str().to_owned()),
        path.without_parameters()
            .map(|read| read.as_str().to_owned()),
    ];
    for reading in readings.into_iter().flatten() {
        let guard = guard_of(&reading, method);
        assert!(!passes || guard == Guard::None, "{reading}");
        heads |= reading == HEADS;
    }
    if !heads {
        assert_eq!(by(&Method::HEAD), by(&Method::GET), "{}", path.as_str());
    } else if by(&Method::HEAD) == Ok(Decision::Deny) {
        assert_ne!(by(&Method::GET), Ok(Decision::Deny));
    }
    // What comes in must be the same under the guard and to a server that cuts parameters off.
    if path.as_str().contains(';') && guard_of(path.as_str(), method) != Guard::None {
        assert!(decision.is_err(), "{}", path.as_str());
    }
}

fn assert_canonical(path: &CanonicalPath<'_>) {
    let text = path.as_str();
    assert!(text.starts_with('/') && !text.contains("//"), "{text:?}");
    assert!(
        !text
            .bytes()
            .any(|byte| byte == b'\\' || byte < b' ' || byte == 0x7f),
        "{text:?}"
    );
    assert!(
        !text.split('/').any(|segment| matches!(segment, "." | "..")),
        "{text:?}"
    );
}

/// Decodes once and collapses slashes, as gunicorn and Werkzeug do between them.
fn as_wsgi_reads(raw: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let digits = raw
            .get(at + 1..at + 3)
            .and_then(|pair| str::from_utf8(pair).ok());
        let decoded = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let (byte, step) = match decoded {
            Some(decoded) if raw[at] == b'%' => (decoded, 3),
            _ => (raw[at], 1),
        };
        if byte != b'/' || read.last() != Some(&b'/') {
            read.push(byte);
        }
        at += step;
    }
    read
}

fn encode(path: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    for byte in path.bytes() {
        if byte == b'/' || byte.is_ascii_lowercase() {
            encoded.push(byte);
        } else {
            encoded.extend_from_slice(format!("%{byte:02x}").as_bytes());
        }
    }
    encoded
}

/// What the contract says of a path, told in another way than the table does.
#[derive(Debug, PartialEq, Eq)]
enum Guard {
    Denied,
    Bearer,
    None,
}

fn guard_of(path: &str, method: &Method) -> Guard {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let open = matches!(*method, Method::GET | Method::HEAD);
    match segments[..] {
        ["inner", "api", ..] => Guard::Denied,
        ["openapi", "v1", "_health" | "_version"] if open => Guard::None,
        ["openapi", "v1", "oauth", "device", _, ..] => Guard::Denied,
        ["openapi", "v1", _, ..] => Guard::Bearer,
        _ => Guard::None,
    }
}

static METHODS: [Method; 8] = [
    Method::GET,
    Method::POST,
    Method::OPTIONS,
    Method::DELETE,
    Method::HEAD,
    Method::PUT,
    Method::TRACE,
    Method::PATCH,
];

/// The path of the rule that names HEAD alone.
const HEADS: &str = "/files/head";

/// A table for each surface, with rules of the configuration and without.
static TABLES: LazyLock<Vec<RouteTable>> = LazyLock::new(|| {
    let rule = |pattern: &str, policy| RouteRule {
        pattern: pattern.to_owned(),
        methods: Vec::new(),
        policy,
        accept: Vec::new(),
        scope: None,
        upstream: RouteUpstream::Api,
        allow_unsafe: false,
        line: 1,
    };
    let by = |methods: &[Method], rule| RouteRule {
        methods: methods.to_vec(),
        ..rule
    };
    let rules = [
        by(&[Method::HEAD], rule(HEADS, RoutePolicy::Deny)),
        by(&[Method::GET], rule("/files/read/*", RoutePolicy::Deny)),
        by(
            &[Method::POST, Method::GET],
            rule("/console/*", RoutePolicy::Bearer),
        ),
        rule("/v1/*", RoutePolicy::Bearer),
        rule("/files/secret", RoutePolicy::Deny),
        rule("/openapi/v1/apps/*", RoutePolicy::Deny),
    ];
    let mut tables = Vec::new();
    for bits in 0..8 {
        let surface = Surface {
            legacy_paths: bits & 1 != 0,
            enterprise: bits & 2 != 0,
            device_page: bits & 4 != 0,
        };
        let rules = if bits & 1 == 0 { &rules[..] } else { &[] };
        tables.push(RouteTable::new(rules, surface).expect("rules that tighten are safe"));
    }
    tables
});
