//! Limits on the local endpoints: whose requests are counted together, and what they are told.

use serde_json::json;

use crate::support::{Browser, NewToken, RequestBuilder, Response, Stage, request};

const CODE: &str = "/openapi/v1/oauth/device/code";
const LOOKUP: &str = "/openapi/v1/oauth/device/lookup?user_code=ABCD-3456";
const ACCOUNT: &str = "/openapi/v1/account";

fn code() -> RequestBuilder {
    let body = json!({"client_id": "difyctl", "device_label": "x"});
    request("POST", CODE).json(&body)
}

/// The numbers of `RateLimit`: what is left, and for how many seconds.
fn standing(response: &Response) -> (u32, u32) {
    let text = response.header("ratelimit").unwrap();
    let number = |name: &str| {
        let (_, rest) = text.split_once(name).unwrap();
        rest.split(';').next().unwrap().parse().unwrap()
    };
    (number("r="), number("t="))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_told_where_they_stand_and_when_to_come_back() {
    let stage = Stage::with(|gateway| gateway.set("rate_limits.device_code", "\"2/1h\"")).await;

    for left in [1, 0] {
        let response = stage.refuses(&code(), 200).await;
        assert_eq!(
            response.header("ratelimit-policy"),
            Some("\"device_code\";q=2;w=3600")
        );
        let (remaining, seconds) = standing(&response);
        assert_eq!(remaining, left);
        assert!((3_590..=3_600).contains(&seconds), "{seconds}");
    }
    let keys = stage.redis.count_keys().await;
    let response = stage.refuses(&code(), 429).await;

    assert_eq!(response.json()["code"], "too_many_requests");
    let seconds: u32 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((3_590..=3_600).contains(&seconds), "{seconds}");
    assert_eq!(standing(&response), (0, seconds));
    assert_eq!(stage.redis.count_keys().await, keys);
    // An alias is the same bucket, another limit is another.
    let body = json!({"client_id": "difyctl", "device_label": "x"});
    let alias = request("POST", "/v1/oauth/device/code").json(&body);
    stage.refuses(&alias, 429).await;
    let response = stage.refuses(&request("GET", LOOKUP), 200).await;
    assert_eq!(
        response.header("ratelimit-policy"),
        Some("\"lookup\";q=60;w=300")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_never_overshoot() {
    let stage = Stage::with(|gateway| gateway.set("rate_limits.lookup", "\"10/1h\"")).await;
    let gateway = stage.gateway.addr();

    let lookups: Vec<_> = (0..40)
        .map(|_| tokio::spawn(async move { request("GET", LOOKUP).send(gateway).await.status }))
        .collect();
    let mut admitted = 0;
    for lookup in lookups {
        admitted += usize::from(lookup.await.unwrap() == 200);
    }

    assert_eq!(admitted, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_believed_from_trusted_proxies_alone() {
    let limit =
        |gateway: crate::support::GatewayBuilder| gateway.set("rate_limits.lookup", "\"1/1h\"");
    let stranger = Stage::with(limit).await;
    let trusted =
        Stage::with(|gateway| limit(gateway).set("server.trusted_proxies", r#"["127.0.0.1/32"]"#));
    let trusted = trusted.await;
    let from = |address: &str| request("GET", LOOKUP).header("X-Forwarded-For", address);

    stranger.refuses(&from("203.0.113.7"), 200).await;
    stranger.refuses(&from("203.0.113.8"), 429).await;
    assert!(stranger.redis.ttl("rl:lookup:ip:127.0.0.1").await > 0);
    trusted.refuses(&from("203.0.113.7"), 200).await;
    trusted.refuses(&from("203.0.113.7"), 429).await;
    trusted.refuses(&from("203.0.113.8"), 200).await;
    // One subscriber has a whole /64.
    trusted.refuses(&from("2001:db8:1:2::1"), 200).await;
    trusted.refuses(&from("2001:db8:1:2:ffff::9"), 429).await;
    trusted.refuses(&from("2001:db8:1:3::1"), 200).await;
    // What is no text is no address: what stands before it was the client's to write.
    let hidden = from("9.9.9.9").header("X-Forwarded-For", "é");
    trusted.refuses(&hidden, 200).await;
    assert!(trusted.redis.ttl("rl:lookup:ip:9.9.9.9").await < 0);
    assert!(trusted.redis.ttl("rl:lookup:ip:127.0.0.1").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_everywhere_raise_the_alarm_and_refuse_nobody() {
    let trusted = |gateway: crate::support::GatewayBuilder| {
        gateway.set("server.trusted_proxies", r#"["127.0.0.1/32"]"#)
    };
    let stage = Stage::with(trusted).await;
    let guess = |n: u16| {
        let address = format!("203.0.113.{}", n % 100);
        let path = "/openapi/v1/oauth/device/lookup?user_code=ABCD-3456";
        request("GET", path).header("X-Forwarded-For", &address)
    };
    for n in 0..500 {
        stage.refuses(&guess(n), 200).await;
    }
    assert_eq!(
        stage
            .gateway
            .metric("difygate_user_code_alarms_total")
            .await,
        0.0
    );

    // One more than the budget, from an address that has guessed five times.
    stage.refuses(&guess(0), 200).await;

    assert_eq!(
        stage
            .gateway
            .metric("difygate_user_code_alarms_total")
            .await,
        1.0
    );
    assert_eq!(
        stage
            .gateway
            .metric("difygate_user_code_guesses_total")
            .await,
        501.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_are_counted_by_account() {
    let stage = Stage::with(|gateway| gateway.set("rate_limits.approve", "\"1/1h\"")).await;
    stage.database.dify_setup().await;
    let bob = stage.database.account("bob@example.com", "Bob").await;
    let denies = |account| Browser::of(account).posts("/openapi/v1/oauth/device/deny", "ABCD-3456");

    stage.refuses(&denies(stage.account_id), 404).await;
    stage.refuses(&denies(stage.account_id), 429).await;
    stage.refuses(&denies(bob), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_read_by_account_and_the_others_by_email() {
    let stage = Stage::with(|gateway| gateway.set("rate_limits.account", "\"1/1h\"")).await;
    let same = NewToken::account(stage.account_id, "ada@example.com");
    let same = stage.database.insert_token(&same).await;
    let reads = |token: &str| request("GET", ACCOUNT).bearer(token);

    stage.refuses(&reads(&stage.account.token), 200).await;
    stage.refuses(&reads(&same.token), 429).await;
    stage.refuses(&reads(&stage.external.token), 200).await;
    stage.refuses(&reads(&stage.external.token), 429).await;
    // A refused token counts against nobody.
    let keys = stage.redis.keys().await;
    let windows: Vec<_> = keys.iter().filter(|key| key.starts_with("rl:")).collect();
    assert_eq!(windows.len(), 2, "{windows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_uses_up_nobodys_limit() {
    const APP: &str = "https://app.example.com";
    let stage = Stage::with(|gateway| {
        gateway
            .set("rate_limits.device_code", "\"3/1h\"")
            .set("rate_limits.lookup", "\"3/1h\"")
            .set("server.cors_allow_origins", &format!("[\"{APP}\"]"))
    })
    .await;
    let lookup = || request("GET", LOOKUP);
    let elsewhere = |asked: RequestBuilder| asked.header("Sec-Fetch-Site", "cross-site");
    for _ in 0..3 {
        for asked in [code(), lookup()] {
            // As `fetch` sends it, as an image does, and as a form in a window of its own.
            let fetched = elsewhere(asked.clone()).header("Origin", "https://evil.example.com");
            let image = elsewhere(asked.clone()).header("Sec-Fetch-Mode", "no-cors");
            let window = elsewhere(asked)
                .header("Sec-Fetch-Mode", "navigate")
                .header("Sec-Fetch-Dest", "document");
            for asked in [fetched, image, window] {
                let response = stage.refuses(&asked, 403).await;
                assert_eq!(response.json()["code"], "forbidden");
                assert_eq!(response.header("ratelimit"), None);
            }
        }
    }
    for asked in [code(), lookup()] {
        let response = stage.refuses(&asked, 200).await;
        assert_eq!(standing(&response).0, 2, "nothing has been counted");
        let near = asked.clone().header("Sec-Fetch-Site", "same-origin");
        stage.refuses(&near, 200).await;
        stage
            .refuses(&elsewhere(asked).header("Origin", APP), 200)
            .await;
    }
}
