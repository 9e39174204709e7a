//! What may be used once is used once, and only for what it is for.

use serde_json::json;

use super::{EVE, minted, nonces};
use crate::support::{
    DedicatedRedis, Grant, Login, SECRET_KEY, SHARED_KID, Stage, assertion, assertion_claims,
    completes, enterprise, enterprise_stage, is_licensed, jws, unix_now, with_enterprise,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_taken_once() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let once = completes(&assertion(&login.user_code, EVE));
    stage.refuses(&once, 302).await;

    let replayed = stage.refuses(&once, 400).await;

    assert_eq!(replayed.json()["error"], "invalid_sso_assertion");
    assert_eq!(replayed.header("set-cookie"), None);
    let used = nonces(&stage).await;
    assert_eq!(used.len(), 1);
    assert!(used[0].starts_with("sso_assertion_nonce:"));
    let ttl = stage.redis.ttl(&used[0]).await;
    assert!((590..=600).contains(&ttl), "{ttl}");
}

/// The contract has them hold for 300 s; one that holds for longer must not outlive its nonce.
#[tokio::test(flavor = "multi_thread")]
async fn the_nonce_of_an_assertion_that_holds_for_long_is_kept_as_long() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    for (life, least, most) in [(750, 740, 750), (86_400, 890, 900)] {
        let mut claims = assertion_claims(&login.user_code, EVE);
        claims["exp"] = (unix_now() + life).into();
        let before = nonces(&stage).await;

        stage
            .refuses(&completes(&jws(SHARED_KID, SECRET_KEY, &claims)), 302)
            .await;

        let mut used = nonces(&stage).await;
        used.retain(|nonce| !before.contains(nonce));
        let ttl = stage.redis.ttl(&used[0]).await;
        assert!((least..=most).contains(&ttl), "{ttl}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_bring_one_assertion_one_gets_the_grant() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let once = completes(&assertion(&login.user_code, EVE));

    let answers = (0..20).map(|_| once.send(stage.gateway.addr()));
    let answers = futures_util::future::join_all(answers).await;

    let granted = answers.iter().filter(|answer| answer.status == 302).count();
    let refused = answers.iter().filter(|answer| answer.status == 400).count();
    assert_eq!((granted, refused), (1, 19));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_approves_once_and_not_another_login() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let [login, other] = ["eve-laptop", "eve-phone"].map(|host| Login::begin(&stage.gateway, host));
    let (login, other) = (login.await, other.await);
    let grant = Grant::of(&stage.gateway, &login, EVE).await;

    // The cookie of one login, for another one.
    let for_other = grant.posts(Some(&grant.csrf), &json!({"user_code": other.user_code}));
    let refused = stage.refuses(&for_other, 400).await;
    assert_eq!(refused.json()["error"], "user_code_mismatch");
    stage.refuses(&grant.approves(), 200).await;
    let replayed = stage.refuses(&grant.approves(), 409).await;
    assert_eq!(replayed.json()["error"], "user_code_not_pending");

    assert_eq!(minted(&stage).await, 1);
    let state = other.state(&stage.redis).await.unwrap();
    assert_eq!(state["status"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_grant_is_refused_even_where_its_login_is_pending() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let key = format!("device_code:{}", login.device_code);
    let pending = stage.redis.get(&key).await.unwrap();
    let grant = Grant::of(&stage.gateway, &login, EVE).await;
    stage.refuses(&grant.approves(), 200).await;
    stage.redis.set_ex(&key, &pending, 900).await;

    let replayed = stage.refuses(&grant.approves(), 401).await;

    assert_eq!(replayed.json()["error"], "session_already_consumed");
    assert_eq!(
        login.state(&stage.redis).await.unwrap()["status"],
        "pending"
    );
    let approved = stage.gateway.audit_events("oauth.device_flow_approved");
    assert_eq!(approved.len(), 1);
    let used = nonces(&stage).await;
    assert!(
        used.iter()
            .any(|key| key.starts_with("device_approval_grant_nonce:"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_approvals_at_once_one_mints() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    for round in 0..10 {
        let login = Login::begin(&stage.gateway, &format!("eve-laptop {round}")).await;
        let email = format!("eve{round}@partner.example");
        let grant = Grant::of(&stage.gateway, &login, &email).await;
        let approves = grant.approves();

        let (one, other) = tokio::join!(
            approves.send(stage.gateway.addr()),
            approves.send(stage.gateway.addr())
        );

        let mut answers = [one.status, other.status];
        answers.sort_unstable();
        assert_eq!(answers[0], 200, "{one:?} {other:?}");
        assert!([401, 409].contains(&answers[1]), "{one:?} {other:?}");
        assert_eq!(login.polls(&stage.gateway).await.status, 200);
    }
    assert_eq!(minted(&stage).await, 10);
    let approved = stage.gateway.audit_events("oauth.device_flow_approved");
    assert_eq!(approved.len(), 10);
}

/// Two browsers, each with a good grant for the same login: one of them approves, and its token is
/// the one that lives.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_grants_for_one_login_one_approves_and_its_token_works() {
    let (stage, _service) =
        enterprise_stage(|gateway| gateway.set("rate_limits.approve_external", "\"1000/1h\""))
            .await;
    for round in 0..10 {
        let login = Login::begin(&stage.gateway, &format!("eve-laptop {round}")).await;
        let one = Grant::of(&stage.gateway, &login, EVE).await.approves();
        let other = Grant::of(&stage.gateway, &login, EVE).await.approves();

        let (one, other) = tokio::join!(
            one.send(stage.gateway.addr()),
            other.send(stage.gateway.addr())
        );

        let mut answers = [one.status, other.status];
        answers.sort_unstable();
        assert_eq!(answers, [200, 409], "{one:?} {other:?}");
        let granted = login.polls(&stage.gateway).await;
        assert_eq!(granted.status, 200, "{granted:?}");
        let token = granted.json()["token"].as_str().unwrap().to_owned();
        let account = stage.gateway.get("/openapi/v1/account", Some(&token)).await;
        assert_eq!(account.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_away_nothing_is_granted_or_approved() {
    let (service, redis) = (enterprise().await, DedicatedRedis::start().await);
    let stage =
        Stage::with(|gateway| with_enterprise(gateway, &service).redis(redis.space())).await;
    is_licensed(&stage.gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let grant = Grant::of(&stage.gateway, &login, EVE).await;
    let another = completes(&assertion(&login.user_code, EVE));
    redis.stop();

    for request in [&another, &grant.approves()] {
        let refused = stage.refuses(request, 503).await;
        assert!(refused.header("retry-after").is_some());
        assert_eq!(refused.header("set-cookie"), None);
    }
    assert_eq!(minted(&stage).await, 0);
}
