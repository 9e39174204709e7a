//! The verdicts of `jws_vectors.json`, which PyJWT made, and what PyJWT says of our own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::secret::Secret;

const NOW: i64 = 1_780_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/it/fixtures/jws_vectors.json")).unwrap()
}

/// The key set of the vectors: an active kid, and an older one that still verifies.
fn key_set() -> KeySet {
    let vectors = vectors();
    let keys = vectors["keys"].as_object().unwrap();
    let secret = |text: &Value| Secret::new(text.as_str().unwrap().to_owned());
    let keys: BTreeMap<String, Secret> = keys
        .iter()
        .map(|(kid, text)| (kid.clone(), secret(text)))
        .collect();
    KeySet::new(&keys, vectors["active_kid"].as_str().unwrap()).unwrap()
}

fn verdict<E: Readable>(token: &str, now: Timestamp) -> &'static str {
    match key_set().verify(&Jws::<E>::presented(token), now) {
        Ok(_) => "ok",
        Err(Refused::Malformed) => "malformed",
        Err(Refused::Algorithm) => "algorithm",
        Err(Refused::MissingKid) => "missing_kid",
        Err(Refused::UnknownKid) => "unknown_kid",
        Err(Refused::Signature) => "signature",
        Err(Refused::Audience) => "audience",
        Err(Refused::Expired) => "expired",
        Err(Refused::Times) => "claims",
        Err(Refused::Shape) => "ok-signature-bad-shape",
    }
}

#[test]
fn every_vector_gets_the_verdict_it_names() {
    let vectors = vectors();
    let envelopes = vectors["envelopes"].as_array().unwrap();
    assert!(envelopes.len() > 20);
    for vector in envelopes {
        let token = vector["token"].as_str().unwrap();
        let now = at(vector["now"].as_i64().unwrap());
        let got = match vector["expected_aud"].as_str().unwrap() {
            SsoState::AUDIENCE => verdict::<SsoState>(token, now),
            SubjectAssertion::AUDIENCE => verdict::<SubjectAssertion>(token, now),
            ApprovalGrant::AUDIENCE => verdict::<ApprovalGrant>(token, now),
            other => panic!("{other}"),
        };
        assert_eq!(got, vector["expect"], "{}", vector["name"]);
    }
}

fn state() -> SsoState {
    SsoState {
        redirect_url: String::new(),
        app_code: String::new(),
        intent: "device_flow".into(),
        user_code: "ABCD-3456".into(),
        nonce: "bm9uY2Utbm9uY2Utbm9u".into(),
        return_to: String::new(),
        idp_callback_url: "https://console.example/callback".into(),
    }
}

fn assertion() -> SubjectAssertion {
    SubjectAssertion {
        email: "Zoë@partner.example".into(),
        issuer: "https://idp.partner.example".into(),
        user_code: "ABCD-3456".into(),
        nonce: "bm9uY2Utbm9uY2Utbm9u".into(),
    }
}

fn grant() -> ApprovalGrant {
    ApprovalGrant {
        iss: "https://console.example".into(),
        subject_email: "eve@partner.example".into(),
        subject_issuer: "https://idp.partner.example".into(),
        user_code: "ABCD-3456".into(),
        nonce: "bm9uY2Utbm9uY2Utbm9u".into(),
        csrf_token: "Y3NyZi1jc3JmLWNzcmYtYw".into(),
    }
}

