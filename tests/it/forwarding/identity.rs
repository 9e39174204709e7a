//! Who the upstream is told is calling, and that nobody else can tell it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{APPS, RecordedRequest, RequestBuilder, Stage, forwarded, guarded, request};
use crate::support::{ISSUER, IssuedToken, SECRET_KEY, assert_eventually, unix_now};

/// The identity headers, without their `X-Dify-`.
const IDENTITY: [&str; 8] = [
    "Subject-Type",
    "Subject-Email",
    "Subject-Issuer",
    "Account-Id",
    "Client-Id",
    "Token-Id",
    "Scopes",
    "Identity",
];

async fn with_identity(mode: &str) -> Stage {
    let mode = format!("\"{mode}\"");
    Stage::with(|gateway| gateway.set("forward.identity", &mode)).await
}

/// The identity that a request carries, in the order of [`IDENTITY`].
fn identity(seen: &RecordedRequest) -> Vec<Vec<&str>> {
    let values = |name| seen.header_values(&format!("X-Dify-{name}"));
    IDENTITY.map(values).to_vec()
}

/// Adds every identity header in every spelling that a WSGI server folds to it.
fn forged(mut request: RequestBuilder) -> RequestBuilder {
    for name in IDENTITY {
        let name = format!("X-Dify-{name}");
        let spellings = [
            name.clone(),
            name.to_lowercase(),
            name.to_uppercase(),
            name.replace('-', "_"),
            name.replace('-', "."),
            name.to_lowercase().replacen('-', "_", 1),
            name.to_uppercase().replacen('-', ".", 1),
            name.replacen("Dify-", "dIFY_", 1),
        ];
        for spelling in spellings {
            request = request.header(&spelling, "forged-by-the-client");
        }
    }
    request
}

/// Verifies a compact JWS as the upstream would; its header and its claims.
fn verified(jws: &str, key: &str) -> (Value, Value) {
    let (signed, signature) = jws.rsplit_once('.').unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    mac.verify_slice(&signature).unwrap();
    let part = |text| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    (part(header), part(claims))
}

