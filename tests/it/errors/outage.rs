//! Refusals because something behind the gateway is away, slow or switched off.

use super::{APPS, assert_refusal};
use crate::support::{
    Behaviour, DedicatedPostgres, DedicatedRedis, Gateway, IssuedToken, NewToken, Stage, Upstream,
    request,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_refuses_connections_is_502() {
    let gateway = Gateway::builder().start().await;

    let response = gateway.get("/x", None).await;

    assert_refusal(
        &response,
        502,
        "bad_gateway",
        "the upstream cannot be reached",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_closes_before_its_header_is_502() {
    let stage = Stage::set().await;
    stage.upstream.on("/closes", Behaviour::CloseBeforeHeader);

    for method in ["GET", "POST"] {
        let response = request(method, "/closes").send(stage.gateway.addr()).await;
        assert_refusal(
            &response,
            502,
            "bad_gateway",
            "the upstream cannot be reached",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_the_upstream_has_closed_on_is_not_sent_twice() {
    let stage = Stage::set().await;
    stage.upstream.on("/closes", Behaviour::CloseBeforeHeader);
    // The connection to the upstream has been used before.
    stage.forwards(&request("GET", "/x")).await;

    let post = request("POST", "/closes").body("once");
    let (response, seen) = stage.probe(&post).await;

    assert_eq!(response.status, 502, "{response:?}");
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_speak_http_is_502() {
    let stage = Stage::set().await;
    let noise = Behaviour::Raw(b"this is not HTTP\r\n\r\n".to_vec());
    stage.upstream.on("/noise", noise);

    let response = stage.gateway.get("/noise", None).await;

    assert_refusal(
        &response,
        502,
        "bad_gateway",
        "the upstream cannot be reached",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_too_slow_is_504() {
    let stage = Stage::with(|gateway| gateway.set("upstream.read_timeout", "\"200ms\"")).await;
    stage.upstream.on("/hangs", Behaviour::HangBeforeHeader);

    let response = stage.gateway.get("/hangs", None).await;

    assert_refusal(
        &response,
        504,
        "gateway_timeout",
        "the upstream did not answer in time",
    );
    stage.upstream.wait_for_disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_switched_off_a_well_formed_token_is_503() {
    let stage = Stage::with(|gateway| gateway.set("tokens.enabled", "false")).await;
    let unknown = IssuedToken::unknown("dfoa_");

    for token in [&stage.account.token, &unknown.token] {
        let bearer = request("GET", APPS).bearer(token);
        let response = stage.refuses(&bearer, 503).await;
        let message = "bearer authentication is switched off";
        assert_refusal(&response, 503, "bearer_auth_disabled", message);
    }
    stage.refuses(&request("GET", APPS), 401).await;
    stage
        .refuses(&request("GET", APPS).bearer("dfoa_x"), 401)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_stores_away_an_unknown_token_is_503_with_retry_after() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().upstream(upstream.addr()).start().await;
    let token = IssuedToken::unknown("dfoa_");

    let response = gateway.get(APPS, Some(&token.token)).await;

    let message = "the token cannot be checked at the moment";
    assert_refusal(&response, 503, "auth_unavailable", message);
    let seconds: u32 = response.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds >= 1);
    assert!(upstream.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_go_away_while_serving_make_it_503_and_never_401() {
    let (postgres, redis) = tokio::join!(DedicatedPostgres::start(), DedicatedRedis::start());
    let database = postgres.database();
    let account = database.account("ada@example.com", "Ada").await;
    let token = database
        .insert_token(&NewToken::account(account, "ada@example.com"))
        .await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(database)
        .redis(redis.space())
        .start()
        .await;
    // Not seen before the outage, so in no cache.
    postgres.stop_immediate();
    redis.stop();

    let response = gateway.get(APPS, Some(&token.token)).await;

    let message = "the token cannot be checked at the moment";
    assert_refusal(&response, 503, "auth_unavailable", message);
    let malformed = gateway.get(APPS, Some("dfoa_short")).await;
    assert_eq!(malformed.status, 401);
}
