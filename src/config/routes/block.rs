//! One `[[routes]]` block, read key by key.

use http::Method;

use super::{ROUTE_KEYS, RoutePolicy, RouteRule, RouteUpstream};
use crate::config::Problem;
use crate::config::parse::{Parsed, boolean, choice, list};
use crate::config::reader::Reader;
use crate::config::upstream::endpoint;
use crate::config::value::{Located, Mismatch, Value, quote};
use crate::token::{Scope, TokenKind};

const POLICIES: &[(&str, RoutePolicy)] = &[
    ("bearer", RoutePolicy::Bearer),
    ("pass", RoutePolicy::Pass),
    ("deny", RoutePolicy::Deny),
];

/// One block being read.
pub(super) struct Block<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    pub(super) file: &'r str,
    /// Line of its `[[routes]]`.
    pub(super) line: usize,
    pub(super) entries: &'r [(String, Located)],
}

impl Block<'_, '_> {
    /// Reads the block, reporting all that is wrong with it.
    pub(super) fn rule(mut self) -> Option<RouteRule> {
        self.refuse_unknown();
        let policy = self.required("policy", choice(POLICIES));
        let refused: &[&str] = match policy {
            Some(RoutePolicy::Bearer) | None => &[],
            Some(RoutePolicy::Pass) => &["accept", "scope"],
            Some(RoutePolicy::Deny) => &["accept", "scope", "upstream"],
        };
        for key in refused {
            self.refuse(key);
        }
        let pattern = self.required("match", pattern);
        let methods = self.optional("methods", list(method)).unwrap_or_default();
        let accept = self
            .optional("accept", list(token_kind))
            .unwrap_or_default();
        let scope = self.optional("scope", scope);
        let upstream = self.optional("upstream", upstream);
        let allow_unsafe = self.optional("unsafe", boolean).unwrap_or_default();
        Some(RouteRule {
            pattern: pattern?,
            methods,
            policy: policy?,
            accept,
            scope,
            upstream: upstream.unwrap_or(RouteUpstream::Api),
            allow_unsafe,
            line: self.line,
        })
    }

    fn optional<T>(&mut self, key: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        let (_, located) = self.entries.iter().find(|(name, _)| name == key)?;
        match parse(&located.value) {
            Ok(value) => Some(value),
            Err(mismatch) => {
                let line = mismatch.line.unwrap_or(located.line);
                self.problem(key, line, mismatch.got, mismatch.need);
                None
            }
        }
    }

    fn required<T>(&mut self, key: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        if self.entries.iter().any(|(name, _)| name == key) {
            return self.optional(key, parse);
        }
        let got = Some("a block without it".to_owned());
        self.problem(
            key,
            self.line,
            got,
            format!("{key} in every [[routes]] block"),
        );
        None
    }

    /// Refuses a key that its policy would ignore.
    fn refuse(&mut self, key: &str) {
        let entry = self.entries.iter().find(|(name, _)| name == key);
        if let Some((_, located)) = entry {
            let need = if key == "upstream" {
                "policy \"bearer\" or \"pass\" beside it"
            } else {
                "policy \"bearer\" beside it"
            };
            self.problem(key, located.line, None, need.to_owned());
        }
    }

    fn refuse_unknown(&mut self) {
        let names = ROUTE_KEYS
            .iter()
            .filter_map(|path| path.strip_prefix("routes."));
        let names: Vec<&str> = names.collect();
        for (name, located) in self.entries {
            if !names.contains(&name.as_str()) {
                let got = Some("an unknown key".to_owned());
                let need = format!("a known key: {}", names.join(", "));
                self.problem(&name.escape_debug().to_string(), located.line, got, need);
            }
        }
    }

    fn problem(&mut self, key: &str, line: usize, got: Option<String>, need: String) {
        self.reader.problem(Problem {
            key: format!("routes.{key}"),
            origin: Some(format!("{}:{line}", self.file)),
            got,
            need,
            remedy: None,
        });
    }
}

/// Takes only what matching on the canonical path can ever meet.
pub(super) fn pattern(value: &Value) -> Parsed<String> {
    let need = "\"/exact/path\" or \"/prefix/*\", without % ? # ; \\ // or dot segments";
    let fits = |text: &&str| {
        let path = text.strip_suffix("/*").unwrap_or(text);
        text.starts_with('/')
            && !path.contains(['%', '?', '#', ';', '\\', '*'])
            && !path.contains(char::is_control)
            && !text.contains("//")
            && !path
                .split('/')
                .any(|segment| segment == "." || segment == "..")
    };
    let text = value.text().filter(fits).map(ToOwned::to_owned);
    text.ok_or_else(|| Mismatch::showing(value, need))
}

/// Methods are case-sensitive: `get` would be an extension that nobody sends.
fn method(value: &Value) -> Parsed<Method> {
    let upper = |text: &&str| {
        text.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-')
    };
    let text = value.text().filter(upper);
    let method = text.and_then(|text| Method::from_bytes(text.as_bytes()).ok());
    method.ok_or_else(|| Mismatch::showing(value, "a method in capitals, such as \"GET\""))
}

fn token_kind(value: &Value) -> Parsed<TokenKind> {
    let kind = value.text().and_then(TokenKind::from_prefix);
    kind.ok_or_else(|| Mismatch::showing(value, "\"dfoa_\" or \"dfoe_\""))
}

fn scope(value: &Value) -> Parsed<Scope> {
    let scope = value.text().and_then(Scope::parse);
    let need = ["full", "apps:run", "apps:read:permitted-external"].map(quote);
    scope.ok_or_else(|| Mismatch::showing(value, format!("one of {}", need.join(", "))))
}

fn upstream(value: &Value) -> Parsed<RouteUpstream> {
    match value.text() {
        Some("api") => Ok(RouteUpstream::Api),
        Some("web") => Ok(RouteUpstream::Web),
        _ => endpoint(value)
            .map(RouteUpstream::Url)
            .map_err(|mismatch| Mismatch {
                need: format!("\"api\", \"web\" or {}", mismatch.need),
                ..mismatch
            }),
    }
}
