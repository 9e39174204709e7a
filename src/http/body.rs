//! Bodies of local endpoints: JSON, or a form where OAuth says so. Small, and read once.

use http::{HeaderMap, header};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Most bytes of a local endpoint's body; a login needs a few hundred.
pub const MAX_BODY: usize = 16 * 1024;

/// Most levels that a JSON body may be nested. Ours have one; serde_json's own limit is 128.
const MAX_DEPTH: usize = 8;

/// The type of a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// The members of a body, whatever its form.
#[derive(Clone, Default)]
pub struct Members(Map<String, Value>);

impl std::fmt::Debug for Members {
    /// Leaves the values out: codes are among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A member that is not what it should be; Dify's `details`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The member, or empty for the body as a whole.
    pub loc: &'static str,
    /// A word for programs.
    pub kind: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Fault {
    /// Builds a fault.
    pub fn new(loc: &'static str, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            loc,
            kind,
            message: message.into(),
        }
    }

    /// The fault of a member that should be a text.
    pub fn not_text(name: &'static str) -> Self {
        Self::new(name, "string_type", format!("{name} must be a string"))
    }
}

/// A member that is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText;

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// JSON alone.
    Json,
    /// JSON, or a form as stock OAuth clients send it (RFC 6749 section 3.2).
    JsonOrForm,
}

impl Members {
    /// Parses a body by its content type. Another type is as good as no body.
    ///
    /// # Errors
    ///
    /// The one fault that keeps the body from being read at all.
    pub fn parse(headers: &HeaderMap, body: &[u8], accepts: Accepts) -> Result<Self, Fault> {
        let kind = media_type(headers);
        let json = kind == "application/json"
            || kind.starts_with("application/") && kind.ends_with("+json");
        if json {
            Self::from_json(body)
        } else if kind == FORM && accepts == Accepts::JsonOrForm {
            Self::from_form(body)
        } else {
            let expected = match accepts {
                Accepts::Json => "a JSON body is required (application/json)",
                Accepts::JsonOrForm => {
                    "a body is required (application/json or application/x-www-form-urlencoded)"
                }
            };
            Err(Fault::new("", "missing", expected))
        }
    }

    fn from_json(body: &[u8]) -> Result<Self, Fault> {
        if depth(body) > MAX_DEPTH {
            return Err(Fault::new(
                "",
                "json_invalid",
                "the body is nested too deeply",
            ));
        }
        match serde_json::from_slice(body) {
            Ok(Document::Object { twice: true, .. }) => {
                Err(Fault::new("", "duplicate", "a member comes more than once"))
            }
            Ok(Document::Object { members, .. }) => Ok(Self(members)),
            Ok(Document::Other) => Err(Fault::new(
                "",
                "type_error",
                "the body must be a JSON object",
            )),
            Err(_) => Err(Fault::new("", "json_invalid", "the body is not valid JSON")),
        }
    }

    /// A parameter that comes twice is an error (RFC 6749 section 3.2).
    fn from_form(body: &[u8]) -> Result<Self, Fault> {
        let mut members = Map::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            let value = Value::String(value.into_owned());
            if members.insert(name.into_owned(), value).is_some() {
                return Err(Fault::new(
                    "",
                    "duplicate",
                    "a parameter comes more than once",
                ));
            }
        }
        Ok(Self(members))
    }

    /// Returns a text that has to be there, with 1 to `max` characters after trimming and no
    /// control characters; what is wrong goes to `faults`.
    pub fn text(&self, name: &'static str, max: usize, faults: &mut Vec<Fault>) -> String {
        let text = match self.0.get(name) {
            Some(Value::String(text)) => text.trim(),
            None | Some(Value::Null) => {
                faults.push(Fault::new(name, "missing", format!("{name} is required")));
                return String::new();
            }
            Some(_) => {
                faults.push(Fault::not_text(name));
                return String::new();
            }
        };
        if text.is_empty() || text.chars().count() > max {
            let message = format!("{name} must have 1 to {max} characters");
            faults.push(Fault::new(name, "string_length", message));
        } else if text.chars().any(char::is_control) {
            let message = format!("{name} must not contain control characters");
            faults.push(Fault::new(name, "string_pattern", message));
        }
        text.to_owned()
    }

    /// Returns a text that need not be there.
    ///
    /// # Errors
    ///
    /// [`NotText`] for what is there and is something else.
    pub fn optional_text(&self, name: &str) -> Result<Option<&str>, NotText> {
        match self.0.get(name) {
            Some(Value::String(text)) => Ok(Some(text)),
            None | Some(Value::Null) => Ok(None),
            Some(_) => Err(NotText),
        }
    }

    /// Tells whether there is such a member, whatever it is.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Tells whether a body is a form.
pub fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers) == FORM
}

