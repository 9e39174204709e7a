//! An OpenAPI document, as far as ours goes: every keyword that is not understood is an error, so
//! that nothing in it is left unchecked.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Gateway, RequestBuilder, Response};

/// What an answer must not carry unless it is described with it.
const TELLING: [&str; 8] = [
    "Allow",
    "ETag",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Set-Cookie",
    "WWW-Authenticate",
];

/// The document, and what of it has been seen.
#[derive(Debug)]
pub(super) struct Document {
    text: Value,
    /// Path and status, alone and with each header and kind of content.
    answered: BTreeSet<String>,
}

impl Document {
    pub(super) fn read() -> Self {
        let text = include_str!("../../../docs/openapi.json");
        Self {
            text: serde_json::from_str(text).unwrap(),
            answered: BTreeSet::new(),
        }
    }

    /// Sends a request, and holds the answer against what the document says about it.
    pub(super) async fn expect(
        &mut self,
        gateway: &Gateway,
        path: &str,
        ask: &RequestBuilder,
        status: u16,
    ) {
        let response = ask.send(gateway.addr()).await;
        assert_eq!(response.status, status, "{ask:?} got {response:?}");
        assert!(response.header("x-request-id").is_some(), "{response:?}");
        self.check(path, &response);
    }

    /// The same on the admin listener.
    pub(super) async fn expect_of_admin(
        &mut self,
        gateway: &Gateway,
        path: &str,
        ask: &RequestBuilder,
        status: u16,
    ) {
        let response = ask.send(gateway.admin_addr()).await;
        assert_eq!(response.status, status, "{ask:?} got {response:?}");
        self.check(path, &response);
    }

    fn check(&mut self, path: &str, response: &Response) {
        let status = response.status.to_string();
        // Every path has one method; the rest is 405, which is described with it.
        let operation = self.operation(path);
        let described = &operation["responses"][&status];
        assert!(
            described.is_object(),
            "{path} does not describe {response:?}"
        );
        let row = format!("{path} {status}");
        let mut seen = vec![row.clone()];
        let headers = described["headers"].as_object();
        for (name, header) in headers.into_iter().flatten() {
            // An answer without a header that is always there is not the one described.
            let always = self.resolve(header)["required"] != Value::Bool(false);
            let given = response.header(name).is_some();
            assert!(given || !always, "{path}: no {name} in {response:?}");
            if given {
                seen.push(format!("{row} {name}"));
            }
        }
        for name in TELLING {
            let known = headers.is_some_and(|headers| headers.contains_key(name));
            let given = response.header(name).is_some();
            assert!(known || !given, "{row} does not describe {name}");
        }
        if let Some(content) = described["content"].as_object() {
            let said = response.header("content-type").unwrap();
            let media = content.iter().find(|(kind, _)| said.starts_with(*kind));
            let (kind, media) = media.unwrap_or_else(|| panic!("{row} does not describe {said}"));
            if kind == "application/json"
                && let Err(problem) = self.fits(&media["schema"], &response.json())
            {
                panic!("{path}: {problem} in {}", response.text());
            }
            seen.push(format!("{row} {kind}"));
        } else {
            assert_eq!(response.text(), "", "{row} has no body");
        }
        self.answered.extend(seen);
    }

    /// What the document describes and nobody has answered.
    pub(super) fn never_answered(&self) -> Vec<String> {
        let mut described = Vec::new();
        for path in self.paths() {
            let responses = self.operation(path)["responses"].as_object().unwrap();
            for (status, response) in responses {
                described.push(format!("{path} {status}"));
                for part in ["headers", "content"] {
                    let names = response[part].as_object().into_iter().flatten();
                    described.extend(names.map(|(name, _)| format!("{path} {status} {name}")));
                }
            }
        }
        described.retain(|row| !self.answered.contains(row));
        described
    }

    /// Every path that is described.
    fn paths(&self) -> impl Iterator<Item = &String> {
        self.text["paths"].as_object().unwrap().keys()
    }

    /// Every path of the gateway's own listener with its method, in capitals.
    pub(super) fn served(&self) -> Vec<(String, String)> {
        let items = self.text["paths"].as_object().unwrap();
        let served = items.iter().filter(|(_, item)| item["servers"].is_null());
        served
            .map(|(path, item)| {
                let method = item.as_object().unwrap().keys().next().unwrap();
                (path.clone(), method.to_uppercase())
            })
            .collect()
    }

    /// Every alias with the path that it stands for.
    pub(super) fn aliases(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for path in self.paths() {
            let aliases = self.operation(path)["x-aliases"].as_array();
            for alias in aliases.into_iter().flatten() {
                found.push((path.clone(), alias.as_str().unwrap().to_owned()));
            }
        }
        found
    }

    fn operation(&self, path: &str) -> &Value {
        let item = self.text["paths"][path].as_object();
        let item = item.unwrap_or_else(|| panic!("{path} is not described"));
        let operations: Vec<&Value> = item
            .iter()
            .filter(|(name, _)| *name != "servers")
            .map(|(_, operation)| operation)
            .collect();
        assert_eq!(operations.len(), 1, "{path} has one method");
        operations[0]
    }

    /// What a reference is for, or the value itself.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else {
            return value;
        };
        let named = self.text.pointer(reference.trim_start_matches('#'));
        named.expect("what is referred to is there")
    }

    /// Holds a value against a schema.
    fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        for (keyword, wanted) in schema.as_object().unwrap() {
            let fits = match keyword.as_str() {
                "$ref" => {
                    assert!(wanted.is_string());
                    self.fits(self.resolve(schema), value)?;
                    true
                }
                "anyOf" => {
                    let schemas = wanted.as_array().unwrap();
                    schemas
                        .iter()
                        .any(|schema| self.fits(schema, value).is_ok())
                }
                "type" => match wanted {
                    Value::Array(kinds) => kinds.iter().any(|kind| is_of(kind, value)),
                    kind => is_of(kind, value),
                },
                "const" => wanted == value,
                "enum" => wanted.as_array().unwrap().contains(value),
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.fits(wanted, item)?;
                    }
                    true
                }
                "properties" => {
                    for (name, schema) in wanted.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            self.fits(schema, member)?;
                        }
                    }
                    true
                }
                "required" => {
                    let names = wanted.as_array().unwrap().iter();
                    names
                        .map(|name| name.as_str().unwrap())
                        .all(|name| value.get(name).is_some())
                }
                "additionalProperties" => {
                    assert_eq!(wanted, &Value::Bool(false));
                    let known = schema["properties"].as_object().unwrap();
                    value
                        .as_object()
                        .is_none_or(|members| members.keys().all(|name| known.contains_key(name)))
                }
                "description" => true,
                unknown => panic!("{unknown} is not understood"),
            };
            if !fits {
                return Err(format!("{value} is not {keyword} {wanted}"));
            }
        }
        Ok(())
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("the type {unknown} is not understood"),
    }
}
