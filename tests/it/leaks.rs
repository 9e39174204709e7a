//! Nothing that is secret reaches a log, a metric or an error, at the most talkative level.

mod commands;
mod http2;
mod logins;
mod process;
mod secrets;
mod sockets;

use crate::support::{
    Database, DedicatedRedis, Gateway, IssuedToken, NewToken, Upstream, patience, redis_fixture,
    request,
};
use secrets::Secrets;

const SECRET: &str = "sk-leak-test-0123456789";
const PASSWORD: &str = "pw-leak-test-0123456789";

/// Asserts that every line was written: what was not cannot be searched.
async fn nothing_was_dropped(gateway: &Gateway) {
    let dropped = gateway.metric("difygate_log_lines_dropped_total").await;
    assert_eq!(dropped, 0.0, "{}", gateway.metrics().await);
}

/// Ends the gateway; its whole log, and its last metrics.
async fn all_that_is_printed(gateway: &mut Gateway) -> [String; 2] {
    let metrics = gateway.metrics().await;
    nothing_was_dropped(gateway).await;
    gateway.terminate();
    gateway.wait_exit(patience(30.0)).await;
    [gateway.log_text(), metrics]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_printed() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = DedicatedRedis::start().await;
    let account = database.account("ada@example.com", "Ada").await;
    let new = || NewToken::account(account, "ada@example.com");
    let live = database.insert_token(&new()).await;
    let expired = database.insert_token(&new().expired()).await;
    let orphan = database.insert_token(&new()).await;
    let client = database.client().await;
    let sql = "UPDATE oauth_access_tokens SET account_id = NULL WHERE id = $1";
    client.execute(sql, &[&orphan.id]).await.unwrap();
    let external = NewToken::external("eve@partner.example", "https://idp.partner.example");
    let external = database.insert_token(&external).await;
    let unknown = IssuedToken::unknown("dfoa_");
    let from_dify = database.insert_token(&new()).await;
    let key = format!("auth:token:{}", from_dify.hash);
    redis
        .space()
        .set_ex(&key, &redis_fixture("auth_token_account"), 60)
        .await;
    let mut gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .redis(redis.space())
        .set("dify.secret_key", &format!("\"{SECRET}\""))
        .set("postgres.password", &format!("\"{PASSWORD}\""))
        .set("forward.identity", "\"signed\"")
        .set("log.level", "\"trace\"")
        .set("log.access", "\"all\"")
        .set("postgres.timeout", "\"500ms\"")
        .start()
        .await;
    let tokens = [&live, &expired, &orphan, &external, &unknown, &from_dify];

    let mut answers = String::new();
    for token in tokens {
        for path in [
            "/openapi/v1/apps?code=hidden-query",
            "/v1/info",
            "/openapi/v1/apps/../x",
        ] {
            answers.push_str(&gateway.get(path, Some(&token.token)).await.text());
        }
        // Malformed in ways that make libraries quote what they read.
        for bad in ["\n", " : x\r\n", "\u{1}: x\r\n"] {
            let mut client = gateway.client().await;
            let head = format!(
                "GET /openapi/v1/apps HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nCookie: access_token=hidden-cookie{bad}\r\n",
                token.token
            );
            client.send(head.as_bytes()).await;
            client.finish_sending().await;
            let _ = client.is_closed(std::time::Duration::from_secs(2)).await;
        }
    }
    redis.stop();
    let after = database.insert_token(&new()).await;
    gateway.get("/openapi/v1/apps", Some(&after.token)).await;
    upstream.close_idle();
    let posted = request("POST", "/openapi/v1/apps")
        .bearer(&live.token)
        .body("hidden-body")
        .send(gateway.addr())
        .await;
    answers.push_str(&posted.text());
    let status = request("GET", "/status.json").header("Host", "localhost");
    let status = status.send(gateway.admin_addr()).await;
    assert!(status.json()["faults"][0]["times"].is_u64(), "{status:?}");
    answers.push_str(&status.text());
    let [printed, metrics] = all_that_is_printed(&mut gateway).await;
    answers.push_str(&metrics);

    assert!(printed.contains("oauth.token_expired"), "the log is there");
    let mut secrets = Secrets::of([
        SECRET,
        PASSWORD,
        "hidden-query",
        "hidden-cookie",
        "hidden-body",
    ]);
    for token in tokens.into_iter().chain([&after]) {
        secrets.add_token(&token.token);
    }
    secrets.are_nowhere_in(&[("log", &printed), ("answers", &answers)]);
}
