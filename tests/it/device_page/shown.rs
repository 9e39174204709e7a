//! What strangers say of themselves, as the page shows it to the person who is to decide.

use serde_json::json;

use super::visit::Visit;

#[tokio::test(flavor = "multi_thread")]
async fn another_address_is_a_warning_and_the_same_one_reassures_nobody() {
    let trust = |gateway: crate::support::GatewayBuilder| {
        gateway.set("server.trusted_proxies", r#"["127.0.0.1/32"]"#)
    };
    let visit = Visit::with(trust).await;
    let login = visit.login().await;
    visit.signs_in().await;
    let at = json!({"headers": {"X-Forwarded-For": "203.0.113.7"}});
    visit.browser.devtools("Network.enable", json!({})).await;
    visit
        .browser
        .devtools("Network.setExtraHTTPHeaders", at)
        .await;

    visit.enters(&login.user_code).await;
    visit.sees("approve").await;
    let said = async |name: &str| visit.browser.text(&format!("[data-fill={name}]")).await;
    assert_eq!(said("address").await, "127.0.0.1");
    assert_eq!(said("whose").await, "Not the address that you are at");

    // Whoever lures somebody may have claimed that very address.
    let key = format!("device_code:{}", login.device_code);
    let mut state = login.state(&visit.stage.redis).await.unwrap();
    state["created_ip"] = json!("203.0.113.7");
    visit
        .stage
        .redis
        .set_ex(&key, &state.to_string(), 600)
        .await;
    visit.enters(&login.user_code).await;
    visit.sees("approve").await;
    assert_eq!(said("address").await, "203.0.113.7");
    assert_eq!(said("whose").await, "");
}
