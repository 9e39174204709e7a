//! Dify's own process on the same Redis and Postgres: each picks up what the other has begun.

use serde_json::Value;
use uuid::Uuid;

use super::{keys_of_logins, set};
use crate::support::{Login, Stage, redis_fixture};

/// What the fixtures speak of.
const USER_CODE: &str = "ABCD-3456";
const TOKEN_ID: &str = "0196c3a0-3333-7000-8000-000000000003";

/// A login that Dify has written, in some state.
async fn written_by_dify(stage: &Stage, name: &str) -> Login {
    let login = Login {
        device_code: format!("dc_{}", "B".repeat(32)),
        user_code: USER_CODE.to_owned(),
    };
    let state = redis_fixture(&format!("device_code_{name}"));
    let key = format!("device_code:{}", login.device_code);
    stage.redis.set_ex(&key, &state, 900).await;
    let key = format!("user_code:{USER_CODE}");
    stage.redis.set_ex(&key, &login.device_code, 900).await;
    login
}

/// The row of the token that Dify has minted for the fixture.
async fn minted_by_dify(stage: &Stage) {
    let fixtures: Value =
        serde_json::from_str(include_str!("../fixtures/redis_values.json")).unwrap();
    let hash = fixtures["token_example"]["sha256"].as_str().unwrap();
    let client = stage.database.client().await;
    let sql = "INSERT INTO oauth_access_tokens (id, subject_email, subject_issuer, account_id, \
               client_id, device_label, prefix, token_hash, expires_at) \
               VALUES ($1, 'ada@example.com', 'dify:account', $2, 'difyctl', \
               'difyctl on ada-laptop', 'dfoa_', $3, now() + interval '1 day')";
    let id = Uuid::parse_str(TOKEN_ID).unwrap();
    client
        .execute(sql, &[&id, &stage.account_id, &hash])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn begun_there_approved_and_fetched_here() {
    let (stage, browser) = set().await;
    let login = written_by_dify(&stage, "pending").await;

    assert_eq!(
        login.polls(&stage.gateway).await.json()["error"],
        "authorization_pending"
    );
    let approved = browser.approves(&stage.gateway, USER_CODE).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    login.wait(&stage.redis).await;
    let response = login.polls(&stage.gateway).await;

    assert_eq!(response.status, 200, "{response:?}");
    let token = response.json()["token"].as_str().unwrap().to_owned();
    let apps = stage.gateway.get("/openapi/v1/apps", Some(&token)).await;
    assert_eq!(apps.status, 200);
    // The login began at another address.
    let audit = stage
        .gateway
        .audit_events("oauth.device_code_cross_ip_poll");
    assert_eq!(audit.len(), 1);
    assert_eq!(keys_of_logins(&stage).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn approved_there_fetched_here() {
    let (stage, _) = set().await;
    let login = written_by_dify(&stage, "approved").await;
    minted_by_dify(&stage).await;

    let response = login.polls(&stage.gateway).await;

    assert_eq!(response.status, 200, "{response:?}");
    let body = response.json();
    let state: Value = serde_json::from_str(&redis_fixture("device_code_approved")).unwrap();
    for (name, value) in state["poll_payload"].as_object().unwrap() {
        assert_eq!(&body[name], value, "{name}");
    }
    assert_eq!(body["access_token"], body["token"]);
    assert_eq!(body["token_type"], "Bearer");
    assert!(body["expires_in"].is_u64());
    assert_eq!(keys_of_logins(&stage).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn approved_there_and_revoked_meanwhile_is_refused_here() {
    let (stage, _) = set().await;
    let login = written_by_dify(&stage, "approved").await;
    minted_by_dify(&stage).await;
    stage
        .database
        .revoke(Uuid::parse_str(TOKEN_ID).unwrap())
        .await;

    let response = login.polls(&stage.gateway).await;

    assert_eq!(
        (response.status, &response.json()["error"]),
        (400, &"access_denied".into())
    );
    assert!(!response.text().contains("dfoa_"));
    assert_eq!(keys_of_logins(&stage).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_there_is_denied_here() {
    let (stage, browser) = set().await;
    let login = written_by_dify(&stage, "denied").await;

    let decided = browser.approves(&stage.gateway, USER_CODE).await;
    assert_eq!(
        (decided.status, &decided.json()["error"]),
        (409, &"already_resolved".into())
    );
    let response = login.polls(&stage.gateway).await;

    assert_eq!(response.json()["error"], "access_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_that_approves_is_not_disturbed() {
    let (stage, browser) = set().await;
    let login = written_by_dify(&stage, "pending").await;
    let guard = format!("device_code:{}:approving", login.device_code);
    stage.redis.set_ex(&guard, "1", 10).await;

    let response = browser.approves(&stage.gateway, USER_CODE).await;

    assert_eq!(
        (response.status, &response.json()["error"]),
        (409, &"approve_in_progress".into())
    );
    assert_eq!(stage.redis.get(&guard).await.as_deref(), Some("1"));
    let rows = stage.database.client().await;
    let sql = "SELECT 1 FROM oauth_access_tokens WHERE device_label = 'difyctl on ada-laptop'";
    assert!(rows.query(sql, &[]).await.unwrap().is_empty());
}
