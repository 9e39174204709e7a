//! Decisions that Redis has carried out, and whose answer was lost.

use serde_json::{Value, json};

use crate::support::{Gateway, Login, Relayed, Side, assert_eventually};

async fn stage() -> Relayed {
    Relayed::with(|gateway| {
        gateway
            .set("redis.timeout", "\"2s\"")
            // Its proofs, once a second, would be cut off as well.
            .set("token_cache.coherence", "\"ttl\"")
    })
    .await
}

fn outcomes(gateway: &Gateway, event: &str) -> Vec<Value> {
    let lines = gateway.audit_events(event);
    let outcome = |line| Gateway::log_field(line, "outcome").cloned();
    lines
        .iter()
        .map(|line| outcome(line).unwrap_or_default())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_nobody_was_told_of_has_its_line() {
    let stage = stage().await;
    // From here on, Redis knows every script.
    stage.logs_in(&stage.gateway, "ada-desktop").await.unwrap();
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    stage.to_redis.stall_at(b"\"approved\"", 0, Side::After);

    let (approved, ()) = tokio::join!(
        stage.browser.approves(&stage.gateway, &login.user_code),
        stage.to_redis.tripped()
    );
    assert_eq!(approved.status, 503, "{approved:?}");
    stage.to_redis.cut();
    stage.to_redis.restore();

    assert_eventually!(
        {
            login.wait(&stage.redis).await;
            login.polls(&stage.gateway).await.status == 200
        },
        "it has come to pass"
    );
    assert_eq!(
        outcomes(&stage.gateway, "oauth.device_flow_approved"),
        [Value::Null, json!("unknown")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_that_nobody_was_told_of_has_its_line() {
    let stage = stage().await;
    let warm = Login::begin(&stage.gateway, "ada-desktop").await;
    let denied = stage.browser.denies(&stage.gateway, &warm.user_code).await;
    assert_eq!(denied.status, 200, "{denied:?}");
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    stage.to_redis.stall_at(b"\"denied\"", 0, Side::After);

    let (denied, ()) = tokio::join!(
        stage.browser.denies(&stage.gateway, &login.user_code),
        stage.to_redis.tripped()
    );
    assert_eq!(denied.status, 503, "{denied:?}");
    stage.to_redis.cut();
    stage.to_redis.restore();

    assert_eventually!(
        {
            login.wait(&stage.redis).await;
            login.polls(&stage.gateway).await.json()["error"] == "access_denied"
        },
        "it has come to pass"
    );
    assert_eq!(
        outcomes(&stage.gateway, "oauth.device_flow_denied"),
        [Value::Null, json!("unknown")]
    );
}
