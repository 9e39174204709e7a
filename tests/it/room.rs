//! `server.max_connections`, and clients that take nothing off their connection.

use std::time::Duration;

use crate::support::{Behaviour, RawClient, Stage, assert_eventually, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_waits_for_its_turn() {
    let stage = Stage::with(|gateway| gateway.set("server.max_connections", "2")).await;
    let get = request("GET", "/v1/info").to_bytes();
    let mut within = Vec::new();
    for _ in 0..2 {
        let mut client = stage.gateway.client().await;
        client.send(&get).await;
        assert_eq!(client.read_response().await.status, 200);
        within.push(client);
    }

    let mut waiting = stage.gateway.client().await;
    waiting.send(&get).await;

    assert!(!waiting.is_closed(Duration::from_secs(1)).await);
    assert_eq!(stage.upstream.take_requests().len(), 2);
    let full = "server.max_connections is reached";
    assert_eq!(stage.gateway.log_text().matches(full).count(), 1);
    within.pop();
    assert_eq!(waiting.read_response().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_cut_off() {
    let stage = Stage::with(|gateway| gateway.set("server.idle_timeout", "\"1s\"")).await;
    stage.upstream.on("*", Behaviour::BigBody(1 << 30));
    let mut client = RawClient::connect(stage.gateway.addr()).await;
    client.send(&request("GET", "/files/1").to_bytes()).await;
    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await == 1.0,
        "the request is under way"
    );

    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await == 0.0,
        "the request is given up"
    );
}
