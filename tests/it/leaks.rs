//! Nothing that is secret reaches a log, a metric or an error, at the most talkative level.

mod commands;
mod process;

use serde_json::json;

use crate::support::{
    Behaviour, Browser, Database, DedicatedRedis, ENTERPRISE_SECRET, Gateway, Grant, IssuedToken,
    Login, NewToken, SECRET_KEY, SHARED_KID, Upstream, assertion_claims, completes,
    enterprise_stage, jws, redis_fixture, request,
};

const SECRET: &str = "sk-leak-test-0123456789";
const PASSWORD: &str = "pw-leak-test-0123456789";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_printed() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = DedicatedRedis::start().await;
    let account = database.account("ada@example.com", "Ada").await;
    let new = || NewToken::account(account, "ada@example.com");
    let live = database.insert_token(&new()).await;
    let expired = database.insert_token(&new().expired()).await;
    let orphan = database.insert_token(&new()).await;
    let client = database.client().await;
    let sql = "UPDATE oauth_access_tokens SET account_id = NULL WHERE id = $1";
    client.execute(sql, &[&orphan.id]).await.unwrap();
    let external = NewToken::external("eve@partner.example", "https://idp.partner.example");
    let external = database.insert_token(&external).await;
    let unknown = IssuedToken::unknown("dfoa_");
    let from_dify = database.insert_token(&new()).await;
    let key = format!("auth:token:{}", from_dify.hash);
    redis
        .space()
        .set_ex(&key, &redis_fixture("auth_token_account"), 60)
        .await;
    let mut gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .redis(redis.space())
        .set("dify.secret_key", &format!("\"{SECRET}\""))
        .set("postgres.password", &format!("\"{PASSWORD}\""))
        .set("forward.identity", "\"signed\"")
        .set("log.level", "\"trace\"")
        .set("log.access", "\"all\"")
        .set("postgres.timeout", "\"500ms\"")
        .start()
        .await;
    let tokens = [&live, &expired, &orphan, &external, &unknown, &from_dify];

    let mut answers = String::new();
    for token in tokens {
        for path in [
            "/openapi/v1/apps?code=hidden-query",
            "/v1/info",
            "/openapi/v1/apps/../x",
        ] {
            answers.push_str(&gateway.get(path, Some(&token.token)).await.text());
        }
        // Malformed in ways that make libraries quote what they read.
        for bad in ["\n", " : x\r\n", "\u{1}: x\r\n"] {
            let mut client = gateway.client().await;
            let head = format!(
                "GET /openapi/v1/apps HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nCookie: access_token=hidden-cookie{bad}\r\n",
                token.token
            );
            client.send(head.as_bytes()).await;
            client.finish_sending().await;
            let _ = client.is_closed(std::time::Duration::from_secs(2)).await;
        }
    }
    redis.stop();
    let after = database.insert_token(&new()).await;
    gateway.get("/openapi/v1/apps", Some(&after.token)).await;
    upstream.close_idle();
    let posted = request("POST", "/openapi/v1/apps")
        .bearer(&live.token)
        .body("hidden-body")
        .send(gateway.addr())
        .await;
    answers.push_str(&posted.text());
    answers.push_str(&gateway.metrics().await);
    let status = request("GET", "/status.json").header("Host", "localhost");
    let status = status.send(gateway.admin_addr()).await;
    assert!(status.json()["faults"][0]["times"].is_u64(), "{status:?}");
    answers.push_str(&status.text());
    gateway.terminate();
    gateway.wait_exit(std::time::Duration::from_secs(30)).await;

    let printed = gateway.log_text();
    assert!(printed.contains("oauth.token_expired"), "the log is there");
    let mut secrets = vec![
        SECRET.to_owned(),
        PASSWORD.to_owned(),
        "hidden-query".to_owned(),
        "hidden-cookie".to_owned(),
        "hidden-body".to_owned(),
    ];
    for token in tokens.into_iter().chain([&after]) {
        secrets.push(token.token[5..].to_owned());
        secrets.push(token.hash.clone());
    }
    for secret in secrets {
        for (place, text) in [("log", &printed), ("answers", &answers)] {
            let found = text.lines().find(|line| line.contains(&secret));
            assert_eq!(found, None, "{secret} is in the {place}");
        }
    }
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
    let mut secrets = vec![
        ENTERPRISE_SECRET.to_owned(),
        key.to_owned(),
        SECRET_KEY.to_owned(),
    ];
    for email in ["eve@partner.example", "ada@example.com"] {
        let login = Login::begin(gateway, "eve-laptop").await;
        let begin = "/openapi/v1/oauth/device/sso-initiate?user_code=";
        gateway
            .get(&format!("{begin}{}", login.user_code), None)
            .await;
        let claims = assertion_claims(&login.user_code, email);
        let assertion = jws(SHARED_KID, key, &claims);
        let completed = completes(&assertion).send(gateway.addr()).await;
        completes(&assertion).send(gateway.addr()).await;
        completes(&format!("{assertion}x"))
            .send(gateway.addr())
            .await;
        secrets.push(assertion);
        secrets.push(claims["nonce"].as_str().unwrap().to_owned());
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
            secrets.push(token.as_str().unwrap()[5..].to_owned());
            secrets.extend([grant.csrf, grant.cookie]);
        }
        secrets.extend([login.user_code, login.device_code]);
    }
    for sent in service
        .requests()
        .iter()
        .filter(|sent| sent.method() == "POST")
    {
        let body: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
        secrets.push(body["signed_state"].as_str().unwrap().to_owned());
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
    secrets.extend([login.user_code, "sk-hidden-answer".to_owned()]);
    gateway.reload();
    let metrics = gateway.metrics().await;

    let printed = gateway.log_text();
    for event in [
        "oauth.device_flow_approved",
        "oauth.device_flow_rejected",
        "could not be begun",
    ] {
        assert!(printed.contains(event), "{event}");
    }
    for secret in secrets {
        for (place, text) in [("log", &printed), ("metrics", &metrics)] {
            let found = text.lines().find(|line| line.contains(&secret));
            assert_eq!(found, None, "{secret} is in the {place}");
        }
    }
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
    let mut secrets = vec![browser.access.clone(), browser.csrf.clone()];

    // Twice on the same device: the second token replaces the first.
    for _ in 0..2 {
        let login = Login::begin(&gateway, "ada-laptop").await;
        let lookup = "/openapi/v1/oauth/device/lookup?user_code=";
        gateway
            .get(&format!("{lookup}{}", login.user_code), None)
            .await;
        login.polls(&gateway).await;
        login.polls(&gateway).await;
        let stranger = Browser {
            csrf: format!("{}x", browser.csrf),
            ..browser.clone()
        };
        stranger.approves(&gateway, &login.user_code).await;
        browser.approves(&gateway, &login.user_code).await;
        browser.denies(&gateway, &login.user_code).await;
        login.wait(redis.space()).await;
        let granted = login.polls(&gateway).await.json();
        let token = granted["token"].as_str().unwrap().to_owned();
        gateway
            .get("/openapi/v1/account/sessions", Some(&token))
            .await;
        secrets.extend([login.device_code, login.user_code, token[5..].to_owned()]);
    }
    let login = Login::begin(&gateway, "ada-phone").await;
    redis.stop();
    browser.approves(&gateway, &login.user_code).await;
    login.polls(&gateway).await;
    secrets.extend([login.device_code, login.user_code]);
    let metrics = gateway.metrics().await;
    gateway.terminate();
    gateway.wait_exit(std::time::Duration::from_secs(30)).await;

    let printed = gateway.log_text();
    assert!(
        printed.contains("oauth.device_flow_approved"),
        "the log is there"
    );
    for secret in secrets {
        for (place, text) in [("log", &printed), ("metrics", &metrics)] {
            let found = text.lines().find(|line| line.contains(&secret));
            assert_eq!(found, None, "{secret} is in the {place}");
        }
    }
}
