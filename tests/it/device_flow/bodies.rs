//! What may be sent to `code` and `token`, and what is said about anything else.

use serde_json::{Value, json};

use super::{CODE, TOKEN, set};
use crate::support::{Login, RawClient, Stage, request};

async fn refuses_body(stage: &Stage, path: &str, kind: &str, body: &str) -> Value {
    let request = request("POST", path)
        .header("Content-Type", kind)
        .body(body);
    let response = stage.refuses(&request, 400).await;
    let body = response.json();
    assert_eq!(body["error"], "invalid_request", "{body}");
    assert_eq!(
        (&body["code"], &body["status"]),
        (&json!("bad_request"), &json!(400))
    );
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_at_fault_is_named() {
    let (stage, _) = set().await;
    let long = "x".repeat(256);

    for (body, faults) in [
        (
            json!({}),
            vec![("client_id", "missing"), ("device_label", "missing")],
        ),
        (
            json!({"client_id": 1, "device_label": null}),
            vec![("client_id", "string_type"), ("device_label", "missing")],
        ),
        (
            json!({"client_id": "difyctl", "device_label": "  "}),
            vec![("device_label", "string_length")],
        ),
        (
            json!({"client_id": "difyctl", "device_label": long}),
            vec![("device_label", "string_length")],
        ),
        (
            json!({"client_id": "difyctl", "device_label": "a\u{7}b"}),
            vec![("device_label", "string_pattern")],
        ),
        (
            json!({"client_id": "y".repeat(65), "device_label": "x"}),
            vec![("client_id", "string_length")],
        ),
    ] {
        let said = refuses_body(&stage, CODE, "application/json", &body.to_string()).await;
        let details = said["details"].as_array().unwrap().iter();
        let named: Vec<_> = details
            .map(|fault| {
                (
                    fault["loc"][0].as_str().unwrap(),
                    fault["type"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(named, faults, "{body}");
    }
    let longest = json!({"client_id": "difyctl", "device_label": "é".repeat(255)});
    stage
        .refuses(&request("POST", CODE).json(&longest), 200)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_body_at_all_is_400_and_never_500() {
    let (stage, _) = set().await;
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    // What a JSON parser takes, and would be a body but for that.
    let member = |more: &str| format!(r#"{{"client_id": "difyctl", "device_label": "x", {more}}}"#);
    let deeper = member(&format!("\"more\": {}1{}", "[".repeat(8), "]".repeat(8)));
    let twice = member("\"client_id\": \"difyctl\"");

    for path in [CODE, TOKEN] {
        for (kind, body) in [
            ("application/json", ""),
            ("application/json", "{"),
            ("application/json", "[]"),
            ("application/json", "null"),
            ("application/json", &deep),
            ("application/json", &deeper),
            ("application/json", &twice),
            (
                "text/plain",
                r#"{"client_id": "difyctl", "device_label": "x"}"#,
            ),
            ("multipart/form-data; boundary=x", "--x--"),
            (
                "application/x-www-form-urlencoded",
                "client_id=a&client_id=b",
            ),
            ("application/x-www-form-urlencoded", "%"),
        ] {
            refuses_body(&stage, path, kind, body).await;
        }
        stage.refuses(&request("POST", path), 400).await;
        stage
            .refuses(
                &request("POST", path)
                    .header("Content-Type", "\u{e9}")
                    .body("{}"),
                400,
            )
            .await;
    }
    let windows = |key: &String| key.starts_with("rl:");
    assert!(stage.redis.keys().await.iter().all(windows));
}

/// `{"client_id": "difyctl", "device_label": "x"}`, compressed by gzip.
const COMPRESSED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\xce\xc9\x4c\
    \xcd\x2b\x89\xcf\x4c\x51\xb2\x52\x50\x4a\xc9\x4c\xab\x4c\x2e\xc9\x51\xd2\x01\x32\x53\xcb\
    \x32\x93\x53\xe3\x73\x12\x93\x52\x73\x40\x52\x15\x4a\xb5\x00\x8b\xa4\x6b\x48\x2d\x00\x00\x00";

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_never_unfolded() {
    let (stage, _) = set().await;
    for path in [CODE, TOKEN] {
        let request = request("POST", path).header("Content-Type", "application/json");
        let request = request.header("Content-Encoding", "gzip").body(COMPRESSED);
        let response = stage.refuses(&request, 400).await;
        assert_eq!(response.json()["error"], "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_client_is_unsupported_and_another_grant_too() {
    let (stage, _) = set().await;

    let body = json!({"client_id": "stranger", "device_label": "x"});
    let response = stage.refuses(&request("POST", CODE).json(&body), 400).await;
    assert_eq!(response.json()["error"], "unsupported_client");
    let form = request("POST", TOKEN).form("grant_type=password&client_id=difyctl&device_code=x");
    let response = stage.refuses(&form, 400).await;
    assert_eq!(response.json()["error"], "unsupported_grant_type");
    assert_eq!(stage.redis.keys().await, ["rl:device_code:ip:127.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_16_kib_is_413_and_the_connection_ends() {
    let (stage, _) = set().await;
    let large = vec![b' '; 16 * 1024 + 1];

    let mut announced = stage.gateway.client().await;
    announced
        .send(&request("POST", CODE).body(&large).to_bytes())
        .await;
    let mut chunked = stage.gateway.client().await;
    let chunks = request("POST", CODE).chunked(&[&large[..9_000], &large[9_000..]]);
    chunked.send(&chunks.to_bytes()).await;

    for client in [&mut announced, &mut chunked] {
        let response = client.read_response().await;
        assert_eq!(response.status, 413, "{response:?}");
        assert_eq!(response.json()["code"], "request_entity_too_large");
        assert!(client.is_closed(crate::support::patience(5.0)).await);
    }
    assert_eq!(stage.redis.count_keys().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_to_be_asked_for_the_body_is_asked() {
    let (stage, _) = set().await;
    let body = json!({"client_id": "difyctl", "device_label": "x"}).to_string();
    let head = format!(
        "POST {CODE} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut client = RawClient::connect(stage.gateway.addr()).await;

    client.send(head.as_bytes()).await;
    let interim = client.read_exact(25).await;
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send(body.as_bytes()).await;
    let response = client.read_response().await;

    assert_eq!(response.status, 200, "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_good_for_more_than_one_login() {
    let (stage, _) = set().await;
    let body = json!({"client_id": "difyctl", "device_label": "x"});
    let mut client = RawClient::connect(stage.gateway.addr()).await;

    for _ in 0..3 {
        client
            .send(&request("POST", CODE).json(&body).to_bytes())
            .await;
        assert_eq!(client.read_response().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_whole_is_given_up() {
    let (stage, _) = set().await;
    let mut client = RawClient::connect(stage.gateway.addr()).await;

    client
        .send(format!("POST {CODE} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{{").as_bytes())
        .await;
    client.finish_sending().await;

    assert!(client.is_closed(crate::support::patience(5.0)).await);
    assert_eq!(stage.redis.count_keys().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_type_that_is_no_text_is_named_and_polls_nothing() {
    let (stage, _) = set().await;
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    for grant in [
        json!(["authorization_code"]),
        json!(5),
        json!({}),
        json!(true),
    ] {
        let body = json!({
            "grant_type": grant, "device_code": login.device_code, "client_id": "difyctl"
        });
        let refused = refuses_body(&stage, TOKEN, "application/json", &body.to_string()).await;
        assert_eq!(refused["details"][0]["loc"], json!(["grant_type"]));
        assert_eq!(refused["details"][0]["type"], "string_type");
    }
    let polled = login.polls(&stage.gateway).await;
    assert_eq!(polled.json()["error"], "authorization_pending");
}
