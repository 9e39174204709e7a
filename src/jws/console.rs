//! Tokens of Dify's console: its cookies' own type of JWT, under the bare secret.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::header::PresentedHeader;
use crate::{clock::Timestamp, secret::Secret};

/// The key of console tokens: `dify.secret_key`.
pub struct ConsoleKey {
    key: DecodingKey,
    rules: Validation,
}

impl ConsoleKey {
    /// Takes Dify's `SECRET_KEY`.
    pub fn new(secret: &Secret) -> Self {
        super::install_provider();
        let mut rules = Validation::new(Algorithm::HS256);
        // The library would ask its own clock; `verify` asks the one it is given.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        rules.required_spec_claims.clear();
        // An audience is refused there, whatever it says.
        rules.validate_aud = false;
        Self {
            key: DecodingKey::from_secret(secret.expose().as_bytes()),
            rules,
        }
    }

    /// Returns the claims of a console token that holds at `now`, and nothing of any other.
    ///
    /// Console tokens are a type of their own (RFC 8725 section 3.11): they have no `kid` and no
    /// `aud`, which every signed envelope of `contract/jws.md` has under the same secret.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<Map<String, Value>> {
        if PresentedHeader::of(token).ok()?.kid.is_some() {
            return None;
        }
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.rules);
        let claims = decoded.ok()?.claims;
        if claims.contains_key("aud") {
            return None;
        }
        let now = now.unix_micros() as f64 / 1e6;
        let has_begun = |name: &str| match claims.get(name) {
            None => true,
            Some(at) => at.as_f64().is_some_and(|at| at <= now),
        };
        let holds = claims.get("exp")?.as_f64()? > now && has_begun("nbf") && has_begun("iat");
        holds.then_some(claims)
    }
}

impl std::fmt::Debug for ConsoleKey {
    /// Leaves the key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConsoleKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jsonwebtoken::{EncodingKey, Header};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SECRET: &str = "sk-test";
    const NOW: i64 = 1_780_000_000;

    fn key() -> ConsoleKey {
        ConsoleKey::new(&Secret::new(SECRET.to_owned()))
    }

    fn sign(header: &Header, claims: &Value, secret: &str) -> String {
        super::super::install_provider();
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(header, claims, &key).unwrap()
    }

    fn accepts(header: &Header, claims: &Value, secret: &str) -> bool {
        let token = sign(header, claims, secret);
        let now = Timestamp::from_unix_seconds(NOW);
        key().verify(&token, now).is_some()
    }

    #[test]
    fn a_console_token_holds_until_its_end_and_not_a_moment_longer() {
        let header = Header::default();
        for (claims, holds) in [
            (json!({"exp": NOW + 1}), true),
            (json!({"exp": NOW as f64 + 0.5}), true),
            (json!({"exp": NOW}), false),
            (json!({"exp": NOW - 1}), false),
            (json!({"exp": (NOW + 60).to_string()}), false),
            (json!({"exp": null}), false),
            (json!({"user_id": "x"}), false),
            (json!({"exp": NOW + 60, "iat": NOW, "nbf": NOW}), true),
            (json!({"exp": NOW + 60, "iat": NOW + 1}), false),
            (json!({"exp": NOW + 60, "nbf": NOW + 1}), false),
            (json!({"exp": NOW + 60, "nbf": "soon"}), false),
        ] {
            assert_eq!(accepts(&header, &claims, SECRET), holds, "{claims}");
        }
    }

    #[test]
    fn other_types_of_tokens_are_none() {
        let claims = json!({"exp": NOW + 60});
        let envelope = Header {
            kid: Some("k1".to_owned()),
            ..Header::default()
        };
        assert!(!accepts(&envelope, &claims, SECRET));
        let with_audience = json!({"exp": NOW + 60, "aud": "api.gateway.identity"});
        assert!(!accepts(&Header::default(), &with_audience, SECRET));
        assert!(!accepts(&Header::default(), &claims, "sk-other"));
        assert!(!accepts(&Header::default(), &json!([1]), SECRET));
    }

    #[test]
    fn no_algorithm_is_no_signature() {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = part(json!({"exp": NOW + 60}));
        let now = Timestamp::from_unix_seconds(NOW);
        for algorithm in ["none", "None", "HS384", "RS256"] {
            let header = part(json!({"typ": "JWT", "alg": algorithm}));
            for token in [
                format!("{header}.{claims}."),
                format!("{header}.{claims}.AAAA"),
            ] {
                assert!(key().verify(&token, now).is_none(), "{algorithm}");
            }
        }
        assert_eq!(format!("{:?}", key()), "ConsoleKey(…)");
    }

    #[test]
    fn a_header_is_an_object_and_names_its_algorithm_by_a_text() {
        let claims = json!({"exp": NOW + 60}).to_string();
        let accepts = |header: Value| {
            let part = |text: String| URL_SAFE_NO_PAD.encode(text);
            let signed = format!("{}.{}", part(header.to_string()), part(claims.clone()));
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            super::super::install_provider();
            let signature =
                jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
            let now = Timestamp::from_unix_seconds(NOW);
            self::key()
                .verify(&format!("{signed}.{signature}"), now)
                .is_some()
        };
        assert!(accepts(json!({"alg": "HS256"})));
        assert!(accepts(json!({"alg": "HS256", "kid": null, "crit": null})));
        assert!(!accepts(json!({"alg": {"HS256": null}})));
        assert!(!accepts(json!({"alg": "HS256", "crit": ["b64"]})));
        for length in 2..20 {
            let mut header = vec![json!("JWT"), json!("HS256")];
            header.resize(length, Value::Null);
            assert!(!accepts(Value::Array(header)), "{length} members");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~]{0,60}") {
            prop_assert!(key().verify(&text, Timestamp::from_unix_seconds(NOW)).is_none());
        }
    }
}
