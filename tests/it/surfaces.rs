//! Every row of the surface table (`contract/surfaces.md`), through a socket: who answers, and
//! what the upstream sees of it.

mod cors;
mod local;

use crate::support::{Stage, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_trailing_slash_makes_another_path() {
    let stage = Stage::set().await;

    for path in [
        "/openapi/v1/account/",
        "/openapi/v1/account/sessions/",
        "/openapi/v1/_health/",
    ] {
        stage.refuses(&request("GET", path), 401).await;
        let bearer = request("GET", path).bearer(&stage.account.token);
        stage.forwards(&bearer).await;
    }
    for path in ["/v1/me/", "/v1/oauth/device/code/", "/device/"] {
        stage.forwards(&request("GET", path)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_version_pass_for_get_and_head_alone() {
    let stage = Stage::set().await;

    for path in ["/openapi/v1/_health", "/openapi/v1/_version"] {
        stage.forwards(&request("GET", path)).await;
        stage.forwards(&request("HEAD", path)).await;
        stage.refuses(&request("POST", path), 401).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_row_takes_the_kinds_of_token_that_it_names() {
    let stage = Stage::with(|gateway| gateway.set("enterprise.enabled", "true")).await;
    let rows = [
        ("/openapi/v1/permitted-external-apps", [403, 200]),
        ("/openapi/v1/permitted-external-apps/1", [403, 200]),
        ("/openapi/v1/apps", [200, 403]),
        ("/openapi/v1/apps/1/run", [200, 403]),
        ("/openapi/v1/workspaces", [200, 403]),
        ("/openapi/v1/workspaces/1", [200, 403]),
        ("/openapi/v1/", [200, 200]),
        ("/openapi/v1/appsandmore", [200, 200]),
        ("/openapi/v1/account/x", [200, 200]),
        ("/openapi/v1/oauth/device", [200, 200]),
    ];

    for (path, answers) in rows {
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            stage.refuses(&request(method, path), 401).await;
            for (token, status) in [&stage.account, &stage.external].into_iter().zip(answers) {
                let bearer = request(method, path).bearer(&token.token);
                match status {
                    200 => stage.forwards(&bearer).await,
                    _ => stage.refuses(&bearer, status).await,
                };
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permitted_external_apps_are_404_without_enterprise() {
    let stage = Stage::set().await;

    for path in [
        "/openapi/v1/permitted-external-apps",
        "/openapi/v1/permitted-external-apps/1",
    ] {
        for token in [&stage.account, &stage.external] {
            stage
                .refuses(&request("GET", path).bearer(&token.token), 404)
                .await;
        }
        stage.refuses(&request("GET", path), 404).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_on_a_bearer_row_is_forwarded_without_a_token() {
    let stage = Stage::with(|gateway| gateway.set("enterprise.enabled", "true")).await;

    for path in [
        "/openapi/v1/apps",
        "/openapi/v1/x",
        "/openapi/v1/permitted-external-apps",
    ] {
        stage.forwards(&request("OPTIONS", path)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inner_api_is_404_for_every_method_and_spelling() {
    let stage = Stage::set().await;

    for path in [
        "/inner/api",
        "/inner/api/",
        "/inner/api/x?y",
        "//inner//api/x",
        "/%69nner/api/x",
    ] {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let inner = request(method, path).bearer(&stage.account.token);
            stage.refuses(&inner, 404).await;
        }
    }
    stage.forwards(&request("GET", "/inner/apis")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_passes_whatever_its_credentials() {
    let stage = Stage::set().await;
    let paths = [
        "/",
        "/console/api/setup",
        "/api/messages",
        "/files/1",
        "/mcp/server/1/mcp",
        "/triggers/webhook/1",
        "/openapi",
        "/openapi/v2/apps",
        "/v1",
        "/V1/apps",
        "/console/api/oauth/device/code",
        "/v1/oauth/device/approve",
    ];

    for path in paths {
        for method in ["GET", "POST", "OPTIONS"] {
            stage.forwards(&request(method, path)).await;
            let app_key = request(method, path).bearer("app-0123456789abcdef");
            stage.forwards(&app_key).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_refuses_user_level_tokens_and_passes_app_keys() {
    let stage = Stage::set().await;

    for path in [
        "/v1/chat-messages",
        "/v1/",
        "/v1/me/x",
        "//v1/info",
        "/%761/info",
    ] {
        for token in [&stage.account.token, &stage.external.token, "dfoa_short"] {
            let user = request("POST", path).bearer(token);
            stage.refuses(&user, 401).await;
        }
        stage
            .forwards(&request("POST", path).bearer("app-key"))
            .await;
        stage.forwards(&request("POST", path)).await;
    }
}