/// Returns the type in `Content-Type` without its parameters, in lower case (RFC 9110 section
/// 8.3.1); empty where there is none.
fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .map(|kind| kind.split(';').next().unwrap_or_default().trim())
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// Counts how deep brackets go, before anything is built for them. Those in strings are none: a
/// closing one there would make up for an opening one outside.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A JSON body. Of two members with one name it would be a guess which one is meant, and others
/// guess otherwise (RFC 8259 section 4).
enum Document {
    Object {
        members: Map<String, Value>,
        twice: bool,
    },
    Other,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Document;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a JSON value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let (mut members, mut twice) = (Map::new(), false);
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    twice |= members.insert(name, value).is_some();
                }
                Ok(Document::Object { members, twice })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Document, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Document::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Document, E> {
                Ok(Document::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Document, E> {
                Ok(Document::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Document, E> {
                Ok(Document::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Document, E> {
                Ok(Document::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Document, E> {
                Ok(Document::Other)
            }

            fn visit_unit<E>(self) -> Result<Document, E> {
                Ok(Document::Other)
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(kind: &str, body: &str, accepts: Accepts) -> Result<Members, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        Members::parse(&headers, body.as_bytes(), accepts).map_err(|fault| fault.kind)
    }

    #[test]
    fn a_form_is_one_by_its_type_alone() {
        for (kind, form) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-Urlencoded; charset=utf-8", true),
            (
                "application/json; x=application/x-www-form-urlencoded",
                false,
            ),
            ("application/x-www-form-urlencoded+json", false),
            ("", false),
        ] {
            let kind = (header::CONTENT_TYPE, kind.parse().unwrap());
            assert_eq!(is_form(&HeaderMap::from_iter([kind])), form);
        }
        assert!(!is_form(&HeaderMap::new()));
    }

    #[test]
    fn json_and_forms_say_the_same() {
        for (kind, body) in [
            ("application/json", r#"{"client_id": " difyctl "}"#),
            (
                "Application/JSON; charset=utf-8",
                r#"{"client_id": "difyctl"}"#,
            ),
            ("application/vnd.api+json", r#"{"client_id": "difyctl"}"#),
            (
                "application/x-www-form-urlencoded",
                "client_id=difyctl&x=%20",
            ),
        ] {
            let members = parse(kind, body, Accepts::JsonOrForm).unwrap();
            let mut faults = Vec::new();
            assert_eq!(members.text("client_id", 64, &mut faults), "difyctl");
            assert_eq!(faults, []);
        }
    }

    #[test]
    fn a_member_that_comes_twice_is_refused_in_either_form() {
        let twice = r#"{"user_code": "A", "user_code": "B"}"#;
        let json = parse("application/json", twice, Accepts::Json);
        assert_eq!(json.err(), Some("duplicate"));
        let form = "application/x-www-form-urlencoded";
        let form = parse(form, "a=1&a=2", Accepts::JsonOrForm);
        assert_eq!(form.err(), Some("duplicate"));
    }

    #[test]
    fn other_types_are_as_good_as_no_body() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(parse(form, "a=b", Accepts::Json).err(), Some("missing"));
        assert_eq!(
            parse("text/plain", "{}", Accepts::JsonOrForm).err(),
            Some("missing")
        );
        let nothing = Members::parse(&HeaderMap::new(), b"{}", Accepts::Json);
        assert_eq!(nothing.err().map(|fault| fault.kind), Some("missing"));
    }

    #[test]
    fn what_is_no_object_is_refused_once_and_clearly() {
        let json = "application/json";
        let deep = format!("{}{}", "[".repeat(9), "]".repeat(9));
        for (body, kind) in [
            ("", "json_invalid"),
            ("{", "json_invalid"),
            ("[]", "type_error"),
            ("null", "type_error"),
            (deep.as_str(), "json_invalid"),
        ] {
            assert_eq!(parse(json, body, Accepts::Json).err(), Some(kind), "{body}");
        }
        let twice = parse(
            "application/x-www-form-urlencoded",
            "a=1&a=2",
            Accepts::JsonOrForm,
        );
        assert_eq!(twice.err(), Some("duplicate"));
    }

    #[test]
    fn brackets_in_texts_count_neither_way() {
        let json = "application/json";
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for (name, levels, kind) in [
            ("a", 7, None),
            ("[[{{\\\"[[", 7, None),
            ("a", 8, Some("json_invalid")),
            ("}}}]]]", 8, Some("json_invalid")),
            ("\\\"}\\\\", 8, Some("json_invalid")),
        ] {
            let body = format!("{{\"{name}\": {}}}", nested(levels));
            assert_eq!(parse(json, &body, Accepts::Json).err(), kind, "{body}");
        }
    }

    /// serde_json can be built to take some names for its own; a dependency that asks for that gets
    /// it for everybody.
    #[test]
    fn no_name_makes_a_text_a_document() {
        for name in ["RawValue", "Number"] {
            let body = format!(r#"{{"a": {{"$serde_json::private::{name}": "1"}}, "b": "1"}}"#);
            let members = parse("application/json", &body, Accepts::Json).unwrap();
            let inner = members.0.get("a").and_then(Value::as_object);
            assert_eq!(inner.map(Map::len), Some(1), "{name}");
            assert_eq!(members.optional_text("a"), Err(NotText), "{name}");
            assert_eq!(members.optional_text("b"), Ok(Some("1")));
        }
        let text = r#"{"a": {"$serde_json::private::RawValue": "\"ABCD-3456\""}}"#;
        let members = parse("application/json", text, Accepts::Json).unwrap();
        assert_eq!(members.optional_text("a"), Err(NotText));
    }

    #[test]
    fn every_member_at_fault_is_named() {
        let body = r#"{"a": 1, "b": "", "c": "x\u0000y", "d": null}"#;
        let members = parse("application/json", body, Accepts::Json).unwrap();
        let mut faults = Vec::new();
        for name in ["a", "b", "c", "d", "e"] {
            members.text(name, 5, &mut faults);
        }
        let named: Vec<_> = faults.iter().map(|fault| (fault.loc, fault.kind)).collect();
        assert_eq!(
            named,
            [
                ("a", "string_type"),
                ("b", "string_length"),
                ("c", "string_pattern"),
                ("d", "missing"),
                ("e", "missing")
            ]
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200), form in any::<bool>()) {
            let kind = if form { "application/x-www-form-urlencoded" } else { "application/json" };
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            let _ = Members::parse(&headers, &body, Accepts::JsonOrForm);
        }
    }
}
