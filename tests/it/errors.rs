//! What the gateway itself answers when it refuses (`contract/errors.md`), to the byte.

mod connection;
mod lingering;
mod outage;
mod request_id;

use serde_json::Value;

use crate::support::{Gateway, RequestBuilder, Response, Stage, request};

const APPS: &str = "/openapi/v1/apps";

/// Asserts that this is the gateway's own answer, whole and exact.
fn assert_refusal(response: &Response, status: u16, code: &str, message: &str) {
    let body = format!(r#"{{"code": "{code}", "message": "{message}", "status": {status}}}"#);
    assert_eq!(response.text(), body);
    assert_eq!(response.status, status);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(
        response.header("content-length"),
        Some(&*body.len().to_string())
    );
    let id = response.header_values("x-request-id");
    assert!(id.len() == 1 && !id[0].is_empty(), "{response:?}");
}

/// A GET of a bearer row with this whole `Authorization`.
fn authorized(value: &str) -> RequestBuilder {
    request("GET", APPS).header("Authorization", value)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_canonical_is_400() {
    let stage = Stage::set().await;
    let must_not = "the path must not contain";
    let targets = [
        ("/x/../y", format!("{must_not} dot segments")),
        (
            "/x%2fy",
            format!("{must_not} backslashes, control characters or encoded slashes"),
        ),
        (
            "/x#y",
            "the request target must have no fragment".to_owned(),
        ),
        (
            "/x%zz",
            "the path has a malformed percent-encoding".to_owned(),
        ),
        ("/x%ff", "the path must be UTF-8".to_owned()),
        (
            "/openapi/v1/apps;x",
            "the path can be read in two ways".to_owned(),
        ),
    ];

    for (target, message) in targets {
        let response = stage.refuses(&request("GET", target), 400).await;
        assert_refusal(&response, 400, "bad_request", &message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_authorization_headers_are_400() {
    let stage = Stage::set().await;
    let twice = authorized(&stage.account.bearer()).header("authorization", "Bearer x");

    let response = stage.refuses(&twice, 400).await;

    let message = "there must be one Authorization header at most";
    assert_refusal(&response, 400, "bad_request", message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_host_is_400() {
    let stage = Stage::set().await;
    let mut client = stage.gateway.client().await;

    client.send(b"GET /x HTTP/1.1\r\n\r\n").await;

    let response = client.read_response().await;
    assert_refusal(&response, 400, "bad_request", "a Host header is required");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bearer_is_401_that_names_the_realm_alone() {
    let stage = Stage::set().await;
    let empty = [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearerx",
        "Token dfoa_x",
    ];

    let absent = std::iter::once(request("GET", APPS));
    for request in absent.chain(empty.map(authorized)) {
        let response = stage.refuses(&request, 401).await;
        assert_refusal(&response, 401, "unauthorized", "bearer required");
        let challenge = response.header_values("www-authenticate");
        assert_eq!(challenge, [r#"Bearer realm="api""#]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_that_is_no_good_gets_the_same_401() {
    let stage = Stage::set().await;
    let new = crate::support::NewToken::account(stage.account_id, "ada@example.com");
    let expired = stage.database.insert_token(&new.clone().expired()).await;
    let revoked = stage.database.insert_token(&new.label("another")).await;
    stage.database.revoke(revoked.id).await;
    let unknown = crate::support::IssuedToken::unknown("dfoe_");
    let mut longer = stage.account.token.clone();
    longer.push('A');
    let tokens = [
        &expired.token,
        &revoked.token,
        &unknown.token,
        &longer,
        "app-key",
        "dfp_x",
        "dfoa_",
        "x",
        "dfoa_é",
    ];

    for token in tokens {
        for scheme in ["Bearer", "bEARER"] {
            let request = authorized(&format!("{scheme} {token}"));
            let response = stage.refuses(&request, 401).await;
            assert_refusal(&response, 401, "unauthorized", "invalid token");
            let challenge = response.header_values("www-authenticate");
            assert_eq!(challenge, [r#"Bearer realm="api", error="invalid_token""#]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_level_token_on_v1_gets_that_401_too() {
    let stage = Stage::set().await;
    let user = request("POST", "/v1/chat-messages").bearer(&stage.account.token);

    let response = stage.refuses(&user, 401).await;

    assert_refusal(&response, 401, "unauthorized", "invalid token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_on_the_wrong_surface_is_403_and_audited() {
    let stage = Stage::set().await;
    let path = format!("{APPS}/1?secret=query");
    let wrong = request("GET", &path).bearer(&stage.external.token);

    let response = stage.refuses(&wrong, 403).await;

    assert_refusal(
        &response,
        403,
        "forbidden",
        "this token is not accepted here",
    );
    let is_event = |line: &Value| {
        line["target"] == "audit"
            && Gateway::log_field(line, "event") == Some(&"openapi.wrong_surface_denied".into())
    };
    let event = stage.gateway.wait_for_log(is_event).await;
    let field = |name| Gateway::log_field(&event, name).and_then(Value::as_str);
    assert_eq!(field("token_id"), Some(&*stage.external.id.to_string()));
    assert_eq!(field("subject_type"), Some("external_sso"));
    assert_eq!(field("client_id"), Some("difyctl"));
    assert_eq!(field("method"), Some("GET"));
    assert_eq!(field("path"), Some("/openapi/v1/apps/1"));
    assert_eq!(field("request_id"), response.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_too_small_is_403_and_named() {
    let rule = "[[routes]]\nmatch = \"/openapi/v1/all\"\npolicy = \"bearer\"\nscope = \"full\"";
    let stage = Stage::with(|gateway| gateway.config(rule)).await;
    let small = request("GET", "/openapi/v1/all").bearer(&stage.external.token);

    let response = stage.refuses(&small, 403).await;

    assert_refusal(
        &response,
        403,
        "forbidden",
        "the token's scope is too small",
    );
    let challenge = r#"Bearer realm="api", error="insufficient_scope", scope="full""#;
    assert_eq!(response.header("www-authenticate"), Some(challenge));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_is_404() {
    let stage = Stage::set().await;

    for path in ["/inner/api/x", "/openapi/v1/oauth/device/unknown"] {
        let response = stage.refuses(&request("GET", path), 404).await;
        assert_refusal(&response, 404, "not_found", "not served here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_405_with_allow() {
    let stage = Stage::set().await;

    let response = stage
        .refuses(&request("PUT", "/openapi/v1/account"), 405)
        .await;

    assert_refusal(
        &response,
        405,
        "method_not_allowed",
        "this method is not allowed here",
    );
    assert_eq!(response.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_beyond_the_limit_are_431_and_up_to_it_pass() {
    let stage = Stage::with(|gateway| gateway.set("server.max_header_bytes", "\"8KiB\"")).await;
    let padded = |size| request("GET", "/x").header("X-Padding", &"a".repeat(size));

    stage.forwards(&padded(7 * 1024)).await;
    let response = stage.refuses(&padded(9 * 1024), 431).await;

    let code = "request_header_fields_too_large";
    assert_refusal(&response, 431, code, "the header section is too large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_is_refused_without_a_body() {
    let stage = Stage::set().await;

    let response = stage.refuses(&request("HEAD", APPS), 401).await;

    assert!(response.body.is_empty());
    assert!(response.header("content-length").is_some());
}
