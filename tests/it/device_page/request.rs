//! `GET …/device/request`: what the person who is to decide is told.

use serde_json::{Value, json};

use crate::support::{Browser, Login, Stage, request};

const PATH: &str = "/openapi/v1/oauth/device/request";

async fn set() -> (Stage, Browser) {
    let stage = Stage::set().await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    (stage, browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_person_is_told_who_asks_from_where_and_since_when() {
    let (stage, browser) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;

    let typed = login.user_code.to_lowercase().replace('-', "%20");
    let answer = stage.refuses(&browser.asks_about(&typed), 200).await;

    let mut told = answer.json();
    let state = login.state(&stage.redis).await.unwrap();
    let seconds = |value: Value, range: std::ops::RangeInclusive<u64>| {
        assert!(range.contains(&value.as_u64().unwrap()), "{value}");
    };
    seconds(told["expires_in_remaining"].take(), 840..=900);
    seconds(told["created_seconds_ago"].take(), 0..=60);
    let at = told["created_at"].take();
    let at = at.as_str().unwrap().strip_suffix('Z').unwrap();
    assert!(
        state["created_at"].as_str().unwrap().starts_with(at),
        "{at}"
    );
    assert_eq!(
        told,
        json!({
            "valid": true,
            "expires_in_remaining": null,
            "client_id": "difyctl",
            "device_label": "difyctl on ada-laptop",
            "created_ip": "127.0.0.1",
            "created_at": null,
            "created_seconds_ago": null,
            "same_address": null,
            "scopes": ["full"],
            "token_expires_in": 14 * 86_400,
        })
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_cannot_be_decided_tells_no_more_than_a_lookup() {
    let (stage, browser) = set().await;
    let decided = Login::begin(&stage.gateway, "ada-laptop").await;
    browser.denies(&stage.gateway, &decided.user_code).await;
    let long = "A".repeat(65);

    for code in ["ABCD-3456", "", "nonsense", &long, &decided.user_code] {
        let lookup = request(
            "GET",
            &PATH.replace("request", &format!("lookup?user_code={code}")),
        );
        let lookup = stage.refuses(&lookup, 200).await.json();
        let told = stage.refuses(&browser.asks_about(code), 200).await.json();
        for (name, value) in told.as_object().unwrap() {
            assert_eq!(
                value,
                lookup.get(name).unwrap_or(&Value::Null),
                "{code} {name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_console_session_is_told() {
    let (stage, browser) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let path = format!("{PATH}?user_code={}", login.user_code);
    let cookies = format!(
        "access_token={}; csrf_token={}",
        browser.access, browser.csrf
    );
    let strangers = [
        request("GET", &path),
        request("GET", &path).bearer(&stage.account.token),
        request("GET", &path).header("Cookie", &cookies),
        request("GET", &path)
            .header("Cookie", &cookies)
            .header("X-CSRF-Token", "x"),
        Browser::of(uuid::Uuid::new_v4()).asks_about(&login.user_code),
        browser
            .asks_about(&login.user_code)
            .header("Origin", "https://evil.example"),
    ];

    for stranger in &strangers {
        let answer = stage.refuses(stranger, 401).await;
        assert!(!answer.text().contains("difyctl"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_no_second_way_to_guess_codes() {
    let stage = Stage::with(|gateway| gateway.set("rate_limits.lookup", "\"2/1h\"")).await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);

    let lookup = request(
        "GET",
        &PATH.replace("request", "lookup?user_code=ABCD-3456"),
    );
    stage.refuses(&lookup, 200).await;
    stage.refuses(&browser.asks_about("ABCD-3456"), 200).await;
    let limited = stage.refuses(&browser.asks_about("ABCD-3456"), 429).await;
    assert!(limited.header("retry-after").is_some());
    // Who is nobody does not use the bucket up for the others behind the same address.
    stage.refuses(&request("GET", PATH), 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_said_to_be_another_where_it_is() {
    let stage =
        Stage::with(|gateway| gateway.set("server.trusted_proxies", r#"["127.0.0.1/32"]"#)).await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    let login = Login::begin(&stage.gateway, "ada-laptop").await;

    let elsewhere = browser
        .asks_about(&login.user_code)
        .header("X-Forwarded-For", "203.0.113.7");
    let told = stage.refuses(&elsewhere, 200).await.json();

    assert_eq!(told["created_ip"], "127.0.0.1");
    assert_eq!(told["same_address"], false);
}