/// Signing is deterministic, so that what PyJWT has once said of a token it says for ever:
/// `pyjwt.py` beside the fixture asks it again.
#[test]
fn what_is_signed_here_is_what_pyjwt_has_verified() {
    let verified: Value =
        serde_json::from_str(include_str!("../../tests/it/fixtures/jws_signed_here.json")).unwrap();
    let keys = key_set();
    let identity = IdentityClaims {
        subject_type: "account",
        subject_email: "ada@example.com",
        subject_issuer: "dify:account",
        account_id: Some("0196c3a0-1111-7000-8000-000000000001".into()),
        client_id: Some("difyctl"),
        token_id: "0196c3a0-3333-7000-8000-000000000003".into(),
        scopes: "full",
    };
    fn signed<E: Envelope + Serialize>(keys: &KeySet, claims: &E) -> (String, Value) {
        let jws = keys.sign(claims, at(NOW)).unwrap();
        let mut expected = serde_json::to_value(claims).unwrap();
        expected["aud"] = E::AUDIENCE.into();
        expected["iat"] = NOW.into();
        expected["exp"] = (NOW + E::LIFE.as_secs() as i64).into();
        (jws.expose().to_owned(), expected)
    }
    for (name, (token, claims)) in [
        ("state", signed(&keys, &state())),
        ("assertion", signed(&keys, &assertion())),
        ("grant", signed(&keys, &grant())),
        ("identity", signed(&keys, &identity)),
    ] {
        let said = &verified[name];
        assert_eq!(said["token"], token, "{name}");
        assert_eq!(said["pyjwt_claims"], claims, "{name}");
        let header = json!({"typ": "JWT", "alg": "HS256", "kid": "dify-shared-v1"});
        assert_eq!(said["pyjwt_header"], header, "{name}");
    }
}

#[test]
fn an_envelope_is_read_back_until_its_end_and_not_a_moment_longer() {
    let keys = key_set();
    let jws = keys.sign(&grant(), at(NOW)).unwrap();

    let verified = keys.verify(&jws, at(NOW)).unwrap();

    assert_eq!(verified.claims, grant());
    assert_eq!(verified.expires_at, at(NOW + 300));
    let moment = Duration::from_micros(1);
    let last = at(NOW + 299).plus(Duration::from_secs(1) - moment);
    assert!(keys.verify(&jws, last).is_ok());
    assert_eq!(keys.verify(&jws, at(NOW + 300)), Err(Refused::Expired));
    assert_eq!(keys.verify(&jws, at(NOW - 1)), Err(Refused::Times));
}

#[test]
fn no_envelope_passes_for_another() {
    let keys = key_set();
    let grant = keys.sign(&grant(), at(NOW)).unwrap();
    let state = keys.sign(&state(), at(NOW)).unwrap();
    let now = at(NOW + 1);
    assert_eq!(verdict::<SubjectAssertion>(grant.expose(), now), "audience");
    assert_eq!(verdict::<SsoState>(grant.expose(), now), "audience");
    assert_eq!(verdict::<ApprovalGrant>(state.expose(), now), "audience");
}

/// RFC 7519 section 4.1.3.
#[test]
fn an_audience_is_a_text_or_a_list_of_texts_that_has_the_right_one() {
    let vectors = vectors();
    let kid = vectors["active_kid"].as_str().unwrap();
    let key = vectors["keys"][kid].as_str().unwrap();
    install_provider();
    let key = jsonwebtoken::EncodingKey::from_secret(key.as_bytes());
    let header = jsonwebtoken::Header {
        kid: Some(kid.to_owned()),
        ..Default::default()
    };
    let right = ApprovalGrant::AUDIENCE;
    for (aud, expected) in [
        (json!(right), "ok"),
        (json!(["api.other", right]), "ok"),
        (json!([]), "audience"),
        (json!(["api.other"]), "audience"),
        (json!([right, 1]), "audience"),
        (json!([[right]]), "audience"),
        (json!({ right: right }), "audience"),
        (json!(1), "audience"),
        (json!(null), "audience"),
    ] {
        let mut claims = serde_json::to_value(grant()).unwrap();
        claims["exp"] = (NOW + 60).into();
        claims["aud"] = aud.clone();
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        assert_eq!(verdict::<ApprovalGrant>(&token, at(NOW)), expected, "{aud}");
    }
}

