//! A login from its first step to the end of its session, by account and by SSO.

use serde_json::json;

use super::{Secrets, all_that_is_printed, nothing_was_dropped};
use crate::support::{
    Behaviour, Browser, Database, DedicatedRedis, ENTERPRISE_SECRET, Gateway, Grant, Login,
    Response, SECRET_KEY, SHARED_KID, Upstream, assert_eventually, assertion_claims, completes,
    enterprise_stage, jws, request,
};

const ACCOUNT: &str = "/openapi/v1/account";
const SESSIONS: &str = "/openapi/v1/account/sessions";
const SELF: &str = "/openapi/v1/account/sessions/self";

/// Asks for something of a token's owner.
async fn answers(
    gateway: &Gateway,
    method: &str,
    path: &str,
    token: &str,
    status: u16,
) -> Response {
    let answer = request(method, path).bearer(token);
    let answer = answer.send(gateway.addr()).await;
    assert_eq!(answer.status, status, "{method} {path} {answer:?}");
    answer
}

/// Has the gateway read its configuration again, while a login is under way.
async fn reloads(gateway: &Gateway) {
    let read_again = || gateway.log_text().matches("read again").count();
    let before = read_again();
    gateway.reload();
    assert_eventually!(read_again() > before, "the configuration is read");
}

