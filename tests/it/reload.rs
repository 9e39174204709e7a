//! `SIGHUP`: what changes at once, what needs a restart, and what changes nothing.

mod routes;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::{Browser, Gateway, Login, SECRET_KEY, Stage, assert_eventually, request};

const CODE: &str = "/openapi/v1/oauth/device/code";

/// Changes the gateway's file and has it read again.
fn rewrite(gateway: &Gateway, change: impl FnOnce(String) -> String) {
    let path = gateway.config_path();
    let file = std::fs::read_to_string(&path).unwrap();
    let changed = change(file.clone());
    assert_ne!(file, changed);
    std::fs::write(path, changed).unwrap();
    gateway.reload();
}

/// Like [`rewrite`], and waits until the change is in force.
async fn reloads(gateway: &Gateway, from: &str, to: &str) {
    changes(gateway, |file| file.replace(from, to)).await;
}

/// Like [`reloads`], for any change.
async fn changes(gateway: &Gateway, change: impl FnOnce(String) -> String) {
    let times = || gateway.log_text().matches("is in force").count();
    let before = times();
    rewrite(gateway, change);
    assert_eventually!(times() > before, "the file is read again");
}

/// Whether the log has named a key as taking a restart.
fn takes_a_restart(gateway: &Gateway, key: &str) -> bool {
    gateway.log_lines().iter().any(|line| {
        let message = Gateway::log_field(line, "message").and_then(Value::as_str);
        Gateway::log_field(line, "key").is_some_and(|named| named == key)
            && message.is_some_and(|message| message.contains("takes a restart"))
    })
}

