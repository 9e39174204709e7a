//! Requests that meet a kept connection which the upstream has given up.

use std::time::Duration;

use futures_util::future::join_all;

use super::{Behaviour, Stage, request};

/// So many connections are kept at least.
const KEPT: usize = 6;

/// A stage whose gateway has one thread, which keeps connections to its upstream.
async fn with_kept_connections() -> Stage {
    let stage = Stage::with(|gateway| {
        gateway
            .set("server.threads", "1")
            .set("upstream.idle_timeout", "\"60s\"")
    })
    .await;
    // None ends before all have begun.
    let slow = Behaviour::Sse {
        events: 2,
        interval: Duration::from_millis(300),
    };
    stage.upstream.on("/v1/slow", slow);
    let slow = request("GET", "/v1/slow");
    join_all((0..KEPT).map(|_| slow.send(stage.gateway.addr()))).await;
    stage.upstream.take_requests();
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_ends_every_connection_is_said_twice_at_most() {
    let stage = with_kept_connections().await;
    stage.upstream.on("/v1/crash", Behaviour::CloseBeforeHeader);

    for (method, most) in [
        ("GET", 2),
        ("DELETE", 2),
        ("PUT", 2),
        ("POST", 1),
        ("PATCH", 1),
    ] {
        let crash = request(method, "/v1/crash");
        let response = crash.send(stage.gateway.addr()).await;
        let seen = stage.upstream.take_requests();
        assert_eq!(response.status, 502, "{method}: {response:?}");
        assert_eq!(seen.len(), most, "{method}: {seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_said_twice_is_carried_out_on_a_connection_of_its_own() {
    let stage = with_kept_connections().await;
    let once = [
        Behaviour::CloseBeforeHeader,
        Behaviour::Json(200, serde_json::json!({})),
    ];
    stage.upstream.on_each("/v1/once", once);

    stage.gateway.get("/v1/once", None).await;

    let seen = stage.upstream.take_requests();
    let [first, second] = &seen[..] else {
        panic!("{seen:#?}");
    };
    assert!(second.connection > first.connection, "a kept connection");
    assert!(second.connection > KEPT, "a kept connection");
    // And nobody else has it after that.
    stage.gateway.get("/v1/next", None).await;
    let later = stage.upstream.take_requests();
    assert_ne!(later[0].connection, second.connection);
}
