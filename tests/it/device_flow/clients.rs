//! The clients that must work unmodified: `difyctl`, and any that speaks RFC 8628.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use oauth2::{
    ClientId, DeviceAuthorizationUrl, HttpRequest, HttpResponse,
    StandardDeviceAuthorizationResponse, TokenResponse as _, TokenUrl, basic::BasicClient,
};
use serde_json::json;

use super::{CODE, TOKEN, keys_of_logins, set};
use crate::support::{Login, RequestBuilder, request};

/// A request as `difyctl` sends it.
fn difyctl(method: &str, path: &str) -> RequestBuilder {
    request(method, path)
        .header("User-Agent", "difyctl/1.0.0 (linux; amd64; stable)")
        .header("Accept", "application/json")
}

#[tokio::test(flavor = "multi_thread")]
async fn difyctls_calls_from_login_to_logout() {
    let (stage, browser) = set().await;
    stage
        .forwards(&difyctl("GET", "/openapi/v1/_version"))
        .await;

    // auth login
    let body = json!({"client_id": "difyctl", "device_label": "difyctl on ada-laptop"});
    let code = stage
        .refuses(&difyctl("POST", CODE).json(&body), 200)
        .await
        .json();
    let login = Login {
        device_code: code["device_code"].as_str().unwrap().to_owned(),
        user_code: code["user_code"].as_str().unwrap().to_owned(),
    };
    let body = json!({"client_id": "difyctl", "device_code": login.device_code});
    let poll = difyctl("POST", TOKEN).json(&body);
    let pending = stage.refuses(&poll, 400).await;
    assert_eq!(pending.json()["error"], "authorization_pending");
    let approved = browser.approves(&stage.gateway, &login.user_code).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    login.wait(&stage.redis).await;
    let granted = stage.refuses(&poll, 200).await.json();
    assert_eq!(granted["subject_type"], "account");
    let ada = json!({"id": stage.account_id, "email": "ada@example.com", "name": "Ada"});
    assert_eq!(granted["account"], ada);
    assert_eq!(granted["workspaces"][0]["name"], "Ada's Workspace");
    assert_eq!(granted["workspaces"][0]["role"], "owner");
    assert_eq!(
        granted["default_workspace_id"],
        granted["workspaces"][0]["id"]
    );
    let token = granted["token"].as_str().unwrap();

    // get app
    stage
        .forwards(&difyctl("GET", "/openapi/v1/apps").bearer(token))
        .await;

    // auth devices list
    let list = difyctl("GET", "/openapi/v1/account/sessions?page=1&limit=100").bearer(token);
    let list = stage.refuses(&list, 200).await.json();
    assert_eq!(list["data"][0]["id"], granted["token_id"]);
    assert_eq!(list["data"][0]["device_label"], "difyctl on ada-laptop");
    assert_eq!(
        (&list["total"], &list["has_more"]),
        (&json!(2), &json!(false))
    );

    // auth devices revoke
    let other = format!("/openapi/v1/account/sessions/{}", stage.account.id);
    let revoked = stage
        .refuses(&difyctl("DELETE", &other).bearer(token), 200)
        .await;
    assert_eq!(revoked.json(), json!({"status": "revoked"}));

    // auth logout
    let logout = difyctl("DELETE", "/openapi/v1/account/sessions/self").bearer(token);
    assert_eq!(
        stage.refuses(&logout, 200).await.json(),
        json!({"status": "revoked"})
    );
    stage
        .refuses(&difyctl("GET", "/openapi/v1/apps").bearer(token), 401)
        .await;
    stage.refuses(&logout, 401).await;
    assert_eq!(keys_of_logins(&stage).await, Vec::<String>::new());
}

/// Sends what the library wants to have sent.
async fn exchange(
    gateway: SocketAddr,
    request: HttpRequest,
) -> Result<HttpResponse, std::io::Error> {
    let mut raw = crate::support::request(request.method().as_str(), request.uri().path());
    for (name, value) in request.headers() {
        raw = raw.header(name.as_str(), value.to_str().unwrap());
    }
    let response = raw.body(request.body()).send(gateway).await;
    let mut answer = http::Response::builder().status(response.status);
    for (name, value) in &response.headers {
        answer = answer.header(name, value);
    }
    Ok(answer.body(response.body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_oauth_client_completes_the_flow() {
    let (stage, browser) = set().await;
    let gateway = stage.gateway.addr();
    let stage = Arc::new(stage);
    let client = BasicClient::new(ClientId::new("difyctl".into()))
        .set_device_authorization_url(
            DeviceAuthorizationUrl::new(format!("http://{gateway}{CODE}")).unwrap(),
        )
        .set_token_uri(TokenUrl::new(format!("http://{gateway}{TOKEN}")).unwrap());
    let http = move |request: HttpRequest| exchange(gateway, request);

    let details: StandardDeviceAuthorizationResponse = client
        .exchange_device_code()
        .request_async(&http)
        .await
        .unwrap();
    let login = Login {
        device_code: details.device_code().secret().clone(),
        user_code: details.user_code().secret().clone(),
    };
    let waits = |pause: Duration| {
        assert_eq!(pause, Duration::from_secs(5));
        let (stage, login, browser) = (Arc::clone(&stage), login.clone(), browser.clone());
        async move {
            login.wait(&stage.redis).await;
            browser.approves(&stage.gateway, &login.user_code).await;
        }
    };
    let token = client
        .exchange_device_access_token(&details)
        .request_async(&http, waits, None)
        .await
        .unwrap();

    assert!(token.expires_in().unwrap() > Duration::from_secs(13 * 86_400));
    let apps = request("GET", "/openapi/v1/apps").bearer(token.access_token().secret());
    stage.forwards(&apps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_generations_names_lead_to_the_same_login() {
    let (stage, browser) = set().await;
    let body = json!({"client_id": "difyctl", "device_label": "x"});
    let code = stage
        .refuses(&request("POST", "/v1/oauth/device/code").json(&body), 200)
        .await;
    let code = code.json();
    let user_code = code["user_code"].as_str().unwrap();

    let lookup = format!("/v1/oauth/device/lookup?user_code={user_code}");
    let found = stage.refuses(&request("GET", &lookup), 200).await;
    assert_eq!(found.json()["valid"], true);
    let approve = browser.posts("/console/api/oauth/device/approve", user_code);
    stage.refuses(&approve, 200).await;
    let body = json!({"client_id": "difyctl", "device_code": code["device_code"]});
    let poll = request("POST", "/v1/oauth/device/token").json(&body);
    let granted = stage.refuses(&poll, 200).await.json();
    let token = granted["token"].as_str().unwrap();

    let me = stage
        .refuses(&request("GET", "/v1/me").bearer(token), 200)
        .await;
    assert_eq!(me.json()["subject_email"], "ada@example.com");
    let logout = request("DELETE", "/v1/oauth/authorizations/self").bearer(token);
    stage.refuses(&logout, 200).await;
    stage
        .refuses(&request("GET", "/v1/me").bearer(token), 401)
        .await;
}
