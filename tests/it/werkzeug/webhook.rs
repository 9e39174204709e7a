//! A status that the author of a webhook chooses, which gunicorn sends on as it is.

use super::open;
use crate::support::{Gateway, RawClient, Wsgi, request};

/// The opening handshake of a WebSocket (RFC 6455 section 4.1).
const HANDSHAKE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_101_of_an_authors_choice_opens_no_way_to_the_application() {
    let (gateway, wsgi) = open().await;
    let mut opening = request("GET", "/triggers/webhook/101");
    for (name, value) in HANDSHAKE {
        opening = opening.header(name, value);
    }
    let inner = request("POST", "/inner/api/x").header("X-Dify-Identity", "forged");

    // Straight to gunicorn it does: the connection is one of requests, before and after.
    let mut straight = RawClient::connect(wsgi.addr()).await;
    straight.send(&opening.to_bytes()).await;
    assert_eq!(straight.read_head().await.status, 101);
    straight.send(&inner.to_bytes()).await;
    let answer = String::from_utf8(straight.read_exact(15).await).unwrap();
    assert_eq!(answer, "HTTP/1.1 200 OK");

    let mut client = gateway.client().await;
    client.send(&opening.to_bytes()).await;
    assert_eq!(client.read_response().await.status, 502);
    client.send(&inner.to_bytes()).await;
    assert!(client.is_closed(std::time::Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authors_choice_of_status_ends_with_its_request() {
    let wsgi = Wsgi::start().await;
    let gateway = Gateway::builder().upstream(wsgi.addr());
    let gateway = gateway.set("upstream.read_timeout", "\"1s\"").start().await;

    for chosen in ["100", "102", "103", "204", "205", "304", "404", "599"] {
        let mut client = gateway.client().await;
        let path = format!("/triggers/webhook/{chosen}");
        client.send(&request("GET", &path).to_bytes()).await;
        let first = client.read_response().await.status.to_string();
        if chosen.starts_with('1') {
            // No answer comes behind it.
            assert_eq!(first, "504", "{chosen}");
        } else {
            assert_eq!(first, chosen);
        }
        assert_eq!(gateway.get("/inner/api/x", None).await.status, 404);
    }
}
