//! The local endpoints, under each of their names: none is anybody else's.

use crate::support::{Stage, request};

const DEVICE: &str = "/openapi/v1/oauth/device";

/// Every local endpoint: its method, its path below `/openapi/v1`, and the first generation's
/// name for it.
const LOCAL: &str = "
    POST   /oauth/device/code              /v1/oauth/device/code
    POST   /oauth/device/token             /v1/oauth/device/token
    POST   /oauth/device/approve           /console/api/oauth/device/approve
    POST   /oauth/device/deny              /console/api/oauth/device/deny
    POST   /oauth/device/approve-external  /v1/oauth/device/approve-external
    GET    /oauth/device/lookup            /v1/oauth/device/lookup
    GET    /oauth/device/sso-initiate      /v1/oauth/device/sso-initiate
    GET    /oauth/device/sso-complete      /v1/device/sso-complete
    GET    /oauth/device/approval-context  /v1/oauth/device/approval-context
    GET    /oauth/device/request
    GET    /account                        /v1/me
    GET    /account/sessions
    DELETE /account/sessions/self          /v1/oauth/authorizations/self
    DELETE /account/sessions/2f1e5f0e-5b0f-7d6a-9d2f-1c4f6d8e0a11
";

/// What an endpoint answers to a request without body, query or cookies, and to one with an
/// account's token as well. Without an enterprise service that branch does not exist.
fn answers(path: &str) -> [u16; 2] {
    match path.rsplit('/').next().unwrap() {
        "code" | "token" => [400, 400],
        "approve" | "deny" | "request" => [401, 401],
        "lookup" => [200, 200],
        "account" | "me" | "sessions" => [401, 200],
        "2f1e5f0e-5b0f-7d6a-9d2f-1c4f6d8e0a11" => [401, 404],
        "self" => [401, 200],
        _ => [404, 404],
    }
}

/// Tells whether there is such an endpoint without an enterprise service.
fn exists(path: &str) -> bool {
    answers(path) != [404, 404]
}

/// Method, path and alias of every local endpoint.
fn endpoints() -> impl Iterator<Item = (&'static str, String, Option<&'static str>)> {
    LOCAL.trim().lines().map(|line| {
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        (method, format!("/openapi/v1{path}"), words.next())
    })
}

/// Method and path of every local endpoint, under each of its names.
fn local_endpoints() -> impl Iterator<Item = (&'static str, String)> {
    endpoints().flat_map(|(method, path, alias)| {
        let names = std::iter::once(path).chain(alias.map(str::to_owned));
        names.map(move |path| (method, path))
    })
}

fn allowed(method: &str) -> &'static str {
    match method {
        "GET" => "GET, HEAD, OPTIONS",
        "POST" => "OPTIONS, POST",
        _ => "DELETE, OPTIONS",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_endpoint_is_answered_here_under_each_of_its_names() {
    let stage = Stage::set().await;

    for (method, path) in local_endpoints() {
        let bearer = request(method, &path).bearer(&stage.account.token);
        for (request, status) in [request(method, &path), bearer].iter().zip(answers(&path)) {
            // The others still need the token.
            if path.ends_with("/self") && status == 200 {
                continue;
            }
            let response = stage.refuses(request, status).await;
            assert_eq!(response.header("cache-control"), Some("no-store"), "{path}");
            assert_eq!(response.header("x-frame-options"), Some("DENY"), "{path}");
            let policy = response.header("content-security-policy");
            assert_eq!(policy, Some("frame-ancestors 'none'"), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_on_a_local_endpoint_is_405_with_allow() {
    let stage = Stage::set().await;

    for (method, path) in local_endpoints() {
        for other in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if other == method {
                continue;
            }
            let wrong = request(other, &path).bearer(&stage.account.token);
            if !exists(&path) {
                stage.refuses(&wrong, 404).await;
                continue;
            }
            let response = stage.refuses(&wrong, 405).await;
            assert_eq!(response.header("allow"), Some(allowed(method)), "{path}");
            assert_eq!(response.json()["code"], "method_not_allowed", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_on_a_local_endpoint_is_200_and_empty_with_allow_and_no_cors() {
    let stage = Stage::set().await;

    for (method, path) in local_endpoints() {
        let preflight = request("OPTIONS", &path)
            .header("Origin", "https://evil.example")
            .header("Access-Control-Request-Method", method);
        if !exists(&path) {
            stage.refuses(&preflight, 404).await;
            continue;
        }
        let response = stage.refuses(&preflight, 200).await;
        assert_eq!(response.header("allow"), Some(allowed(method)), "{path}");
        assert_eq!(response.text(), "", "{path}");
        let cors = |(name, _): &&(String, String)| name.to_lowercase().contains("access-control");
        assert_eq!(response.headers.iter().find(cors), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_on_a_local_endpoint_is_get_without_the_body() {
    let stage = Stage::set().await;

    for (_, path) in local_endpoints().filter(|(method, _)| *method == "GET") {
        let [status, _] = answers(&path);
        let head = stage.refuses(&request("HEAD", &path), status).await;
        let get = stage.refuses(&request("GET", &path), status).await;
        assert_eq!(head.header("content-length"), get.header("content-length"));
        assert!(head.body.is_empty(), "{path}");
    }
    for (_, path) in local_endpoints().filter(|(method, _)| *method != "GET") {
        let status = if exists(&path) { 405 } else { 404 };
        stage.refuses(&request("HEAD", &path), status).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_of_the_device_flow_are_404_for_every_method() {
    let stage = Stage::set().await;

    for rest in ["/", "/unknown", "/code/", "/code/x", "/Code", "/lookup/"] {
        for method in ["GET", "POST", "HEAD", "OPTIONS", "DELETE"] {
            let unknown = request(method, &format!("{DEVICE}{rest}"));
            let bearer = unknown.clone().bearer(&stage.account.token);
            stage.refuses(&unknown, 404).await;
            stage.refuses(&bearer, 404).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_legacy_paths_the_aliases_are_the_upstreams() {
    let stage = Stage::with(|gateway| gateway.set("device_flow.legacy_paths", "false")).await;

    for (method, path, alias) in endpoints() {
        let [status, _] = answers(&path);
        stage.refuses(&request(method, &path), status).await;
        let Some(alias) = alias else { continue };
        stage.forwards(&request(method, alias)).await;
        if alias.starts_with("/v1/") {
            let user = request(method, alias).bearer(&stage.account.token);
            stage.refuses(&user, 401).await;
        }
    }
}