/// The `X-Dify-Identity` that goes with a request of this token.
async fn signed_identity(stage: &Stage, token: &IssuedToken, path: &str) -> String {
    let seen = forwarded(stage, &request("GET", path).bearer(&token.token)).await;
    seen.header("x-dify-identity").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_no_identity_is_sent() {
    let stage = Stage::set().await;

    let seen = forwarded(&stage, &guarded(&stage)).await;

    assert!(!seen.head_text().to_lowercase().contains("x-dify"));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_name_the_account() {
    let stage = with_identity("headers").await;

    let seen = forwarded(&stage, &guarded(&stage)).await;

    let (account, token) = (stage.account_id.to_string(), stage.account.id.to_string());
    let expected: [&[&str]; 8] = [
        &["account"],
        &["ada@example.com"],
        &["dify:account"],
        &[&account],
        &["difyctl"],
        &[&token],
        &["full"],
        &[],
    ];
    assert_eq!(identity(&seen), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_name_the_external_subject() {
    let stage = with_identity("headers").await;
    let external = request("GET", "/openapi/v1/x").bearer(&stage.external.token);

    let seen = forwarded(&stage, &external).await;

    let token = stage.external.id.to_string();
    let expected: [&[&str]; 8] = [
        &["external_sso"],
        &["eve@example.com"],
        &[ISSUER],
        &[],
        &["difyctl"],
        &[&token],
        &["apps:run apps:read:permitted-external"],
        &[],
    ];
    assert_eq!(identity(&seen), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_identity_verifies_and_says_what_the_headers_say() {
    let stage = with_identity("signed").await;

    let seen = forwarded(&stage, &guarded(&stage)).await;

    let (header, claims) = verified(seen.header("x-dify-identity").unwrap(), SECRET_KEY);
    let expected = json!({"alg": "HS256", "typ": "JWT", "kid": "dify-shared-v1"});
    assert_eq!(header, expected);
    let mut told = claims.clone();
    let times = ["iat", "exp"].map(|name| told.as_object_mut().unwrap().remove(name));
    let [Some(iat), Some(exp)] = times else {
        panic!("{claims}")
    };
    assert_eq!(exp.as_i64().unwrap() - iat.as_i64().unwrap(), 60);
    let expected = json!({
        "aud": "api.gateway.identity",
        "subject_type": seen.header("x-dify-subject-type"),
        "subject_email": seen.header("x-dify-subject-email"),
        "subject_issuer": seen.header("x-dify-subject-issuer"),
        "account_id": seen.header("x-dify-account-id"),
        "client_id": seen.header("x-dify-client-id"),
        "token_id": seen.header("x-dify-token-id"),
        "scopes": seen.header("x-dify-scopes"),
    });
    assert_eq!(told, expected);
    assert_eq!(told["account_id"], stage.account_id.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_subjects_signed_identity_has_no_account() {
    let stage = with_identity("signed").await;

    let jws = signed_identity(&stage, &stage.external, "/openapi/v1/x").await;

    let (_, claims) = verified(&jws, SECRET_KEY);
    assert_eq!(claims["subject_type"], "external_sso");
    assert_eq!(claims["subject_issuer"], ISSUER);
    assert_eq!(claims["account_id"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_signed_once_for_a_cached_token() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("forward.identity", "\"signed\"")
            // Followed, the reports of its own fill would take the entry out again.
            .set("token_cache.coherence", "\"ttl\"")
            .set("token_cache.untracked_ttl", "\"60s\"")
    })
    .await;

    let first = signed_identity(&stage, &stage.account, APPS).await;
    // One that is signed in the same second is the same.
    let (_, claims) = verified(&first, SECRET_KEY);
    assert_eventually!(
        claims["iat"].as_i64().unwrap() < unix_now(),
        "the second is over"
    );
    let second = signed_identity(&stage, &stage.account, APPS).await;
    let other = signed_identity(&stage, &stage.external, "/openapi/v1/x").await;

    assert_eq!(first, second);
    assert_ne!(first, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_signed_by_the_active_key() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("forward.identity", "\"signed\"")
            .set(
                "dify.keys",
                r#"{ "2026-a" = "old-key", "2026-b" = "new-key" }"#,
            )
            .set("dify.active_kid", "\"2026-b\"")
    })
    .await;

    let jws = signed_identity(&stage, &stage.account, APPS).await;

    let (header, _) = verified(&jws, "new-key");
    assert_eq!(header["kid"], "2026-b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_identity_never_arrives_in_any_mode_on_any_route() {
    for mode in ["none", "headers", "signed"] {
        let stage = with_identity(mode).await;
        let public = [
            request("GET", "/v1/info"),
            request("GET", "/console/api/x"),
            request("GET", "/devices"),
            request("GET", "/openapi/v1/_health"),
            request("OPTIONS", APPS),
        ];
        for honest in public.into_iter().chain([guarded(&stage)]) {
            let wanted = forwarded(&stage, &honest).await;
            let seen = forwarded(&stage, &forged(honest)).await;
            assert!(!seen.head_text().contains("forged"), "{}", seen.head_text());
            assert_eq!(identity(&seen), identity(&wanted), "{mode}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_is_not_ascii_arrives_percent_encoded() {
    let stage = with_identity("signed").await;
    let new = crate::support::NewToken::external("zoë\r\nx: y@example.com", ISSUER);
    let token = stage.database.insert_token(&new).await;

    let seen = forwarded(
        &stage,
        &request("GET", "/openapi/v1/x").bearer(&token.token),
    )
    .await;

    let email = seen.header("x-dify-subject-email");
    assert_eq!(email, Some("zo%C3%AB%0D%0Ax:%20y@example.com"));
    let (_, claims) = verified(seen.header("x-dify-identity").unwrap(), SECRET_KEY);
    assert_eq!(claims["subject_email"], "zoë\r\nx: y@example.com");
}
