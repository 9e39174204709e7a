//! Bodies go through as they come, both ways, and so does their end, whoever brings it about.

mod again;
mod agreement;
mod behind;
mod body;
mod broken;
mod manual;
mod older;
mod slow;
mod upgrade;

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Behaviour, Gateway, RawClient, RequestBuilder, Stage, assert_eventually, request,
};

const APPS: &str = "/openapi/v1/apps";

/// What no test waits for: what is held back for so long never comes.
const NEVER: Duration = Duration::from_secs(3600);

/// Sends a request over a connection of its own, and reads the head of the answer.
async fn begin(stage: &Stage, request: &RequestBuilder) -> RawClient {
    let mut client = stage.gateway.client().await;
    client.send(&request.to_bytes()).await;
    let head = client.read_head().await;
    assert_eq!(head.status, 200, "{head:?}");
    client
}

/// Tells whether a line of the log is that of a request with this status.
fn is_access_line(line: &Value, status: u16) -> bool {
    line["target"] == "access" && Gateway::log_field(line, "status") == Some(&status.into())
}

/// Picks the line of a request that the gateway has refused with this status.
fn is_refusal(status: u16) -> impl Fn(&Value) -> bool {
    move |line| {
        let outcome = Gateway::log_field(line, "outcome");
        is_access_line(line, status) && outcome == Some(&"rejected".into())
    }
}

/// The next piece of a body, as text.
async fn piece(client: &mut RawClient) -> String {
    String::from_utf8(client.read_chunk().await.unwrap().to_vec()).unwrap()
}

/// The same request to a bearer row and to one that passes.
fn on_both(stage: &Stage, method: &str) -> [RequestBuilder; 2] {
    [
        request(method, APPS).bearer(&stage.account.token),
        request(method, "/files/1"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_before_the_upstream_sends_the_next() {
    let stage = Stage::set().await;
    let stream = Behaviour::Sse {
        events: 2,
        interval: NEVER,
    };
    stage.upstream.on("*", stream);

    for sent in on_both(&stage, "POST") {
        let mut client = begin(&stage, &sent).await;
        assert_eq!(piece(&mut client).await, "data: {\"n\":0}\n\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_and_the_connection_goes_on() {
    let stage = Stage::set().await;
    let interval = Duration::from_millis(5);
    stage.upstream.on(
        "*",
        Behaviour::Sse {
            events: 20,
            interval,
        },
    );

    for sent in on_both(&stage, "GET") {
        let mut client = begin(&stage, &sent).await;
        let mut text = String::new();
        while let Some(piece) = client.read_chunk().await {
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        let events: String = (0..20)
            .map(|n| format!("data: {{\"n\":{n}}}\n\n"))
            .collect();
        assert_eq!(text, events);

        client.send(&request("GET", "/x").to_bytes()).await;
        assert_eq!(client.read_head().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_an_event_stream_cancels_it_upstream() {
    let stage = Stage::set().await;
    stage.upstream.on(
        "*",
        Behaviour::Sse {
            events: 2,
            interval: NEVER,
        },
    );

    for sent in on_both(&stage, "GET") {
        let mut client = begin(&stage, &sent).await;
        piece(&mut client).await;
        drop(client);
        stage.upstream.wait_for_disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_in_the_middle_of_a_body_cancels_it_upstream() {
    let stage = Stage::set().await;
    stage.upstream.on("*", Behaviour::HangMidBody);

    for sent in on_both(&stage, "GET") {
        let mut client = begin(&stage, &sent).await;
        assert_eq!(piece(&mut client).await, "begin");
        client.reset();
        stage.upstream.wait_for_disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_answer_cancels_the_request() {
    let stage = Stage::set().await;
    stage.upstream.on("*", Behaviour::HangBeforeHeader);

    for (count, sent) in on_both(&stage, "GET").into_iter().enumerate() {
        let mut client = stage.gateway.client().await;
        client.send(&sent.to_bytes()).await;
        stage.upstream.wait_for_requests(count + 1).await;
        drop(client);
        stage.upstream.wait_for_disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle_of_an_upload_leaves_no_whole_request() {
    let stage = Stage::set().await;
    let whole = request("POST", "/files/1").body([b'x'; 1000]).to_bytes();
    let mut client = stage.gateway.client().await;

    client.send(&whole[..whole.len() - 1]).await;
    // The upload has begun when the upstream is connected to for it.
    assert_eventually!(stage.upstream.open_connections() > 0, "an upload upstream");
    drop(client);

    stage.upstream.wait_for_disconnect().await;
    let seen = stage.upstream.requests();
    assert!(!seen[0].complete, "{seen:#?}");
}
