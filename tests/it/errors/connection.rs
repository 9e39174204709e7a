//! What a refusal means for its connection: it goes on where it is safe, and a body that nobody
//! wanted never becomes the next request.

use std::time::Duration;

use super::{APPS, Stage};
use crate::support::{RawClient, RequestBuilder, request};

/// Longer than a peer that means to close takes.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// Asserts that the refused request leaves a connection that serves another.
async fn goes_on(stage: &Stage, refused: &RequestBuilder, status: u16) {
    let mut client = stage.gateway.client().await;
    client.send(&refused.to_bytes()).await;
    let response = client.read_response().await;
    assert_eq!(response.status, status, "{response:?}");
    assert!(stage.upstream.take_requests().is_empty());

    let next = request("GET", APPS).bearer(&stage.account.token);
    client.send(&next.to_bytes()).await;
    assert_eq!(client.read_response().await.status, 200);
    let seen = stage.upstream.take_requests();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].target(), APPS);
}

/// Many requests in a row, as many bytes as asked for: any of them would be seen.
fn smuggled(bytes: usize) -> String {
    let next = "GET /smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    next.repeat(bytes / next.len() + 1)
}

/// Asserts that the connection ends, and that nothing of what was sent over it is forwarded.
async fn ends_silently(stage: &Stage, client: &mut RawClient) {
    assert!(client.is_closed(CLOSES_WITHIN).await);
    stage.forwards(&request("GET", "/last")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_after_a_401_and_a_403() {
    let stage = Stage::set().await;
    let external = request("GET", APPS).bearer(&stage.external.token);

    goes_on(&stage, &request("GET", APPS), 401).await;
    goes_on(&stage, &request("HEAD", APPS), 401).await;
    goes_on(&stage, &external, 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_after_a_refused_post_with_a_small_body() {
    let stage = Stage::set().await;
    let post = |body: &str| request("POST", APPS).body(body);
    let external = post(&smuggled(1000)).bearer(&stage.external.token);

    goes_on(&stage, &post(""), 401).await;
    goes_on(&stage, &post("small"), 401).await;
    goes_on(&stage, &post(&smuggled(60_000)), 401).await;
    goes_on(&stage, &external, 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_after_a_refused_post_with_a_small_chunked_body() {
    let stage = Stage::set().await;
    let next = smuggled(1000);
    let post = request("POST", APPS).chunked(&[b"small", next.as_bytes()]);

    goes_on(&stage, &post, 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_of_something_else_than_100_keeps_no_body_back() {
    let stage = Stage::set().await;
    let post = request("POST", APPS).header("Expect", "the-unexpected");

    goes_on(&stage, &post.body("small"), 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_after_404_and_405() {
    let stage = Stage::set().await;

    goes_on(&stage, &request("POST", "/inner/api/x").body("small"), 404).await;
    goes_on(
        &stage,
        &request("PUT", "/openapi/v1/account").body("small"),
        405,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_pipelined_behind_a_refused_one_are_judged_or_dropped() {
    let stage = Stage::set().await;
    let refused = request("POST", APPS).body("small").to_bytes();
    let mut client = stage.gateway.client().await;

    client.send(&refused.repeat(3)).await;

    assert_eq!(client.read_response().await.status, 401);
    stage.forwards(&request("GET", "/last")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_behind_a_401_never_becomes_a_request() {
    let stage = Stage::set().await;
    let post = request("POST", APPS).body(smuggled(300_000)).to_bytes();
    let mut client = stage.gateway.client().await;

    let _ = client.try_send(&post).await;

    ends_silently(&stage, &mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_that_comes_after_the_401_never_becomes_a_request() {
    let stage = Stage::set().await;
    let post = request("POST", APPS).body(smuggled(300_000)).to_bytes();
    let head = post.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let mut client = stage.gateway.client().await;

    client.send(&post[..head]).await;
    assert_eq!(client.read_response().await.status, 401);
    let _ = client.try_send(&post[head..]).await;

    ends_silently(&stage, &mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_chunked_body_behind_a_401_never_becomes_a_request() {
    let stage = Stage::set().await;
    let next = smuggled(8_000);
    let chunks = [next.as_bytes(); 40];
    let mut client = stage.gateway.client().await;

    let post = request("POST", APPS).chunked(&chunks).to_bytes();
    let _ = client.try_send(&post).await;

    ends_silently(&stage, &mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_behind_a_429_never_becomes_a_request() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("rate_limits.bearer", "\"1/1h\"")
            .set("rate_limits.device_code", "\"1/1h\"")
    })
    .await;
    let forwarded = request("POST", APPS).bearer(&stage.account.token);
    let local = request("POST", "/openapi/v1/oauth/device/code");
    stage.forwards(&forwarded).await;
    stage.refuses(&local, 400).await;

    for refused in [&forwarded, &local] {
        // Small enough to be read to its end, and the connection goes on.
        let small = refused.clone().body(smuggled(1_000));
        let mut client = stage.gateway.client().await;
        client.send(&small.to_bytes()).await;
        assert_eq!(client.read_response().await.status, 429, "{refused:?}");
        client.send(&request("GET", "/next").to_bytes()).await;
        assert_eq!(client.read_response().await.status, 200, "{refused:?}");
        let seen = stage.upstream.take_requests();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0].target(), "/next");

        // Too large, as a whole and in chunks.
        let next = smuggled(8_000);
        for large in [
            refused.clone().body(smuggled(300_000)),
            refused.clone().chunked(&[next.as_bytes(); 40]),
        ] {
            let mut client = stage.gateway.client().await;
            let _ = client.try_send(&large.to_bytes()).await;
            ends_silently(&stage, &mut client).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_does_not_keep_a_401_back() {
    let stage = Stage::set().await;
    let mut client = stage.gateway.client().await;

    let head = format!("POST {APPS} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nten bytes.");
    client.send(head.as_bytes()).await;

    assert_eq!(client.read_response().await.status, 401);
    ends_silently(&stage, &mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_100_gets_the_401_at_once_and_never_the_100() {
    let stage = Stage::set().await;
    let next = smuggled(100);
    let mut client = stage.gateway.client().await;

    let head = format!(
        "POST {APPS} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        next.len()
    );
    client.send(head.as_bytes()).await;
    let response = client.read_response().await;
    // A client that sends its body all the same.
    let _ = client.try_send(next.as_bytes()).await;

    assert_eq!(response.status, 401);
    assert!(response.interim.is_empty(), "{response:?}");
    ends_silently(&stage, &mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_close_gets_it_with_its_401() {
    let stage = Stage::set().await;
    let mut client = stage.gateway.client().await;

    let last = request("GET", APPS).header("Connection", "close");
    client.send(&last.to_bytes()).await;

    assert_eq!(client.read_response().await.status, 401);
    assert!(client.is_closed(CLOSES_WITHIN).await);
}
