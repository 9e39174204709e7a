//! Audit events in a stream of their own.

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Database, Gateway, GatewayBuilder, NewToken, RedisSpace, Upstream, assert_eventually,
};

/// Makes one audit event happen: an expired token is hard-expired.
async fn provoke(builder: GatewayBuilder) -> Gateway {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = RedisSpace::create().await;
    let account = database.account("ada@example.com", "Ada").await;
    let token = NewToken::account(account, "ada@example.com").expired();
    let token = database.insert_token(&token).await;
    let gateway = builder
        .upstream(upstream.addr())
        .database(&database)
        .redis(&redis)
        .start()
        .await;
    let answer = gateway.get("/openapi/v1/apps", Some(&token.token)).await;
    assert_eq!(answer.status, 401);
    gateway
}

fn is_expiry(line: &str) -> bool {
    serde_json::from_str::<Value>(line)
        .is_ok_and(|event| event["target"] == "audit" && event["event"] == "oauth.token_expired")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_gets_every_event_and_the_log_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    std::fs::write(&path, "what was there before\n").unwrap();
    let builder = Gateway::builder()
        .set("log.audit", &format!("\"{}\"", path.display()))
        .set("log.format", "\"json\"");

    let gateway = provoke(builder).await;

    let lines = || std::fs::read_to_string(&path).unwrap();
    assert_eventually!(lines().lines().any(is_expiry), "the event is in the file");
    assert!(lines().starts_with("what was there before\n"));
    assert!(gateway.audit_events("oauth.token_expired").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_keeps_the_gateway_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    let toml = Gateway::builder()
        .set("log.audit", "\"/nonexistent/audit.log\"")
        .to_toml();
    std::fs::write(&path, toml).unwrap();

    let output = tokio::time::timeout(
        Duration::from_secs(10),
        tokio::process::Command::new(env!("CARGO_BIN_EXE_difygate"))
            .args(["serve", "--config", path.to_str().unwrap()])
            .env_clear()
            .output(),
    )
    .await
    .unwrap()
    .unwrap();

    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("log.audit") && said.contains("/nonexistent/audit.log"));
}