/// The kid of the identity that goes with a hot token.
async fn identity_kid(stage: &Stage) -> Value {
    let apps = request("GET", "/openapi/v1/apps").bearer(&stage.account.token);
    assert_eq!(apps.send(stage.gateway.addr()).await.status, 200);
    let seen = stage.upstream.take_requests();
    let jws = seen[0].header("x-dify-identity").unwrap();
    let header = URL_SAFE_NO_PAD
        .decode(jws.split('.').next().unwrap())
        .unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_set_signs_identities_with_its_active_key_from_then_on() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("forward.identity", "\"signed\"")
            .set("token_cache.untracked_ttl", "\"60s\"")
            .set("dify.keys", r#"{ "a" = "first", "b" = "second" }"#)
            .set("dify.active_kid", r#""a""#)
    })
    .await;
    assert_eq!(identity_kid(&stage).await, "a");

    reloads(&stage.gateway, r#"active_kid = "a""#, r#"active_kid = "b""#).await;

    // The token is hot, and the identity that was made for it is of the old key.
    assert_eq!(identity_kid(&stage).await, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_key_ends_console_sessions_of_the_old_one() {
    let stage = Stage::set().await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    let login = Login::begin(&stage.gateway, "ada-laptop").await;

    reloads(&stage.gateway, SECRET_KEY, "another").await;
    assert_eq!(
        browser
            .denies(&stage.gateway, &login.user_code)
            .await
            .status,
        401
    );
    reloads(&stage.gateway, "\"another\"", &format!("\"{SECRET_KEY}\"")).await;
    assert_eq!(
        browser
            .denies(&stage.gateway, &login.user_code)
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_per_token_changes_at_once_leases_and_all() {
    let stage = Stage::with(|gateway| gateway.set("rate_limits.bearer", r#""1000/1h""#)).await;
    let apps = request("GET", "/openapi/v1/apps").bearer(&stage.account.token);
    for _ in 0..20 {
        stage.forwards(&apps).await;
    }

    reloads(&stage.gateway, r#""1000/1h""#, r#""20/1h""#).await;
    let limited = stage.refuses(&apps, 429).await;
    assert_eq!(
        limited.header("ratelimit-policy"),
        Some("\"bearer\";q=20;w=3600")
    );
    reloads(&stage.gateway, r#""20/1h""#, r#""22/1h""#).await;
    stage.forwards(&apps).await;
    stage.forwards(&apps).await;
    stage.refuses(&apps, 429).await;
    reloads(&stage.gateway, r#""22/1h""#, r#""0""#).await;
    stage.forwards(&apps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_clients_and_the_log_level_change_at_once() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("device_flow.known_client_ids", r#"["difyctl"]"#)
            .set("rate_limits.device_code", r#""2/1h""#)
            .set("log.level", r#""info""#)
    })
    .await;
    let asks = |client: &str| {
        request("POST", CODE).json(&json!({"client_id": client, "device_label": "x"}))
    };
    stage.refuses(&asks("other"), 400).await;
    stage.refuses(&asks("difyctl"), 200).await;
    stage.refuses(&asks("difyctl"), 429).await;

    reloads(&stage.gateway, r#"["difyctl"]"#, r#"["other"]"#).await;
    reloads(&stage.gateway, r#""2/1h""#, r#""50/1h""#).await;

    stage.refuses(&asks("other"), 200).await;
    stage.refuses(&asks("difyctl"), 400).await;

    // At `error` the gateway does not say that it has read the file; later it does again.
    rewrite(&stage.gateway, |file| {
        file.replace(r#"level = "info""#, r#"level = "error""#)
            .replace(r#""50/1h""#, r#""60/1h""#)
    });
    let policy = || async {
        let answer = asks("other").send(stage.gateway.addr()).await;
        answer.header("ratelimit-policy").unwrap().to_owned()
    };
    assert_eventually!(policy().await.contains("q=60"), "the limit is in force");
    let silent = stage.gateway.log_text().matches("is in force").count();
    reloads(&stage.gateway, r#"level = "error""#, r#"level = "info""#).await;
    let heard = stage.gateway.log_text().matches("is in force").count();
    assert_eq!(heard, silent + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_needs_a_restart_is_named_and_one_that_does_not_is_not() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("rate_limits.lookup", r#""60/5m""#)
            .set("tokens.ttl_days", "14")
    })
    .await;

    rewrite(&stage.gateway, |file| {
        file.replace("ttl_days = 14", "ttl_days = 3")
            .replace(r#"lookup = "60/5m""#, r#"lookup = "61/5m""#)
    });

    assert_eventually!(
        takes_a_restart(&stage.gateway, "tokens.ttl_days"),
        "the key is named"
    );
    assert!(!takes_a_restart(&stage.gateway, "rate_limits.lookup"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secrets_file_with_something_else_in_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "hidden-first").unwrap();
    let stage = Stage::with(|gateway| {
        gateway
            .set("enterprise.secret_key", &format!("{{ file = {file:?} }}"))
            .set("rate_limits.lookup", r#""60/5m""#)
    })
    .await;
    let key = "enterprise.secret_key";

    reloads(&stage.gateway, r#""60/5m""#, r#""61/5m""#).await;
    assert!(!takes_a_restart(&stage.gateway, key), "it is the same");
    std::fs::write(&file, "hidden-second").unwrap();
    reloads(&stage.gateway, r#""61/5m""#, r#""62/5m""#).await;

    assert!(takes_a_restart(&stage.gateway, key));
    assert!(!stage.gateway.log_text().contains("hidden"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_changes_nothing_and_says_why() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("forward.identity", "\"signed\"")
            .set(
                "dify.keys",
                r#"{ "a" = "first-hidden", "b" = "second-hidden" }"#,
            )
            .set("dify.active_kid", r#""a""#)
            .set("rate_limits.device_code", r#""1/1h""#)
    })
    .await;
    let good = std::fs::read_to_string(stage.gateway.config_path()).unwrap();
    let refusals = || {
        stage
            .gateway
            .log_text()
            .matches("nothing has changed")
            .count()
    };

    for (from, to, why) in [
        (
            r#"active_kid = "a""#,
            r#"active_kid = "c""#,
            "dify.active_kid",
        ),
        (r#""b" = "second-hidden""#, r#""b" = """#, "dify.keys"),
        (r#""1/1h""#, r#""many""#, "rate_limits.device_code"),
        ("[dify]", "[dify", "config.toml"),
        (
            "[dify]\n",
            "[[routes]]\nmatch = \"/inner/api\"\npolicy = \"pass\"\n[dify]\n",
            "unsafe = true",
        ),
    ] {
        let before = refusals();
        // A limit that is valid comes along, and is not taken either.
        let broken = good.replace(from, to).replace(r#""1/1h""#, r#""9/1h""#);
        rewrite(&stage.gateway, |_| broken);
        assert_eventually!(refusals() > before, "{why}");
        assert!(stage.gateway.log_text().contains(why), "{why}");
        std::fs::write(stage.gateway.config_path(), &good).unwrap();
    }

    assert_eq!(identity_kid(&stage).await, "a");
    let asks = || request("POST", CODE).json(&json!({"client_id": "difyctl", "device_label": "x"}));
    stage.refuses(&asks(), 200).await;
    stage.refuses(&asks(), 429).await;
    assert!(!stage.gateway.log_text().contains("hidden"));
    std::fs::remove_file(stage.gateway.config_path()).unwrap();
    let before = refusals();
    stage.gateway.reload();
    assert_eventually!(refusals() > before, "the file is gone");
}
