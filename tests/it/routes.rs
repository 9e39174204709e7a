//! What the configuration can do to the surface table: `upstream.web_url` and `[[routes]]`.

use std::process::{Command, Output};

use crate::support::{Gateway, GatewayBuilder, Stage, Upstream, request};

/// A stage whose gateway has these blocks.
async fn stage_with(rules: &str) -> Stage {
    Stage::with(|gateway| gateway.config(rules)).await
}

/// Runs `serve` on a configuration that it must not accept.
fn serve_refuses(gateway: &GatewayBuilder) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, gateway.to_toml()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_difygate"))
        .args(["serve", "--config"])
        .arg(path)
        .env_clear()
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_page_device_goes_to_the_web_upstream_and_nothing_else_does() {
    let web = Upstream::start().await;
    let url = format!("\"http://{}\"", web.addr());
    let stage = Stage::with(|gateway| {
        gateway
            .set("upstream.web_url", &url)
            .set("device_page.enabled", "false")
    });
    let stage = stage.await;

    for method in ["GET", "HEAD"] {
        let page = request(method, "/device?user_code=ABCD-EFGH");
        let (response, to_api) = stage.probe(&page).await;
        assert_eq!((response.status, to_api.len()), (200, 0), "{method}");
        let to_web = web.take_requests();
        assert_eq!(to_web.len(), 1, "{method}");
        assert_eq!(to_web[0].target(), "/device?user_code=ABCD-EFGH");
    }
    for (method, path) in [
        ("POST", "/device"),
        ("GET", "/device/"),
        ("GET", "/console/api/x"),
    ] {
        stage.forwards(&request(method, path)).await;
    }
    assert!(web.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn device_goes_to_the_api_where_there_is_no_web_upstream() {
    let stage = Stage::with(|gateway| gateway.set("device_page.enabled", "false")).await;

    stage.forwards(&request("GET", "/device")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deny_rule_closes_a_path_and_what_is_below_it() {
    let stage = stage_with("[[routes]]\nmatch = \"/console/*\"\npolicy = \"deny\"").await;

    for path in [
        "/console",
        "/console/",
        "/console/api/x",
        "//console//x",
        "/%63onsole/x",
    ] {
        let response = stage.refuses(&request("GET", path), 404).await;
        assert_eq!(response.json()["code"], "not_found", "{path}");
    }
    stage.forwards(&request("GET", "/consoles")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_without_a_star_is_about_its_path_alone() {
    let stage = stage_with("[[routes]]\nmatch = \"/api/x\"\npolicy = \"deny\"").await;

    stage.refuses(&request("GET", "/api/x?y=1"), 404).await;
    stage.forwards(&request("GET", "/api/x/")).await;
    stage.forwards(&request("GET", "/api/x/y")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_with_methods_leaves_the_other_methods_alone() {
    let rule = "[[routes]]\nmatch = \"/api/*\"\npolicy = \"deny\"\nmethods = [\"POST\", \"PUT\"]";
    let stage = stage_with(rule).await;

    stage.refuses(&request("POST", "/api/x"), 404).await;
    stage.refuses(&request("PUT", "/api/x"), 404).await;
    stage.forwards(&request("GET", "/api/x")).await;
    stage.forwards(&request("DELETE", "/api/x")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_names_get_is_about_head_too() {
    let stage = stage_with(
        "[[routes]]\nmatch = \"/v1/secret/*\"\npolicy = \"bearer\"\nmethods = [\"GET\"]\n\
         [[routes]]\nmatch = \"/api/closed\"\npolicy = \"deny\"\nmethods = [\"POST\", \"GET\"]\n\
         [[routes]]\nmatch = \"/openapi/v1/open\"\npolicy = \"pass\"\nmethods = [\"GET\"]\n\
         unsafe = true",
    )
    .await;

    for method in ["GET", "HEAD"] {
        let secret = request(method, "/v1/secret/x");
        stage.refuses(&secret, 401).await;
        stage.forwards(&secret.bearer(&stage.account.token)).await;
        stage.refuses(&request(method, "/api/closed"), 404).await;
        stage.forwards(&request(method, "/openapi/v1/open")).await;
    }
    stage.forwards(&request("POST", "/v1/secret/x")).await;
    stage.forwards(&request("PUT", "/api/closed")).await;
    stage
        .refuses(&request("POST", "/openapi/v1/open"), 401)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_names_head_alone_is_heads() {
    let stage = stage_with(
        "[[routes]]\nmatch = \"/files/*\"\npolicy = \"deny\"\nmethods = [\"HEAD\"]\n\
         [[routes]]\nmatch = \"/api/*\"\npolicy = \"pass\"\nmethods = [\"HEAD\"]\n\
         [[routes]]\nmatch = \"/api/*\"\npolicy = \"deny\"\nmethods = [\"GET\"]",
    )
    .await;

    stage.refuses(&request("HEAD", "/files/1"), 404).await;
    stage.forwards(&request("GET", "/files/1")).await;
    // It came first.
    stage.forwards(&request("HEAD", "/api/x")).await;
    stage.refuses(&request("GET", "/api/x"), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_rule_guards_a_path_that_passed() {
    let stage = stage_with("[[routes]]\nmatch = \"/v1/guarded/*\"\npolicy = \"bearer\"").await;

    stage.refuses(&request("GET", "/v1/guarded/x"), 401).await;
    for token in [&stage.account, &stage.external] {
        let bearer = request("GET", "/v1/guarded/x").bearer(&token.token);
        stage.forwards(&bearer).await;
    }
    let app_key = request("GET", "/v1/guarded/x").bearer("app-key");
    stage.refuses(&app_key, 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_rule_accepts_only_the_kinds_that_it_names() {
    let rule = "[[routes]]\nmatch = \"/openapi/v1/reports/*\"\npolicy = \"bearer\"\n\
                accept = [\"dfoe_\"]";
    let stage = stage_with(rule).await;
    let path = "/openapi/v1/reports/1";

    let account = request("GET", path).bearer(&stage.account.token);
    stage.refuses(&account, 403).await;
    let external = request("GET", path).bearer(&stage.external.token);
    stage.forwards(&external).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_rule_demands_its_scope_and_full_has_every_scope() {
    let stage = stage_with(
        "[[routes]]\nmatch = \"/openapi/v1/all\"\npolicy = \"bearer\"\nscope = \"full\"\n\
         [[routes]]\nmatch = \"/openapi/v1/run\"\npolicy = \"bearer\"\nscope = \"apps:run\"",
    )
    .await;
    let external = |path| request("GET", path).bearer(&stage.external.token);
    let account = |path| request("GET", path).bearer(&stage.account.token);

    stage.refuses(&external("/openapi/v1/all"), 403).await;
    stage.forwards(&external("/openapi/v1/run")).await;
    stage.forwards(&account("/openapi/v1/all")).await;
    stage.forwards(&account("/openapi/v1/run")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_sends_its_requests_to_its_own_upstream() {
    let other = Upstream::start().await;
    let rule = format!(
        "[[routes]]\nmatch = \"/reports/*\"\npolicy = \"bearer\"\nupstream = \"http://{}\"",
        other.addr()
    );
    let stage = stage_with(&rule).await;

    stage.refuses(&request("GET", "/reports/1"), 401).await;
    let bearer = request("GET", "/reports/1").bearer(&stage.account.token);
    let (response, to_api) = stage.probe(&bearer).await;

    assert_eq!((response.status, to_api.len()), (200, 0));
    assert_eq!(other.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_several_rules_wins() {
    let stage = stage_with(
        "[[routes]]\nmatch = \"/api/open\"\npolicy = \"pass\"\n\
         [[routes]]\nmatch = \"/api/*\"\npolicy = \"deny\"",
    )
    .await;

    stage.forwards(&request("GET", "/api/open")).await;
    stage.refuses(&request("GET", "/api/other"), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_never_takes_part_in_routing() {
    let stage = stage_with("[[routes]]\nmatch = \"/api/*\"\npolicy = \"deny\"").await;

    for query in ["?/openapi/v1/_health", "?/../x", "?a=/v1/me"] {
        let guarded = request("GET", &format!("/openapi/v1/apps{query}"));
        stage.refuses(&guarded, 401).await;
        let denied = request("GET", &format!("/api/x{query}"));
        stage.refuses(&denied, 404).await;
    }
    stage
        .forwards(&request("GET", "/files/1?/openapi/v1/apps"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_endpoint_comes_before_every_rule() {
    let stage = stage_with("[[routes]]\nmatch = \"/v1/*\"\npolicy = \"pass\"").await;

    stage.refuses(&request("GET", "/v1/me"), 401).await;
    let user = request("GET", "/v1/x").bearer(&stage.account.token);
    stage.refuses(&user, 401).await;
}

#[test]
fn a_rule_that_opens_a_guarded_row_ends_serve_with_2_and_names_key_and_remedy() {
    let guarded = [
        ("/openapi/v1/apps/*", "pass"),
        ("/openapi/v1/anything", "pass"),
        ("/openapi/*", "pass"),
        ("/*", "pass"),
        ("/inner/api/x", "pass"),
        ("/inner/*", "bearer"),
        ("/openapi/v1/oauth/device/new", "bearer"),
        ("/openapi/v1/workspaces/*", "bearer"),
    ];

    for (pattern, policy) in guarded {
        let rule = format!("[[routes]]\nmatch = \"{pattern}\"\npolicy = \"{policy}\"");
        let output = serve_refuses(&Gateway::builder().config(&rule));
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{pattern}: {told}");
        for part in ["routes.policy", pattern, "unsafe = true", "line "] {
            assert!(told.contains(part), "{pattern}, {part}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_says_unsafe_opens_a_guarded_row() {
    let stage = stage_with(
        "[[routes]]\nmatch = \"/openapi/v1/apps/open\"\npolicy = \"pass\"\nunsafe = true\n\
         [[routes]]\nmatch = \"/inner/api/x\"\npolicy = \"pass\"\nunsafe = true",
    )
    .await;

    stage
        .forwards(&request("GET", "/openapi/v1/apps/open"))
        .await;
    stage.forwards(&request("GET", "/inner/api/x")).await;
    stage
        .refuses(&request("GET", "/openapi/v1/apps/other"), 401)
        .await;
    stage.refuses(&request("GET", "/inner/api/y"), 404).await;
}