#[test]
fn a_key_that_has_left_the_set_verifies_nothing() {
    let secret = |text: &str| Secret::new(text.to_owned());
    let old = BTreeMap::from([("a".to_owned(), secret("one"))]);
    let both = BTreeMap::from([("a".to_owned(), secret("one")), ("b".into(), secret("two"))]);
    let new = BTreeMap::from([("b".to_owned(), secret("two"))]);
    let jws = KeySet::new(&old, "a").unwrap().sign(&grant(), at(NOW));
    let jws = jws.unwrap();

    assert!(
        KeySet::new(&both, "b")
            .unwrap()
            .verify(&jws, at(NOW))
            .is_ok()
    );
    let refused = KeySet::new(&new, "b").unwrap().verify(&jws, at(NOW));
    assert_eq!(refused, Err(Refused::UnknownKid));
}

#[test]
fn a_set_without_its_active_kid_or_with_an_empty_secret_is_none() {
    let set = |secret: &str| BTreeMap::from([("a".to_owned(), Secret::new(secret.to_owned()))]);
    assert_eq!(
        KeySet::new(&set("x"), "b").err(),
        Some(InvalidKeys::ActiveKid)
    );
    assert_eq!(
        KeySet::new(&set(""), "a").err(),
        Some(InvalidKeys::EmptySecret)
    );
    let printed = format!("{:?}", KeySet::new(&set("hunter2"), "a").unwrap());
    assert!(printed.contains("\"a\"") && !printed.contains("hunter2"));
}

#[test]
fn claims_that_name_what_signing_adds_are_an_error() {
    #[derive(Serialize, Deserialize)]
    struct Forged {
        exp: i64,
    }
    impl Envelope for Forged {
        const AUDIENCE: &'static str = "api.test";
        const LIFE: Duration = Duration::from_secs(1);
    }
    let signed = key_set().sign(&Forged { exp: i64::MAX }, at(NOW));
    assert!(matches!(signed, Err(NotSigned::Reserved("exp"))));
}

#[test]
fn what_a_header_says_is_never_followed() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let jws = key_set().sign(&grant(), at(NOW)).unwrap();
    let (_, rest) = jws.expose().split_once('.').unwrap();
    for (header, expected) in [
        (
            json!({"alg": "HS256", "kid": "dify-shared-v1", "crit": ["b64"]}),
            "algorithm",
        ),
        (
            json!({"alg": "hs256", "kid": "dify-shared-v1"}),
            "algorithm",
        ),
        (json!({"alg": "HS256", "kid": ""}), "unknown_kid"),
        (json!({"alg": "HS256", "kid": 1}), "malformed"),
        (json!({"kid": "dify-shared-v1"}), "malformed"),
        // Another key by a path, as another implementation once followed it.
        (
            json!({"alg": "HS256", "kid": "../../dev/null"}),
            "unknown_kid",
        ),
        // The signature covers the header as well.
        (
            json!({"alg": "HS256", "kid": "dify-shared-v1"}),
            "signature",
        ),
    ] {
        let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()));
        assert_eq!(
            verdict::<ApprovalGrant>(&forged, at(NOW)),
            expected,
            "{header}"
        );
    }
}

#[test]
fn an_identity_is_signed_anew_by_another_key_set_and_towards_its_end() {
    let (keys, others) = (key_set(), key_set());
    let claims = IdentityClaims {
        subject_type: "account",
        subject_email: "ada@example.com",
        subject_issuer: "dify:account",
        account_id: None,
        client_id: None,
        token_id: String::new(),
        scopes: "full",
    };
    let least = Duration::from_secs(10);

    let signed = SignedIdentity::sign(&claims, &keys, at(NOW)).unwrap();

    assert!(signed.is_fresh(&keys, at(NOW + 50), least));
    assert!(!signed.is_fresh(&keys, at(NOW + 51), least));
    assert!(!signed.is_fresh(&others, at(NOW), least));
}

#[test]
fn envelopes_are_never_printed() {
    let jws = key_set().sign(&grant(), at(NOW)).unwrap();
    let printed = format!("{jws:?} {:?} {:?} {:?}", grant(), state(), assertion());
    let expected = "Jws(…) ApprovalGrant(…) SsoState(…) SubjectAssertion(…)";
    assert_eq!(printed, expected);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[ -~]{0,80}") {
        proptest::prop_assert_ne!(verdict::<ApprovalGrant>(&text, at(NOW)), "ok");
    }
}
