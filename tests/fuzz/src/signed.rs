//! Compact JWS: the envelopes and the console's cookies.

use std::{collections::BTreeMap, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use difygate::{
    clock::Timestamp,
    jws::{ApprovalGrant, ConsoleKey, Jws, KeySet, Readable, SsoState, SubjectAssertion},
    secret::Secret,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::choice;

/// Keys and time of `tests/it/fixtures/jws_vectors.json`.
const ACTIVE: (&str, &str) = (
    "dify-shared-v1",
    "sk-9f73s3ljTXVcMT3Blb3ljTqtsKiGHXVcMT3BlbkFJLK7U",
);
const OLD: (&str, &str) = ("dify-shared-v0", "sk-old-0123456789abcdef0123456789abcdef");
const NOW: i64 = 1_780_000_000;

static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let keys = [ACTIVE, OLD].map(|(kid, key)| (kid.to_owned(), Secret::new(key.to_owned())));
    KeySet::new(&BTreeMap::from(keys), ACTIVE.0).expect("two keys")
});

static CONSOLE: LazyLock<ConsoleKey> =
    LazyLock::new(|| ConsoleKey::new(&Secret::new(ACTIVE.1.to_owned())));

/// The first byte chooses what the rest is: a whole token, the claims of one that is signed here,
/// or its header.
pub fn envelope(bytes: &[u8]) {
    let (choice, rest) = choice(bytes);
    let token = match choice % 3 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        1 => sign(
            &json!({"alg": "HS256", "kid": ACTIVE.0})
                .to_string()
                .into_bytes(),
            rest,
            ACTIVE.1,
        ),
        _ => sign(rest, ASSERTION.as_bytes(), OLD.1),
    };
    let accepted = [
        verified::<SubjectAssertion>(&token, "api.device_flow.external_subject_assertion"),
        verified::<SsoState>(&token, "api.sso.state_envelope"),
        verified::<ApprovalGrant>(&token, "api.device_flow.approval_grant"),
    ];
    let several = claims_of(&token).is_some_and(|claims| claims["aud"].is_array());
    assert!(several || accepted.iter().filter(|accepted| **accepted).count() <= 1);
}

/// Tells whether a token is accepted; if so, everything that has to hold does, by another reading.
fn verified<E: Readable>(token: &str, audience: &str) -> bool {
    let now = Timestamp::from_unix_seconds(NOW);
    let Ok(verified) = KEYS.verify(&Jws::<E>::presented(token), now) else {
        return false;
    };
    let header = header_of(token).expect("a header");
    let key = [ACTIVE, OLD]
        .into_iter()
        .find(|(kid, _)| header["kid"] == *kid);
    let (_, key) = key.expect("a known kid");
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("crit").is_none_or(Value::is_null));
    assert_genuine(token, key);
    let claims = claims_of(token).expect("claims");
    let aud = &claims["aud"];
    let listed = aud
        .as_array()
        .is_some_and(|all| all.iter().any(|aud| aud == audience));
    assert!(aud == audience || listed);
    assert!(claims["exp"].as_f64().expect("a number") > NOW as f64);
    assert!(verified.expires_at > now);
    for flipped in with_flipped_signature(token) {
        assert!(KEYS.verify(&Jws::<E>::presented(&flipped), now).is_err());
    }
    true
}

/// The same three ways in, for what the console signs.
pub fn console(bytes: &[u8]) {
    let (choice, rest) = choice(bytes);
    let token = match choice % 3 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        1 => sign(br#"{"alg":"HS256","typ":"JWT"}"#, rest, ACTIVE.1),
        _ => sign(rest, br#"{"user_id":"x","exp":1780000060}"#, ACTIVE.1),
    };
    let now = Timestamp::from_unix_seconds(NOW);
    let Some(claims) = CONSOLE.verify(&token, now) else {
        return;
    };
    assert_genuine(&token, ACTIVE.1);
    let header = header_of(&token).expect("a header");
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("kid").is_none_or(Value::is_null));
    assert!(claims["exp"].as_f64().expect("a number") > NOW as f64);
    assert!(!claims.contains_key("aud"));
    for flipped in with_flipped_signature(&token) {
        assert!(CONSOLE.verify(&flipped, now).is_none());
    }
}

const ASSERTION: &str = r#"{"email":"a@b","issuer":"https://idp","user_code":"ABCD-3456","nonce":"n","aud":"api.device_flow.external_subject_assertion","iat":1780000000,"exp":1780000060}"#;

fn sign(header: &[u8], claims: &[u8], key: &str) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = URL_SAFE_NO_PAD.encode(mac(&signed, key));
    format!("{signed}.{signature}")
}

fn mac(signed: &str, key: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any key does");
    mac.chain_update(signed).finalize().into_bytes().to_vec()
}

fn assert_genuine(token: &str, key: &str) {
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    assert_eq!(
        URL_SAFE_NO_PAD.decode(signature).ok(),
        Some(mac(signed, key))
    );
}

fn with_flipped_signature(token: &str) -> Vec<String> {
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let genuine = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let mut flipped: Vec<Vec<u8>> = vec![Vec::new(), genuine[..31].to_vec()];
    for at in [0, 15, 31] {
        let mut other = genuine.clone();
        other[at] ^= 1;
        flipped.push(other);
    }
    let spell = |signature| format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    flipped.into_iter().map(spell).collect()
}

fn part(token: &str, at: usize) -> Option<Value> {
    let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(at)?).ok()?;
    serde_json::from_slice(&part).ok()
}

fn header_of(token: &str) -> Option<Value> {
    part(token, 0)
}

fn claims_of(token: &str) -> Option<Value> {
    part(token, 1)
}
