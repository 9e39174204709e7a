//! The device flow as devices see it: RFC 8628, Dify's own client, and Dify's own process on the
//! other side of the same stores.

mod bodies;
mod clients;
mod mixed;

use serde_json::{Value, json};

use crate::support::{Browser, Login, Stage, request};

const CODE: &str = "/openapi/v1/oauth/device/code";
const TOKEN: &str = "/openapi/v1/oauth/device/token";
const LOOKUP: &str = "/openapi/v1/oauth/device/lookup";

/// The usual cast, with a Dify that has been set up, and a person at its console.
async fn set() -> (Stage, Browser) {
    let stage = Stage::set().await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    (stage, browser)
}

/// The keys that are left, apart from windows and what is known about tokens.
async fn keys_of_logins(stage: &Stage) -> Vec<String> {
    let mut keys = stage.redis.keys().await;
    keys.retain(|key| !key.starts_with("rl:") && !key.starts_with("auth:token:"));
    keys
}

async fn looks_up(stage: &Stage, user_code: &str) -> Value {
    let lookup = request("GET", &format!("{LOOKUP}?user_code={user_code}"));
    stage.refuses(&lookup, 200).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_what_rfc_8628_says() {
    let (stage, _) = set().await;

    let body = json!({"client_id": "difyctl", "device_label": " difyctl on ada-laptop "});
    let response = stage.refuses(&request("POST", CODE).json(&body), 200).await;

    let code = response.json();
    let device_code = code["device_code"].as_str().unwrap();
    assert!(device_code.starts_with("dc_") && device_code.len() == 35);
    let user_code = code["user_code"].as_str().unwrap();
    assert_eq!((user_code.len(), user_code.find('-')), (9, Some(4)));
    assert_eq!(code["verification_uri"], "http://gateway.test/device");
    assert_eq!(
        (code["expires_in"].as_i64(), code["interval"].as_i64()),
        (Some(900), Some(5))
    );
    assert_eq!(code.get("verification_uri_complete"), None);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_has_exactly_difys_members_and_times() {
    let (stage, browser) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let (state_key, user_key) = (
        format!("device_code:{}", login.device_code),
        format!("user_code:{}", login.user_code),
    );

    let pending = stage.redis.get(&state_key).await.unwrap();
    assert!((895..=900).contains(&stage.redis.ttl(&state_key).await));
    assert!((895..=900).contains(&stage.redis.ttl(&user_key).await));
    let found = stage.redis.get(&user_key).await;
    assert_eq!(found.as_deref(), Some(login.device_code.as_str()));
    login.polls(&stage.gateway).await;
    let poll_key = format!("{state_key}:last_poll");
    let polled = stage.redis.get(&poll_key).await.unwrap();
    assert!(polled.parse::<f64>().unwrap() > 1e9, "{polled}");
    assert!((895..=900).contains(&stage.redis.ttl(&poll_key).await));
    browser.approves(&stage.gateway, &login.user_code).await;
    let approved = stage.redis.get(&state_key).await.unwrap();

    let members = |name: &str, text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        let members: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        (name.to_owned(), members)
    };
    for (name, text) in [("pending", &pending), ("approved", &approved)] {
        let fixture = crate::support::redis_fixture(&format!("device_code_{name}"));
        assert_eq!(members(name, text), members(name, &fixture));
        let (ours, difys): (Value, Value) = (
            serde_json::from_str(text).unwrap(),
            serde_json::from_str(&fixture).unwrap(),
        );
        if name == "approved" {
            let payload = |value: &Value| members(name, &value["poll_payload"].to_string());
            assert_eq!(payload(&ours), payload(&difys));
            assert_eq!(ours["minted_token"], ours["poll_payload"]["token"]);
        } else {
            assert_eq!(ours["poll_payload"], Value::Null);
            assert_eq!(ours["last_poll_at"], "");
        }
        assert_eq!(ours["status"], name);
    }
    assert_eq!(
        stage.redis.get(&format!("{state_key}:approving")).await,
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_is_pending_slow_down_granted_and_over() {
    let (stage, browser) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let error = |response: crate::support::Response| {
        assert_eq!(response.status, 400, "{response:?}");
        response.json()["error"].as_str().unwrap().to_owned()
    };

    assert_eq!(
        error(login.polls(&stage.gateway).await),
        "authorization_pending"
    );
    assert_eq!(error(login.polls(&stage.gateway).await), "slow_down");
    login.wait(&stage.redis).await;
    assert_eq!(
        error(login.polls(&stage.gateway).await),
        "authorization_pending"
    );
    let approved = browser.approves(&stage.gateway, &login.user_code).await;
    assert_eq!(
        (approved.status, approved.text()),
        (200, r#"{"status": "approved"}"#.into())
    );
    // Beats every other answer.
    assert_eq!(error(login.polls(&stage.gateway).await), "slow_down");
    login.wait(&stage.redis).await;
    assert_eq!(login.polls(&stage.gateway).await.status, 200);
    // Not `slow_down`: nothing is left.
    assert_eq!(error(login.polls(&stage.gateway).await), "expired_token");
    assert_eq!(keys_of_logins(&stage).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_login_is_denied_once_and_then_over() {
    let (stage, browser) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;

    let denied = browser.denies(&stage.gateway, &login.user_code).await;

    assert_eq!(
        (denied.status, denied.text()),
        (200, r#"{"status": "denied"}"#.into())
    );
    assert_eq!(
        login.polls(&stage.gateway).await.json()["error"],
        "access_denied"
    );
    assert_eq!(
        login.polls(&stage.gateway).await.json()["error"],
        "expired_token"
    );
    assert_eq!(keys_of_logins(&stage).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_polls_at_once_one_gets_the_token() {
    let (stage, browser) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    browser.approves(&stage.gateway, &login.user_code).await;
    let gateway = stage.gateway.addr();

    let polls: Vec<_> = (0..200)
        .map(|_| {
            let poll = login.poll();
            tokio::spawn(async move { poll.send(gateway).await })
        })
        .collect();
    let (mut granted, mut over) = (0, 0);
    for poll in polls {
        let response = poll.await.unwrap();
        match response.status {
            200 => granted += 1,
            // It was there half a second ago: whoever has it may take longer on a busy machine.
            400 if response.json()["error"] == "slow_down" => over += 1,
            400 if response.json()["error"] == "expired_token" => over += 1,
            _ => panic!("{response:?}"),
        }
    }

    assert_eq!((granted, over), (1, 199));
    assert_eq!(keys_of_logins(&stage).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clients_code_is_an_invalid_grant_and_nothing_changes() {
    let stage = Stage::with(|gateway| {
        gateway.set("device_flow.known_client_ids", r#"["difyctl", "other"]"#)
    });
    let stage = stage.await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let keys = stage.redis.keys().await;

    let body = json!({"client_id": "other", "device_code": login.device_code});
    let response = stage
        .refuses(&request("POST", TOKEN).json(&body), 400)
        .await;

    assert_eq!(response.json()["error"], "invalid_grant");
    assert_eq!(stage.redis.keys().await, keys);
    let pending = login.polls(&stage.gateway).await;
    assert_eq!(pending.json()["error"], "authorization_pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_malformed_codes_write_nothing() {
    let (stage, _) = set().await;
    let random = "A".repeat(32);

    for device_code in [
        format!("dc_{random}"),
        "x".into(),
        "dc_".into(),
        format!("dc_{random}x"),
        "auth:token:x".into(),
        // Full-width, of which some make the letters that they look like.
        format!("\u{ff44}\u{ff43}_{random}"),
        format!("dc_{}", "\u{ff21}".repeat(32)),
        // As long in bytes as a code is, though not in characters.
        format!("dc_{}", "\u{e9}".repeat(16)),
    ] {
        let body = json!({"client_id": "difyctl", "device_code": device_code});
        let response = stage
            .refuses(&request("POST", TOKEN).json(&body), 400)
            .await;
        assert_eq!(response.json()["error"], "expired_token", "{device_code}");
    }
    // Whatever cannot be read is nobody's login.
    let body = json!({"client_id": "difyctl", "device_code": format!("dc_{random}")});
    let key = format!("device_code:dc_{random}");
    for corrupt in ["", "{", "[]", "null", r#"{"status": "pending"}"#] {
        stage.redis.set_ex(&key, corrupt, 60).await;
        let response = stage
            .refuses(&request("POST", TOKEN).json(&body), 400)
            .await;
        assert_eq!(response.json()["error"], "expired_token", "{corrupt}");
    }
    assert_eq!(stage.redis.keys().await, [key]);
}

/// Some fold full-width characters to the ones that they look like (NFKC).
#[tokio::test(flavor = "multi_thread")]
async fn a_code_in_full_width_is_nobodys() {
    let (stage, _) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let wide = |code: &str| -> String {
        let widened = |it: char| char::from_u32(u32::from(it) + 0xfee0).unwrap();
        code.chars().map(widened).collect()
    };

    let body = json!({"client_id": "difyctl", "device_code": wide(&login.device_code)});
    let poll = request("POST", TOKEN).json(&body);
    let refused = stage.refuses(&poll, 400).await;
    assert_eq!(refused.json()["error"], "expired_token");
    let typed: String =
        url::form_urlencoded::byte_serialize(wide(&login.user_code).as_bytes()).collect();
    assert_eq!(looks_up(&stage, &typed).await["valid"], false);

    assert_eq!(looks_up(&stage, &login.user_code).await["valid"], true);
    let pending = login.polls(&stage.gateway).await;
    assert_eq!(pending.json()["error"], "authorization_pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_tells_what_anybody_may_know() {
    let (stage, browser) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let typed = login.user_code.to_lowercase().replace('-', "%20");

    for code in [&login.user_code, &typed] {
        let found = looks_up(&stage, code).await;
        assert_eq!(
            (&found["valid"], &found["client_id"]),
            (&json!(true), &json!("difyctl"))
        );
        let remaining = found["expires_in_remaining"].as_i64().unwrap();
        assert!((890..=900).contains(&remaining), "{remaining}");
    }
    let unknown = json!({"valid": false, "expires_in_remaining": 0, "client_id": null});
    for code in ["ABCD-3456", "x", "", "ABCD-0000", &"A".repeat(100)] {
        assert_eq!(looks_up(&stage, code).await, unknown, "{code}");
    }
    browser.denies(&stage.gateway, &login.user_code).await;
    let decided = json!({"valid": false, "expires_in_remaining": 0, "client_id": "difyctl"});
    assert_eq!(looks_up(&stage, &login.user_code).await, decided);
    let guesses = stage
        .gateway
        .metric("difygate_user_code_guesses_total")
        .await;
    assert!(guesses >= 3.0, "{guesses}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_says_where_codes_are_typed() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("dify.console_web_url", r#""https://console.example/""#)
            .set("device_flow.verification_uri_complete", "true")
    });
    let stage = stage.await;

    let body = json!({"client_id": "difyctl", "device_label": "x"});
    let response = stage.refuses(&request("POST", CODE).json(&body), 200).await;

    let code = response.json();
    assert_eq!(code["verification_uri"], "https://console.example/device");
    let complete = format!(
        "https://console.example/device?user_code={}",
        code["user_code"].as_str().unwrap()
    );
    assert_eq!(code["verification_uri_complete"], complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_what_scheme_the_client_spoke() {
    let uri = async |trusted: &str| {
        let trusted = trusted.to_owned();
        let stage = Stage::with(|gateway| gateway.set("server.trusted_proxies", &trusted)).await;
        let code = request("POST", CODE)
            .header("X-Forwarded-Proto", "https")
            .json(&json!({"client_id": "difyctl", "device_label": "x"}));
        stage.refuses(&code, 200).await.json()["verification_uri"].clone()
    };

    assert_eq!(
        uri(r#"["127.0.0.1/32"]"#).await,
        "https://gateway.test/device"
    );
    assert_eq!(uri("[]").await, "http://gateway.test/device");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_says_so() {
    let body = json!({"client_id": "difyctl", "device_label": "x"});
    let off = Stage::with(|gateway| gateway.set("device_flow.enabled", "false")).await;
    let disabled = Stage::with(|gateway| gateway.set("tokens.enabled", "false")).await;

    // A 404 means to difyctl that there is no device flow here.
    for path in [CODE, TOKEN] {
        off.refuses(&request("POST", path).json(&body), 404).await;
        let response = disabled
            .refuses(&request("POST", path).json(&body), 503)
            .await;
        assert_eq!(response.json()["code"], "bearer_auth_disabled");
    }
    // Sessions are no part of it.
    let sessions = request("GET", "/openapi/v1/account/sessions").bearer(&off.account.token);
    off.refuses(&sessions, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_503_and_nothing_is_lost() {
    let redis = crate::support::DedicatedRedis::start().await;
    let space = redis.space().clone();
    let stage = Stage::with(|gateway| gateway.redis(&space)).await;
    let body = json!({"client_id": "difyctl", "device_label": "x"});
    stage.refuses(&request("POST", CODE).json(&body), 200).await;

    redis.stop();

    let response = stage.refuses(&request("POST", CODE).json(&body), 503).await;
    assert!(response.header("retry-after").is_some());
    let unknown = json!({"client_id": "difyctl", "device_code": format!("dc_{}", "A".repeat(32))});
    stage
        .refuses(&request("POST", TOKEN).json(&unknown), 503)
        .await;
    stage
        .refuses(
            &request("GET", &format!("{LOOKUP}?user_code=ABCD-3456")),
            503,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_whole_logins_leave_nothing_but_windows_and_refusals() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("rate_limits.device_code", "\"1000/1h\"")
            .set("rate_limits.approve", "\"1000/1h\"")
            .set("rate_limits.account", "\"1000/1m\"")
            // Three quarters are for lookups, and nobody waits long for one.
            .set("postgres.pool_size", "32")
    });
    let stage = std::sync::Arc::new(stage.await);
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);

    let people: Vec<_> = (0..20)
        .map(|person| {
            let (stage, browser) = (std::sync::Arc::clone(&stage), browser.clone());
            tokio::spawn(async move {
                for login in 0..10 {
                    whole_login(&stage, &browser, &format!("host-{person}-{login}")).await;
                }
            })
        })
        .collect();
    for person in people {
        person.await.unwrap();
    }

    assert_eq!(keys_of_logins(&stage).await, Vec::<String>::new());
    for key in stage.redis.keys().await {
        if !key.starts_with("rl:") {
            let value = stage.redis.get(&key).await;
            assert!(value.is_none_or(|value| value == "invalid"), "{key}");
        }
    }
    let client = stage.database.client().await;
    let sql = "SELECT count(*) FROM oauth_access_tokens WHERE device_label LIKE '% on host-%' AND revoked_at IS NOT NULL";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 200);
}

/// Begins, polls, approves, fetches, reads and logs out.
async fn whole_login(stage: &Stage, browser: &Browser, host: &str) {
    let login = Login::begin(&stage.gateway, host).await;
    let pending = login.polls(&stage.gateway).await;
    assert_eq!(pending.json()["error"], "authorization_pending");
    let approved = browser.approves(&stage.gateway, &login.user_code).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    login.wait(&stage.redis).await;
    let granted = login.polls(&stage.gateway).await;
    assert_eq!(granted.status, 200, "{granted:?}");
    let token = granted.json()["token"].as_str().unwrap().to_owned();
    let gateway = stage.gateway.addr();
    let account = request("GET", "/openapi/v1/account").bearer(&token);
    assert_eq!(account.send(gateway).await.status, 200);
    let logout = request("DELETE", "/openapi/v1/account/sessions/self").bearer(&token);
    assert_eq!(logout.send(gateway).await.status, 200);
}
