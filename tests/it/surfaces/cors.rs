//! Pages of other origins.

use crate::support::{Stage, request};

const APP: &str = "https://app.example.com";

async fn stage() -> Stage {
    Stage::with(|gateway| gateway.set("server.cors_allow_origins", &format!("[\"{APP}\"]"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_origin_may_call_what_bearer_tokens_guard() {
    let stage = stage().await;
    let preflight = request("OPTIONS", "/openapi/v1/account")
        .header("Origin", APP)
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "authorization");
    let (answer, _) = stage.probe(&preflight).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert_eq!(
        answer.header("access-control-allow-methods"),
        Some("GET, HEAD, OPTIONS")
    );
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("Authorization, Content-Type")
    );
    assert_eq!(answer.header("access-control-allow-credentials"), None);

    // A refusal too can be read: a page should know that its token has ended.
    for path in ["/openapi/v1/account", "/openapi/v1/apps"] {
        let refused = request("GET", path).header("Origin", APP).bearer("dfoa_x");
        let answer = stage.refuses(&refused, 401).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_origin_is_allowed_nothing_and_cookies_are_for_the_same_origin() {
    let stage = stage().await;
    let cases = [
        ("/openapi/v1/account", "https://evil.example.com"),
        ("/openapi/v1/oauth/device/approve", APP),
        ("/openapi/v1/oauth/device/deny", APP),
    ];
    for (path, origin) in cases {
        let preflight = request("OPTIONS", path)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST");
        let (answer, _) = stage.probe(&preflight).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_there_is_no_such_header() {
    let stage = Stage::set().await;
    let preflight = request("OPTIONS", "/openapi/v1/account")
        .header("Origin", APP)
        .header("Access-Control-Request-Method", "GET");
    let (answer, _) = stage.probe(&preflight).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("vary"), None);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
