//! `[[routes]]`: own rules that come before the built-in bearer, pass and deny rows.

mod block;
#[cfg(test)]
mod tests;

use http::Method;

use self::block::Block;
use super::layers::Origin;
use super::reader::Reader;
use super::upstream::Endpoint;
use super::value::{Located, Mismatch, Value};
use crate::token::{Scope, TokenKind};

/// The keys of one block.
pub(crate) const ROUTE_KEYS: &[&str] = &[
    "routes.match",
    "routes.methods",
    "routes.policy",
    "routes.accept",
    "routes.scope",
    "routes.upstream",
    "routes.unsafe",
];

/// One rule.
///
/// Whether it opens a built-in row is not decided here: that takes the built-in table.
#[derive(Debug, Clone)]
pub struct RouteRule {
    /// `/exact/path`, or `/prefix/*` for that path and everything below it (`match`).
    pub pattern: String,
    /// Methods it is for; empty: any. GET brings HEAD along; HEAD stands for itself alone.
    pub methods: Vec<Method>,
    /// What happens to a request.
    pub policy: RoutePolicy,
    /// Kinds of token accepted; empty: all. Only with [`RoutePolicy::Bearer`].
    pub accept: Vec<TokenKind>,
    /// Scope required; `None`: any. Only with [`RoutePolicy::Bearer`].
    pub scope: Option<Scope>,
    /// Where a request goes.
    pub upstream: RouteUpstream,
    /// Whether the rule may open what is closed by default (`unsafe`).
    pub allow_unsafe: bool,
    /// Line of the block in the file, from 1, for messages.
    pub line: usize,
}

/// What happens to a request that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutePolicy {
    /// Its token is checked, then it goes on.
    Bearer,
    /// It goes on unchecked.
    Pass,
    /// It is answered 404.
    Deny,
}

/// Where a rule sends its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteUpstream {
    /// `upstream.url`.
    Api,
    /// `upstream.web_url`.
    Web,
    /// A server of its own.
    Url(Endpoint),
}

/// Reads all blocks; a broken one is reported, the others are read still.
pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<RouteRule> {
    let Some(found) = reader.found("routes") else {
        return Vec::new();
    };
    let need = "blocks that begin with [[routes]]";
    let (Value::List(blocks), Origin::File { name, .. }) = (&found.value, &found.origin) else {
        reader.mismatch("routes", Mismatch::describing(found.value.kind(), need));
        return Vec::new();
    };
    let mut rules = Vec::new();
    for Located { value, line } in blocks {
        if let Value::Table(entries) = value {
            let block = Block {
                reader,
                file: name,
                line: *line,
                entries,
            };
            rules.extend(block.rule());
        } else {
            let mismatch = Mismatch::describing(value.kind(), need);
            reader.mismatch("routes", mismatch.at(Some(*line)));
        }
    }
    rules
}