/// Logs in on a host with nothing in the way, and returns the token.
async fn logs_in(
    gateway: &Gateway,
    browser: &Browser,
    redis: &DedicatedRedis,
    host: &str,
    secrets: &mut Secrets,
) -> String {
    let login = Login::begin(gateway, host).await;
    browser.approves(gateway, &login.user_code).await;
    login.wait(redis.space()).await;
    let granted = login.polls(gateway).await.json();
    let token = granted["token"].as_str().unwrap().to_owned();
    secrets.add([&*login.device_code, &*login.user_code]);
    secrets.add_token(&token);
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_sign_in_by_sso_is_ever_printed() {
    let (stage, service) = enterprise_stage(|gateway| {
        gateway
            .set("log.level", "\"trace\"")
            .set("log.access", "\"all\"")
            .set(
                "dify.keys",
                "{ \"dify-shared-v1\" = \"sk-hidden-key-of-envelopes\" }",
            )
    })
    .await;
    let key = "sk-hidden-key-of-envelopes";
    let gateway = &stage.gateway;
    let mut secrets = Secrets::of([ENTERPRISE_SECRET, key, SECRET_KEY]);
    for email in ["eve@partner.example", "ada@example.com"] {
        let login = Login::begin(gateway, "eve-laptop").await;
        let begin = "/openapi/v1/oauth/device/sso-initiate?user_code=";
        gateway
            .get(&format!("{begin}{}", login.user_code), None)
            .await;
        reloads(gateway).await;
        let claims = assertion_claims(&login.user_code, email);
        let assertion = jws(SHARED_KID, key, &claims);
        let completed = completes(&assertion).send(gateway.addr()).await;
        completes(&assertion).send(gateway.addr()).await;
        completes(&format!("{assertion}x"))
            .send(gateway.addr())
            .await;
        secrets.add([&*assertion, claims["nonce"].as_str().unwrap()]);
        if completed.header("set-cookie").is_some() {
            let grant = Grant::from(&completed, &login.user_code);
            grant.context().send(gateway.addr()).await;
            grant
                .posts(Some("x"), &json!({}))
                .send(gateway.addr())
                .await;
            grant.approves().send(gateway.addr()).await;
            grant.approves().send(gateway.addr()).await;
            let token = login.polls(gateway).await.json()["token"].clone();
            let token = token.as_str().unwrap();
            for (method, path) in [("GET", ACCOUNT), ("GET", SESSIONS), ("DELETE", SELF)] {
                answers(gateway, method, path, token, 200).await;
            }
            answers(gateway, "GET", ACCOUNT, token, 401).await;
            secrets.add_token(token);
            secrets.add([&*grant.csrf, &*grant.cookie]);
        }
        secrets.add([&*login.user_code, &*login.device_code]);
    }
    for sent in service
        .requests()
        .iter()
        .filter(|sent| sent.method() == "POST")
    {
        let body: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
        secrets.add([body["signed_state"].as_str().unwrap()]);
    }
    // What fails is logged with its causes.
    service.on(
        "*",
        Behaviour::Raw(b"HTTP/1.1 200 OK\r\nX: sk-hidden-answer\r\n\r".to_vec()),
    );
    let login = Login::begin(gateway, "eve-phone").await;
    let begin = "/openapi/v1/oauth/device/sso-initiate?user_code=";
    gateway
        .get(&format!("{begin}{}", login.user_code), None)
        .await;
    service.on("*", Behaviour::CloseBeforeHeader);
    gateway
        .get(&format!("{begin}{}", login.user_code), None)
        .await;
    secrets.add([&*login.user_code, &*login.device_code, "sk-hidden-answer"]);
    let metrics = gateway.metrics().await;
    nothing_was_dropped(gateway).await;

    let printed = gateway.log_text();
    for event in [
        "oauth.device_flow_approved",
        "oauth.device_flow_rejected",
        "could not be begun",
    ] {
        assert!(printed.contains(event), "{event}");
    }
    secrets.are_nowhere_in(&[("log", &printed), ("metrics", &metrics)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_login_is_ever_printed() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = DedicatedRedis::start().await;
    database.dify_setup().await;
    let browser = Browser::of(database.account("ada@example.com", "Ada").await);
    let mut gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .redis(redis.space())
        .set("log.level", "\"trace\"")
        .set("log.access", "\"all\"")
        .start()
        .await;
    let mut secrets = Secrets::of([SECRET_KEY, &*browser.access, &*browser.csrf]);

    let mut tokens = Vec::new();
    // Twice on the same device: the second token replaces the first.
    for _ in 0..2 {
        let login = Login::begin(&gateway, "ada-laptop").await;
        let lookup = "/openapi/v1/oauth/device/lookup?user_code=";
        gateway
            .get(&format!("{lookup}{}", login.user_code), None)
            .await;
        login.polls(&gateway).await;
        login.polls(&gateway).await;
        reloads(&gateway).await;
        let asks = browser.asks_about(&login.user_code);
        assert_eq!(asks.send(gateway.addr()).await.status, 200);
        let stranger = Browser {
            csrf: format!("{}x", browser.csrf),
            ..browser.clone()
        };
        stranger
            .asks_about(&login.user_code)
            .send(gateway.addr())
            .await;
        stranger.approves(&gateway, &login.user_code).await;
        browser.approves(&gateway, &login.user_code).await;
        browser.denies(&gateway, &login.user_code).await;
        login.wait(redis.space()).await;
        let granted = login.polls(&gateway).await.json();
        let token = granted["token"].as_str().unwrap().to_owned();
        for path in [ACCOUNT, SESSIONS] {
            answers(&gateway, "GET", path, &token, 200).await;
        }
        secrets.add_token(&token);
        secrets.add([&*login.device_code, &*login.user_code]);
        tokens.push(token);
    }
    let [_, laptop] = &tokens[..] else {
        panic!("{tokens:?}")
    };
    let phone = logs_in(&gateway, &browser, &redis, "ada-phone", &mut secrets).await;
    let listed = answers(&gateway, "GET", SESSIONS, &phone, 200).await.json();
    let sessions = listed["data"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{listed}");
    let other = sessions
        .iter()
        .find(|session| session["device_label"] == "difyctl on ada-laptop");
    let path = format!("{SESSIONS}/{}", other.unwrap()["id"].as_str().unwrap());
    answers(&gateway, "DELETE", &path, &phone, 200).await;
    answers(&gateway, "GET", ACCOUNT, laptop, 401).await;
    answers(&gateway, "DELETE", SELF, &phone, 200).await;
    answers(&gateway, "DELETE", SELF, &phone, 401).await;
    let login = Login::begin(&gateway, "ada-tablet").await;
    redis.stop();
    browser.approves(&gateway, &login.user_code).await;
    login.polls(&gateway).await;
    secrets.add([&*login.device_code, &*login.user_code]);
    let [printed, metrics] = all_that_is_printed(&mut gateway).await;

    assert!(
        printed.contains("oauth.device_flow_approved"),
        "the log is there"
    );
    secrets.are_nowhere_in(&[("log", &printed), ("metrics", &metrics)]);
}
