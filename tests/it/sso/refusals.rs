//! Every refusal of `contract/sso.md`: status, body, audit, and that nothing was minted or used up
//! that should not be.

use serde_json::{Value, json};

use super::{DEVICE, EVE, IDP, field, minted, nonces};
use crate::support::{
    Browser, Grant, Login, SECRET_KEY, SHARED_KID, Stage, assertion, assertion_claims, completes,
    enterprise_stage, jws, request, unix_now,
};

fn initiates(query: &str) -> crate::support::RequestBuilder {
    request("GET", &format!("{DEVICE}/sso-initiate{query}"))
}

/// Somebody at the console denies a login.
async fn denies(stage: &Stage, login: &Login) {
    let browser = Browser::of(stage.account_id);
    let denied = browser.denies(&stage.gateway, &login.user_code).await;
    assert_eq!(denied.status, 200, "{denied:?}");
}

/// Nothing has been made, used up or decided.
async fn is_untouched(stage: &Stage, login: &Login) {
    assert_eq!(minted(stage).await, 0);
    let state = login.state(&stage.redis).await.unwrap();
    assert_eq!(state["status"], "pending");
    let approved = stage.gateway.audit_events("oauth.device_flow_approved");
    assert_eq!(approved, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_begins_for_a_pending_login_only() {
    let (stage, service) = enterprise_stage(|gateway| gateway).await;
    stage.database.dify_setup().await;
    let decided = Login::begin(&stage.gateway, "ada-laptop").await;
    denies(&stage, &decided).await;
    service.take_requests();

    for (query, error) in [
        ("", "user_code required"),
        ("?user_code=", "user_code required"),
        ("?user_code=%20%20", "user_code required"),
        ("?user_code=ABCD-3456", "invalid_user_code"),
        ("?user_code=%3Cscript%3E", "invalid_user_code"),
        (
            &format!("?user_code={}", "A".repeat(500)),
            "invalid_user_code",
        ),
        (
            &format!("?user_code={}", decided.user_code),
            "invalid_user_code",
        ),
    ] {
        let refused = stage.refuses(&initiates(query), 400).await;
        assert_eq!(refused.json()["error"], error, "{query}");
        assert_eq!(refused.header("location"), None);
    }
    let asked = service.take_requests();
    assert!(
        asked.iter().all(|request| request.method() == "GET"),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_consoles_address_no_sign_in_begins() {
    let (stage, service) = enterprise_stage(|gateway| gateway.unset("dify.console_api_url")).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    service.take_requests();
    let query = format!("?user_code={}", login.user_code);

    let refused = stage
        .refuses(&initiates(&query).header("Host", "evil.example"), 502)
        .await;

    assert_eq!(refused.json()["error"], "console_api_url_unset");
    let asked = service.take_requests();
    assert!(
        asked.iter().all(|request| request.method() == "GET"),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_are_limited_per_address() {
    let (stage, _service) =
        enterprise_stage(|gateway| gateway.set("rate_limits.sso_initiate", "\"2/1h\"")).await;

    for _ in 0..2 {
        stage.refuses(&initiates("?user_code=ABCD-3456"), 400).await;
    }

    let limited = stage.refuses(&initiates("?user_code=ABCD-3456"), 429).await;
    assert!(limited.header("retry-after").is_some());
    assert_eq!(
        limited.header("ratelimit-policy"),
        Some("\"sso_initiate\";q=2;w=3600")
    );
    assert!(
        stage
            .redis
            .keys()
            .await
            .contains(&"rl:sso_initiate:ip:127.0.0.1".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_that_does_not_hold_uses_nothing_up() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let with = |name: &str, value: Value| {
        let mut claims = assertion_claims(&login.user_code, EVE);
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.to_owned(), value),
        };
        jws(SHARED_KID, SECRET_KEY, &claims)
    };
    let good = assertion_claims(&login.user_code, EVE);
    let (now, long) = (unix_now(), "x".repeat(400));
    let console = Browser::of(stage.account_id).access;
    let mut refused = vec![
        String::new(),
        "x".to_owned(),
        console,
        jws("another", SECRET_KEY, &good),
        jws(SHARED_KID, "another", &good),
        format!("{}x", jws(SHARED_KID, SECRET_KEY, &good)),
    ];
    for (name, value) in [
        ("aud", json!("api.device_flow.approval_grant")),
        ("aud", json!("api.sso.state_envelope")),
        ("aud", Value::Null),
        ("exp", json!(now)),
        ("exp", json!(now - 60)),
        ("exp", json!((now + 60).to_string())),
        ("exp", Value::Null),
        ("iat", json!(now + 60)),
        ("email", Value::Null),
        ("email", json!("eve")),
        ("email", json!("eve@a@b")),
        ("email", json!("eve @partner.example")),
        ("email", json!(format!("{long}@partner.example"))),
        ("issuer", json!("")),
        ("issuer", json!("  ")),
        ("issuer", json!(long)),
        ("user_code", json!("")),
        ("user_code", json!(long)),
        ("nonce", json!("")),
        ("nonce", json!(long)),
        ("nonce", json!(7)),
    ] {
        refused.push(with(name, value));
    }

    for assertion in &refused {
        let response = stage.refuses(&completes(assertion), 400).await;
        assert_eq!(
            response.json()["error"],
            "invalid_sso_assertion",
            "{assertion}"
        );
        assert_eq!(response.header("set-cookie"), None);
    }
    let missing = request("GET", &format!("{DEVICE}/sso-complete"));
    stage.refuses(&missing, 400).await;
    assert_eq!(nonces(&stage).await, Vec::<String>::new());
    is_untouched(&stage, &login).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_for_no_pending_login_is_409() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    stage.database.dify_setup().await;
    let decided = Login::begin(&stage.gateway, "ada-laptop").await;
    denies(&stage, &decided).await;

    for user_code in [decided.user_code.as_str(), "ABCD-3456", "nonsense"] {
        let completed = completes(&assertion(user_code, EVE));
        let refused = stage.refuses(&completed, 409).await;
        assert_eq!(refused.json()["error"], "user_code_not_pending");
        assert_eq!(refused.header("set-cookie"), None);
    }
    assert_eq!(minted(&stage).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_e_mail_of_an_active_account_is_sent_back_to_the_page_and_audited() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;

    let completed = completes(&assertion(&login.user_code, "ADA@Example.com"));
    let completed = stage.refuses(&completed, 302).await;

    let page = "/device?sso_error=email_belongs_to_dify_account";
    assert_eq!(completed.header("location"), Some(page));
    assert_eq!(completed.header("set-cookie"), None);
    let audit = stage.gateway.audit_events("oauth.device_flow_rejected");
    assert_eq!(audit.len(), 1);
    for (name, value) in [
        ("reason", "email_belongs_to_dify_account"),
        ("subject_type", "external_sso"),
        ("subject_email", "ADA@Example.com"),
        ("subject_issuer", IDP),
        ("client_id", "difyctl"),
        ("device_label", "difyctl on ada-laptop"),
    ] {
        assert_eq!(field(&audit[0], name), value, "{name}");
    }
    is_untouched(&stage, &login).await;
    // Only an account that may act counts.
    stage
        .database
        .set_account_status(stage.account_id, "closed")
        .await;
    let completed = completes(&assertion(&login.user_code, "ada@example.com"));
    let completed = stage.refuses(&completed, 302).await;
    assert_eq!(completed.header("location"), Some("/device?sso_verified=1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_nobody_reads_or_approves() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let good = Grant::of(&stage.gateway, &login, EVE).await;
    let with = |cookie: String| Grant {
        cookie,
        ..good.clone()
    };
    let mut claims = crate::support::claims_of(&good.cookie);
    claims["exp"] = json!(unix_now());
    let expired = jws(SHARED_KID, SECRET_KEY, &claims);
    let browser = Browser::of(stage.account_id);
    let mut strangers = vec![
        with(String::new()),
        with(format!("{}x", good.cookie)),
        with(format!("{0}; device_approval_grant={0}", good.cookie)),
        with(expired),
        with(assertion(&login.user_code, EVE)),
        with(browser.access),
    ];
    for name in [
        "subject_email",
        "subject_issuer",
        "user_code",
        "nonce",
        "csrf_token",
    ] {
        let mut claims = crate::support::claims_of(&good.cookie);
        claims.as_object_mut().unwrap().remove(name);
        strangers.push(with(jws(SHARED_KID, SECRET_KEY, &claims)));
    }

    for stranger in &strangers {
        let context = stage.refuses(&stranger.context(), 401).await;
        assert_eq!(context.json()["error"], "no_session");
        assert!(context.header("www-authenticate").is_some());
        let approve = stage.refuses(&stranger.approves(), 401).await;
        assert_eq!(approve.json()["error"], "invalid_session");
    }
    let bare = request("GET", &format!("{DEVICE}/approval-context"));
    assert_eq!(
        stage.refuses(&bare, 401).await.json()["error"],
        "no_session"
    );
    is_untouched(&stage, &login).await;
    assert!(
        !stage
            .redis
            .keys()
            .await
            .iter()
            .any(|key| key.contains("approve_external"))
    );
    stage.refuses(&good.approves(), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_are_refused_in_the_contracts_order_and_use_nothing_up() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let other = Login::begin(&stage.gateway, "eve-phone").await;
    let grant = Grant::of(&stage.gateway, &login, EVE).await;
    let others = Grant::of(&stage.gateway, &other, "eva@partner.example").await;
    let used = nonces(&stage).await.len();
    let body = json!({"user_code": login.user_code});
    let csrf = Some(grant.csrf.as_str());
    let wrong = json!({"user_code": other.user_code});
    let evil = grant.approves().header("Origin", "https://evil.example");

    for (request, status, error) in [
        (grant.posts(None, &wrong), 403, "csrf_mismatch"),
        (grant.posts(Some(""), &body), 403, "csrf_mismatch"),
        (grant.posts(Some(&others.csrf), &body), 403, "csrf_mismatch"),
        (evil, 403, "csrf_mismatch"),
        (grant.posts(csrf, &wrong), 400, "user_code_mismatch"),
        (
            grant.posts(csrf, &json!({"user_code": "x"})),
            400,
            "user_code_mismatch",
        ),
    ] {
        let refused = stage.refuses(&request, status).await;
        assert_eq!(refused.json()["error"], error, "{request:?}");
        assert_eq!(refused.header("set-cookie"), None);
    }
    for body in [json!({}), json!({"user_code": 7}), json!([])] {
        let refused = stage.refuses(&grant.posts(csrf, &body), 400).await;
        assert_eq!(refused.json()["code"], "bad_request");
    }
    assert_eq!(nonces(&stage).await.len(), used);
    is_untouched(&stage, &login).await;
    // The grant is as good as before, from the console's own page and however the code is spelt.
    let spelt = json!({"user_code": login.user_code.to_lowercase().replace('-', " ")});
    let own = grant
        .posts(csrf, &spelt)
        .header("Origin", "https://console.example");
    stage.refuses(&own, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_are_limited_per_e_mail_before_anything_else_is_looked_at() {
    let (stage, _service) =
        enterprise_stage(|gateway| gateway.set("rate_limits.approve_external", "\"2/1h\"")).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let grant = Grant::of(&stage.gateway, &login, EVE).await;
    let shouting = Grant::of(&stage.gateway, &login, "EVE@partner.example").await;
    let other = Grant::of(&stage.gateway, &login, "eva@partner.example").await;
    for grant in [&grant, &shouting] {
        stage.refuses(&grant.posts(None, &json!({})), 403).await;
    }

    let limited = stage.refuses(&grant.approves(), 429).await;

    assert!(limited.header("retry-after").is_some());
    is_untouched(&stage, &login).await;
    stage.refuses(&other.approves(), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_gone_or_decided_is_not_approved() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    stage.database.dify_setup().await;
    let [gone, decided] =
        ["eve-laptop", "eve-phone"].map(|host| Login::begin(&stage.gateway, host));
    let (gone, decided) = (gone.await, decided.await);
    let [first, second] = [&gone, &decided].map(|login| Grant::of(&stage.gateway, login, EVE));
    let (first, second) = (first.await, second.await);
    let used = nonces(&stage).await.len();
    stage
        .redis
        .del(&format!("device_code:{}", gone.device_code))
        .await;
    denies(&stage, &decided).await;

    for (grant, status) in [(&first, 404), (&second, 409)] {
        let refused = stage.refuses(&grant.approves(), status).await;
        assert_eq!(refused.json()["error"], "user_code_not_pending");
    }
    assert_eq!(nonces(&stage).await.len(), used);
    assert_eq!(minted(&stage).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_got_an_account_meanwhile_is_turned_away_and_audited() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let grant = Grant::of(&stage.gateway, &login, "Eve@partner.example").await;
    let used = nonces(&stage).await.len();
    stage.database.account(EVE, "Eve").await;

    let refused = stage.refuses(&grant.approves(), 403).await;

    assert_eq!(refused.json()["error"], "email_belongs_to_dify_account");
    let audit = stage.gateway.audit_events("oauth.device_flow_rejected");
    assert_eq!(audit.len(), 1);
    assert_eq!(field(&audit[0], "reason"), "email_belongs_to_dify_account");
    assert_eq!(nonces(&stage).await.len(), used);
    is_untouched(&stage, &login).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_no_row_can_hold_is_against_the_policy() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let long = format!("{}@partner.example", "e".repeat(290));
    let grant = Grant::of(&stage.gateway, &login, &long).await;

    let refused = stage.refuses(&grant.approves(), 400).await;

    assert_eq!(refused.json()["error"], "mint_policy_violation");
    is_untouched(&stage, &login).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_off_the_branch_is_503_and_with_the_flow_off_404() {
    let (stage, _service) =
        enterprise_stage(|gateway| gateway.set("tokens.enabled", "false")).await;
    let context = request("GET", &format!("{DEVICE}/approval-context"));
    stage.refuses(&context, 503).await;
    let (stage, _service) =
        enterprise_stage(|gateway| gateway.set("device_flow.enabled", "false")).await;
    stage.refuses(&context, 404).await;
}
