//! Decisions, and what they leave of Postgres to everybody else.

use serde_json::json;
use tokio::task::JoinSet;

use super::APPROVE;
use crate::support::{Browser, NewToken, Stage, request};

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_session_has_nothing_asked_of_postgres() {
    let stage = Stage::set().await;
    let body = json!({"user_code": "ABCD-3456"});
    let nobody = request("POST", APPROVE).json(&body);
    let response = stage.refuses(&nobody, 401).await;
    assert_eq!(response.json()["code"], "not_setup");
    stage.database.dify_setup().await;
    let response = stage.refuses(&nobody, 401).await;
    assert_eq!(response.json()["code"], "unauthorized");

    let mut client = stage.database.client().await;
    let lock = client.transaction().await.unwrap();
    let sql = "LOCK TABLE dify_setups IN ACCESS EXCLUSIVE MODE";
    lock.batch_execute(sql).await.unwrap();
    stage.refuses(&nobody, 401).await;
    let forged = Browser {
        access: "a.b.c".to_owned(),
        csrf: "a.b.c".to_owned(),
    };
    stage
        .refuses(&forged.posts(APPROVE, "ABCD-3456"), 401)
        .await;
    lock.rollback().await.unwrap();

    // Who has one is told when Dify is as new again.
    let browser = Browser::of(stage.account_id);
    client
        .batch_execute("DELETE FROM dify_setups")
        .await
        .unwrap();
    for asked in [browser.posts(APPROVE, "ABCD-3456"), nobody] {
        let response = stage.refuses(&asked, 401).await;
        assert_eq!(response.json()["code"], "not_setup");
    }
}

/// Forty people decide at once, and what they need of Postgres is slow: tokens that nobody has at
/// hand are checked all the same.
#[tokio::test(flavor = "multi_thread")]
async fn many_decisions_leave_room_for_token_checks() {
    let stage = Stage::with(|gateway| gateway.set("postgres.pool_size", "4")).await;
    stage.database.dify_setup().await;
    let mut tokens = Vec::new();
    for _ in 0..10 {
        let token = NewToken::external("eve@example.com", "https://idp.example.com");
        tokens.push(stage.database.insert_token(&token).await);
    }
    let mut client = stage.database.client().await;
    let lock = client.transaction().await.unwrap();
    let sql = "LOCK TABLE tenant_account_joins IN ACCESS EXCLUSIVE MODE";
    lock.batch_execute(sql).await.unwrap();
    let watch = stage.database.client().await;
    let mut people = JoinSet::new();
    for _ in 0..40 {
        let approves = Browser::of(stage.account_id).posts(APPROVE, "ABCD-3456");
        let gateway = stage.gateway.addr();
        people.spawn(async move { approves.send(gateway).await });
    }
    let waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock'";
    crate::support::assert_eventually!(
        !watch.query(waiting, &[]).await.unwrap().is_empty(),
        "somebody waits for the table"
    );

    for token in &tokens {
        let checked = request("GET", "/openapi/v1/account").bearer(&token.token);
        let response = stage.probe(&checked).await.0;
        assert_eq!(response.status, 200, "{response:?}");
    }

    lock.rollback().await.unwrap();
    for response in people.join_all().await {
        assert!(
            [404, 429, 503].contains(&response.status),
            "decided, limited or too late: {response:?}"
        );
    }
}
