//! Many who decide the same login at once.

use std::{collections::BTreeMap, time::Duration};

use super::set;
use crate::support::{Browser, Gateway, Login, Relay, Stage, assert_eventually};

/// Finds a statement that waits for the token table.
const MINT_WAITS: &str = "\
SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'oauth_access_tokens'::regclass";

/// As [`set`], with a gateway that gives up no statement while a test has patience.
async fn set_patiently() -> (Stage, Browser) {
    let stage = Stage::with(|gateway| gateway.set("postgres.timeout", "\"20s\"")).await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    (stage, browser)
}

/// How many rows the device has, and how many of them are live.
async fn rows(stage: &Stage, label: &str) -> (i64, i64) {
    let sql = "SELECT count(*), count(*) FILTER (WHERE revoked_at IS NULL) \
               FROM oauth_access_tokens WHERE device_label = $1";
    let client = stage.database.client().await;
    let row = client.query_one(sql, &[&label]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_approvals_at_once_one_mints() {
    let stage = Stage::with(|gateway| gateway.set("rate_limits.approve", "\"100/1h\"")).await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let gateway = stage.gateway.addr();

    let approvals: Vec<_> = (0..50)
        .map(|_| {
            let approve = browser.posts("/openapi/v1/oauth/device/approve", &login.user_code);
            tokio::spawn(async move { approve.send(gateway).await })
        })
        .collect();
    let mut answers = BTreeMap::new();
    for approval in approvals {
        let response = approval.await.unwrap();
        let body = response.json();
        let said = body.get("status").or_else(|| body.get("error")).unwrap();
        *answers
            .entry((response.status, said.as_str().unwrap().to_owned()))
            .or_insert(0) += 1;
    }

    assert_eq!(
        answers.remove(&(200, "approved".into())),
        Some(1),
        "{answers:?}"
    );
    let others = ["already_resolved", "approve_in_progress"];
    assert!(
        answers
            .keys()
            .all(|(status, said)| *status == 409 && others.contains(&said.as_str()))
    );
    assert_eq!(answers.values().sum::<i32>(), 49);
    assert_eq!(rows(&stage, "difyctl on ada-laptop").await, (1, 1));
    assert_eq!(
        stage
            .gateway
            .audit_events("oauth.device_flow_approved")
            .len(),
        1
    );
    assert_eq!(login.polls(&stage.gateway).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_approval_and_a_denial_at_once_one_wins() {
    let (stage, browser) = set().await;

    for round in 0..4 {
        let login = Login::begin(&stage.gateway, &format!("host-{round}")).await;
        let (approved, denied) = tokio::join!(
            browser.approves(&stage.gateway, &login.user_code),
            browser.denies(&stage.gateway, &login.user_code),
        );
        let mut statuses = [approved.status, denied.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{approved:?} {denied:?}");
        let state = login.state(&stage.redis).await.unwrap();
        let winner = if approved.status == 200 {
            "approved"
        } else {
            "denied"
        };
        assert_eq!(state["status"], winner);
        let poll = login.polls(&stage.gateway).await;
        assert_eq!(poll.status, if winner == "approved" { 200 } else { 400 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_vanishes_while_it_is_approved_leaves_a_session_to_be_seen() {
    let (stage, browser) = set_patiently().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    // Holds the mint up: the row of the same device is locked.
    let mut client = stage.database.client().await;
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE oauth_access_tokens IN SHARE MODE")
        .await
        .unwrap();
    let approving = browser.posts("/openapi/v1/oauth/device/approve", &login.user_code);
    let gateway = stage.gateway.addr();
    let approving = tokio::spawn(async move { approving.send(gateway).await });
    let guard = format!("device_code:{}:approving", login.device_code);
    assert_eventually!(
        stage.redis.get(&guard).await.is_some(),
        "the approval has begun"
    );
    let seen = stage.database.client().await;
    assert_eventually!(
        !seen.query(MINT_WAITS, &[]).await.unwrap().is_empty(),
        "the mint waits"
    );

    stage
        .redis
        .del(&format!("device_code:{}", login.device_code))
        .await;
    lock.rollback().await.unwrap();
    let response = approving.await.unwrap();

    assert_eq!(response.status, 409, "{response:?}");
    assert_eq!(response.json()["error"], "state_lost");
    assert_eq!(rows(&stage, "difyctl on ada-laptop").await, (1, 1));
    assert_eq!(stage.redis.get(&guard).await, None);
    // The person may start again, and the row is rotated.
    let again = Login::begin(&stage.gateway, "ada-laptop").await;
    assert_eq!(
        browser
            .approves(&stage.gateway, &again.user_code)
            .await
            .status,
        200
    );
    assert_eq!(rows(&stage, "difyctl on ada-laptop").await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_while_it_approves_loses_nothing() {
    let (stage, browser) = set_patiently().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let mut client = stage.database.client().await;
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE oauth_access_tokens IN SHARE MODE")
        .await
        .unwrap();
    let approve = browser
        .posts("/openapi/v1/oauth/device/approve", &login.user_code)
        .to_bytes();
    let mut connection = stage.gateway.client().await;
    connection.send(&approve).await;
    let seen = stage.database.client().await;
    assert_eventually!(
        !seen.query(MINT_WAITS, &[]).await.unwrap().is_empty(),
        "the mint waits"
    );
    stage.gateway.signal("KILL");
    lock.rollback().await.unwrap();

    let other = Gateway::builder()
        .upstream(stage.upstream.addr())
        .database(&stage.database)
        .redis(&stage.redis)
        .start()
        .await;
    // Until the dead process's guard ends, a retry is told that an approval is under way.
    let early = browser.approves(&other, &login.user_code).await;
    assert_eq!(early.json()["error"], "approve_in_progress", "{early:?}");
    let guard = format!("device_code:{}:approving", login.device_code);
    let ttl = stage.redis.ttl(&guard).await;
    assert!((0..=10).contains(&ttl), "{ttl}");
    stage.redis.del(&guard).await;
    let approved = browser.approves(&other, &login.user_code).await;

    assert_eq!(approved.status, 200, "{approved:?}");
    let granted = login.polls(&other).await;
    assert_eq!(granted.status, 200, "{granted:?}");
    assert_eq!(rows(&stage, "difyctl on ada-laptop").await, (1, 1));
    let token = granted.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        other.get("/openapi/v1/account", Some(&token)).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_stores_cut_off_again_and_again_a_token_that_was_given_is_live() {
    let stage = Stage::set().await;
    stage.database.dify_setup().await;
    let postgres = Relay::to(stage.database.addr()).await;
    let redis = Relay::to(stage.redis.addr()).await;
    let gateway = Gateway::builder()
        .upstream(stage.upstream.addr())
        .postgres_addr(postgres.local_addr(), stage.database.name())
        .redis_addr(redis.local_addr(), stage.redis.prefix())
        .set("rate_limits.approve", "\"1000/1h\"")
        .start()
        .await;
    let browser = Browser::of(stage.account_id);
    let mut given = Vec::new();

    for round in 0..8 {
        let login = Login::begin(&stage.gateway, &format!("host-{round}")).await;
        let cut = async {
            // A different moment of the flow each time.
            tokio::time::sleep(Duration::from_millis(2 * round)).await;
            if round % 2 == 0 {
                redis.cut();
            } else {
                postgres.cut();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            redis.restore();
            postgres.restore();
        };
        tokio::join!(cut, browser.approves(&gateway, &login.user_code));
        given.extend(completes(&stage, &gateway, &browser, &login).await);
    }

    assert!(!given.is_empty(), "some logins come through");
    for token in given {
        let apps = gateway.get("/openapi/v1/apps", Some(&token)).await;
        assert_eq!(apps.status, 200, "the token is live");
    }
}

/// Approves and polls until the login is over; its token, where one was given.
async fn completes(
    stage: &Stage,
    gateway: &Gateway,
    browser: &Browser,
    login: &Login,
) -> Option<String> {
    let guard = format!("device_code:{}:approving", login.device_code);
    assert_eventually!(
        {
            // A guard that could not be given back ends by itself, in ten seconds.
            stage.redis.del(&guard).await;
            let response = browser.approves(gateway, &login.user_code).await;
            matches!(response.status, 200 | 404 | 409)
        },
        "the login is decided"
    );
    let mut token;
    assert_eventually!(
        {
            login.wait(&stage.redis).await;
            let response = login.polls(gateway).await;
            let body = response.json();
            token = body["token"].as_str().map(str::to_owned);
            response.status == 200 || body["error"] == "expired_token"
        },
        "the login is over"
    );
    token
}
