//! Approving and denying: a person at Dify's console, and whoever pretends to be one.

mod races;
mod sparing;
mod unheard;

use serde_json::{Value, json};

use crate::support::{Browser, Login, Stage, jwt, request, unix_now};

const APPROVE: &str = "/openapi/v1/oauth/device/approve";
const DENY: &str = "/openapi/v1/oauth/device/deny";

/// The usual cast, with a Dify that has been set up, and a person at its console.
async fn set() -> (Stage, Browser) {
    let stage = Stage::set().await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    (stage, browser)
}

/// Approves and fetches; what the device got.
async fn logs_in(stage: &Stage, browser: &Browser, host: &str) -> Value {
    let login = Login::begin(&stage.gateway, host).await;
    let approved = browser.approves(&stage.gateway, &login.user_code).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    let granted = login.polls(&stage.gateway).await;
    assert_eq!(granted.status, 200, "{granted:?}");
    granted.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_console_session_approves() {
    let (stage, browser) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let (exp, id) = (unix_now() + 3_600, stage.account_id);
    let with_access = |claims: Value| Browser {
        access: jwt(&claims),
        csrf: browser.csrf.clone(),
    };
    let strangers = [
        with_access(json!({"user_id": id, "exp": unix_now() - 1})),
        with_access(json!({"user_id": id})),
        with_access(json!({"exp": exp})),
        with_access(json!({"user_id": "ada", "exp": exp})),
        with_access(json!({"user_id": id, "exp": exp, "token_source": "webapp"})),
        with_access(json!({"user_id": id, "exp": exp, "aud": "api.gateway.identity"})),
        with_access(json!({"user_id": uuid::Uuid::nil(), "exp": exp})),
        Browser {
            access: format!("{}x", browser.access),
            csrf: browser.csrf.clone(),
        },
        Browser::of(uuid::Uuid::new_v4()),
    ];
    let mut requests: Vec<_> = strangers
        .iter()
        .map(|stranger| stranger.posts(APPROVE, &login.user_code))
        .collect();
    let body = json!({"user_code": login.user_code});
    requests.push(request("POST", APPROVE).json(&body));
    // Only the cookie counts.
    requests.push(request("POST", APPROVE).bearer(&browser.access).json(&body));

    for request in &requests {
        let response = stage.refuses(request, 401).await;
        let body = response.json();
        assert_eq!(body["code"], "unauthorized", "{body}");
    }
    let response = stage.refuses(requests.last().unwrap(), 401).await;
    assert_eq!(
        response.text(),
        r#"{"code": "unauthorized", "message": "Unauthorized."}"#
    );
    assert_eq!(
        login.state(&stage.redis).await.unwrap()["status"],
        "pending"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_act_does_not_approve() {
    let (stage, browser) = set().await;
    let approves = browser.posts(APPROVE, "ABCD-3456");

    for status in ["banned", "closed"] {
        stage
            .database
            .set_account_status(stage.account_id, status)
            .await;
        let response = stage.refuses(&approves, 401).await;
        assert_eq!(response.json()["message"], "Unauthorized.");
    }
    stage
        .database
        .set_account_status(stage.account_id, "uninitialized")
        .await;
    let response = stage.refuses(&approves, 400).await;
    assert_eq!(response.json()["code"], "account_not_initialized");
    stage
        .database
        .set_account_status(stage.account_id, "active")
        .await;
    stage.refuses(&approves, 404).await;
    let client = stage.database.client().await;
    client
        .execute("DELETE FROM tenant_account_joins", &[])
        .await
        .unwrap();
    stage.refuses(&approves, 401).await;
    client
        .execute("DELETE FROM dify_setups", &[])
        .await
        .unwrap();
    let response = stage.refuses(&approves, 401).await;
    assert_eq!(response.json()["code"], "not_setup");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_csrf_token_must_be_the_sessions_own_and_sent_twice() {
    let (stage, browser) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let (exp, id) = (unix_now() + 3_600, stage.account_id);
    let post = |cookie: Option<&str>, header: Option<&str>| {
        let cookie = cookie.map_or(String::new(), |csrf| format!("; csrf_token={csrf}"));
        let request = request("POST", APPROVE)
            .header(
                "Cookie",
                &format!("access_token={}{cookie}", browser.access),
            )
            .json(&json!({"user_code": login.user_code}));
        match header {
            Some(csrf) => request.header("X-CSRF-Token", csrf),
            None => request,
        }
    };
    let good = browser.csrf.as_str();
    let (stale, others, endless) = (
        jwt(&json!({"sub": id, "exp": unix_now() - 1})),
        jwt(&json!({"sub": uuid::Uuid::new_v4(), "exp": exp})),
        jwt(&json!({"sub": id})),
    );

    for (cookie, header) in [
        (None, None),
        (Some(good), None),
        (None, Some(good)),
        (Some(good), Some("")),
        (Some(""), Some("")),
        (Some("x"), Some("x")),
        (Some(good), Some(others.as_str())),
        (Some(&stale), Some(stale.as_str())),
        (Some(&others), Some(others.as_str())),
        (Some(&endless), Some(endless.as_str())),
        (Some(&browser.access), Some(browser.access.as_str())),
    ] {
        let response = stage.refuses(&post(cookie, header), 401).await;
        assert_eq!(
            response.json()["message"],
            "CSRF token is missing or invalid."
        );
    }
    stage.refuses(&post(Some(good), Some(good)), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_origin_is_refused_and_the_consoles_and_ours_are_not() {
    let stage =
        Stage::with(|gateway| gateway.set("dify.console_web_url", r#""https://console.example""#));
    let stage = stage.await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    let from = |name: &str, value: &str| browser.posts(DENY, "ABCD-3456").header(name, value);

    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", ""),
        ("Origin", "https://console.example.evil.example"),
        ("Origin", "http://console.example"),
        ("Referer", "https://evil.example/https://console.example/"),
        ("Referer", "not a URL"),
        ("Origin", "https://console.example@evil.example"),
        ("Referer", "https://console.example@evil.example/device"),
        ("Origin", r"https://evil.example\@console.example"),
        ("Origin", r"https://evil.example\.console.example"),
        ("Origin", "https://console.example:8443"),
        ("Origin", "https://console.example."),
        ("Origin", "https://CONSOLE.EXAMPLE."),
        ("Origin", "wss://console.example"),
        ("Origin", "NULL"),
        ("Origin", "blob:null"),
        ("Origin", "filesystem:https://console.example/x"),
        ("Origin", "https://console.example https://evil.example"),
        ("Origin", "https://console.example, https://evil.example"),
        ("Origin", "http://gateway.test:81"),
        ("Origin", "http://gateway.test."),
    ] {
        stage.refuses(&from(name, value), 401).await;
    }
    let twice = from("Origin", "https://evil.example").header("Origin", "https://console.example");
    stage.refuses(&twice, 401).await;
    // An unknown code is 404: the person was recognised.
    for (name, value) in [
        ("Origin", "https://console.example"),
        ("Referer", "https://console.example/device?user_code=x"),
        ("Origin", "http://gateway.test"),
        ("X-Nothing", "x"),
    ] {
        stage.refuses(&from(name, value), 404).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_have_the_host_prefix_where_dify_gives_it_to_them() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("dify.console_web_url", r#""https://console.example""#)
            .set("dify.console_api_url", r#""https://console.example""#)
    });
    let stage = stage.await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);

    stage.refuses(&browser.posts(DENY, "ABCD-3456"), 401).await;
    let cookies = format!(
        "__Host-access_token={}; __Host-csrf_token={}",
        browser.access, browser.csrf
    );
    let prefixed = request("POST", DENY)
        .header("Cookie", &cookies)
        .header("X-CSRF-Token", &browser.csrf)
        .json(&json!({"user_code": "ABCD-3456"}));
    stage.refuses(&prefixed, 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_comes_twice_is_nobodys() {
    let (stage, browser) = set().await;
    let Browser { access, csrf } = &browser;
    let once = format!("access_token={access}; csrf_token={csrf}");
    let post = || {
        let request = request("POST", DENY).header("X-CSRF-Token", csrf);
        request.json(&json!({"user_code": "ABCD-3456"}))
    };

    stage.refuses(&post().header("Cookie", &once), 404).await;
    for twice in [
        format!("{once}; access_token={access}"),
        format!("access_token=x; {once}"),
        format!("{once}; csrf_token={csrf}"),
    ] {
        stage.refuses(&post().header("Cookie", &twice), 401).await;
    }
    // Two fields are one list of cookies (RFC 9113 section 8.2.3): the same there.
    let lines = post()
        .header("Cookie", &once)
        .header("Cookie", "access_token=x");
    stage.refuses(&lines, 401).await;
    let parted = post()
        .header("Cookie", &format!("access_token={access}"))
        .header("Cookie", &format!("csrf_token={csrf}"));
    stage.refuses(&parted, 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_answers_is_difys() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("tokens.enabled", "false")
            .set("rate_limits.approve", "\"2/1h\"")
    });
    let (off, (on, browser)) = (stage.await, set().await);
    off.database.dify_setup().await;
    let bad = |browser: &Browser| {
        request("POST", APPROVE)
            .header(
                "Cookie",
                &format!(
                    "access_token={}; csrf_token={}",
                    browser.access, browser.csrf
                ),
            )
            .header("X-CSRF-Token", &browser.csrf)
            .header("Content-Type", "text/plain")
            .body("user_code=ABCD-3456")
    };

    off.refuses(&request("POST", APPROVE), 401).await;
    off.refuses(&bad(&Browser::of(off.account_id)), 503).await;
    for _ in 0..10 {
        let response = on.refuses(&bad(&browser), 400).await;
        assert_eq!(response.json()["code"], "bad_request");
        assert_eq!(response.json().get("error"), None);
    }
    on.refuses(&bad(&browser), 429).await;
    on.refuses(&request("POST", APPROVE), 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_device_keeps_its_row_and_its_old_token_ends_at_once() {
    let (stage, browser) = set().await;
    let apps =
        |token: &Value| request("GET", "/openapi/v1/apps").bearer(token["token"].as_str().unwrap());
    let first = logs_in(&stage, &browser, "ada-laptop").await;
    stage.forwards(&apps(&first)).await;

    let second = logs_in(&stage, &browser, "ada-laptop").await;

    assert_eq!(second["token_id"], first["token_id"]);
    stage.refuses(&apps(&first), 401).await;
    stage.forwards(&apps(&second)).await;
    let phone = logs_in(&stage, &browser, "ada-phone").await;
    assert_ne!(phone["token_id"], first["token_id"]);
    stage.forwards(&apps(&second)).await;
    let audit = stage.gateway.audit_events("oauth.device_flow_approved");
    let rotated: Vec<_> = audit
        .iter()
        .map(|line| {
            crate::support::Gateway::log_field(line, "rotated")
                .unwrap()
                .clone()
        })
        .collect();
    assert_eq!(rotated, [json!(false), json!(true), json!(false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_audited_with_what_an_auditor_asks_for() {
    let (stage, browser) = set().await;
    let granted = logs_in(&stage, &browser, "ada-laptop").await;
    let login = Login::begin(&stage.gateway, "ada-phone").await;
    browser.denies(&stage.gateway, &login.user_code).await;

    let field = |line: &Value, name: &str| {
        crate::support::Gateway::log_field(line, name)
            .cloned()
            .unwrap_or_default()
    };
    let approved = &stage.gateway.audit_events("oauth.device_flow_approved")[0];
    for (name, value) in [
        ("token_id", granted["token_id"].clone()),
        ("subject_type", json!("account")),
        ("subject_email", json!("ada@example.com")),
        ("account_id", json!(stage.account_id)),
        ("tenant_id", granted["default_workspace_id"].clone()),
        ("client_id", json!("difyctl")),
        ("device_label", json!("difyctl on ada-laptop")),
        ("scopes", json!("full")),
        ("expires_at", granted["expires_at"].clone()),
    ] {
        assert_eq!(field(approved, name), value, "{name}");
    }
    let denied = &stage.gateway.audit_events("oauth.device_flow_denied")[0];
    assert_eq!(field(denied, "device_label"), "difyctl on ada-phone");
    assert_eq!(field(denied, "subject_email"), "ada@example.com");
    let log = stage.gateway.log_text();
    for secret in [
        granted["token"].as_str().unwrap(),
        &login.device_code,
        &login.user_code,
    ] {
        assert!(!log.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_tokens_life_is_what_the_configuration_says() {
    let stage = Stage::with(|gateway| gateway.set("tokens.ttl_days", "3")).await;
    stage.database.dify_setup().await;

    let granted = logs_in(&stage, &Browser::of(stage.account_id), "ada-laptop").await;

    let expires_in = granted["expires_in"].as_i64().unwrap();
    assert!(
        (3 * 86_400 - 60..=3 * 86_400).contains(&expires_in),
        "{expires_in}"
    );
}
