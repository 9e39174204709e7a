//! `server.proxy_protocol`: HAProxy says who its client is, and nobody else may.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::support::{
    Certificates, GatewayBuilder, RawClient, Stage, free_port, patience, request, run,
};

const FROM_ELSEWHERE: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n";

fn behind_proxies(gateway: GatewayBuilder) -> GatewayBuilder {
    gateway
        .set("server.proxy_protocol", "true")
        .set("server.trusted_proxies", r#"["127.0.0.1/32"]"#)
}

/// An HAProxy in front of the gateway, with this option on its server line.
async fn haproxy(gateway: SocketAddr, option: &str) -> (Child, SocketAddr) {
    let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("haproxy.cfg");
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         frontend f\n bind {front}\n default_backend b\nbackend b\n server g {gateway} {option}\n"
    );
    std::fs::write(&file, text).unwrap();
    let child = Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("haproxy: see .ci/setup test");
    let begun = std::time::Instant::now();
    while tokio::net::TcpStream::connect(front).await.is_err() {
        assert!(begun.elapsed() < patience(10.0), "haproxy did not come up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (child, front)
}

/// A request from another address of the loopback network.
async fn from(client: Ipv4Addr, to: SocketAddr) -> String {
    let client = client.to_string();
    let url = format!("http://{to}/v1/info");
    let only_status = ["-sS", "-o", "/dev/null", "-w", "%{http_code}"];
    let claim = "X-Forwarded-For: 198.51.100.1";
    let more = ["--interface", &client, "-H", claim, &url];
    let arguments = [&only_status[..], &more].concat();
    run("curl", &arguments).await.out
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxys_client_is_the_client_in_either_version() {
    let stage = Stage::with(behind_proxies).await;
    let client = Ipv4Addr::new(127, 0, 0, 9);

    for option in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options unique-id",
    ] {
        let (_haproxy, front) = haproxy(stage.gateway.addr(), option).await;

        assert_eq!(from(client, front).await, "200", "{option}");

        let seen = stage.upstream.take_requests();
        // What the client itself claims is not believed: it is no proxy.
        assert_eq!(
            seen[0].header("x-forwarded-for"),
            Some("127.0.0.9"),
            "{option}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_begins_where_the_header_ends() {
    let made = Certificates::make();
    let quoted = |path: std::path::PathBuf| format!("{path:?}");
    let stage = Stage::with(|gateway| {
        behind_proxies(gateway)
            .set("server.tls.cert", &quoted(made.cert("server")))
            .set("server.tls.key", &quoted(made.key("server")))
    })
    .await;

    for option in ["send-proxy", "send-proxy-v2"] {
        let (_haproxy, front) = haproxy(stage.gateway.addr(), option).await;
        let url = format!("https://{front}/v1/info");
        for version in ["--http1.1", "--http2"] {
            let arguments = ["-sS", "-k", "--interface", "127.0.0.9", version, &url];
            assert_eq!(run("curl", &arguments).await.code, Some(0), "{option}");
        }
    }

    for seen in stage.upstream.take_requests() {
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.9"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_a_trusted_proxy_itself_is_believed() {
    let stage = Stage::with(|gateway| {
        behind_proxies(gateway).set("server.trusted_proxies", r#"["127.0.0.1", "10.0.0.0/8"]"#)
    })
    .await;
    let mut client = stage.gateway.client().await;
    client
        .send(b"PROXY TCP4 10.1.2.3 127.0.0.1 4711 80\r\n")
        .await;
    let sent = request("GET", "/v1/info").header("X-Forwarded-For", "203.0.113.7");
    client.send(&sent.to_bytes()).await;

    assert_eq!(client.read_response().await.status, 200);

    let seen = stage.upstream.take_requests();
    assert_eq!(
        seen[0].header("x-forwarded-for"),
        Some("203.0.113.7, 10.1.2.3")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_may_come_in_pieces_and_a_local_one_says_nothing() {
    let stage = Stage::with(behind_proxies).await;
    let whole = [FROM_ELSEWHERE, &request("GET", "/v1/info").to_bytes()].concat();
    let local = [
        &b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..],
        &request("GET", "/v1/info").to_bytes(),
    ];

    for (bytes, said) in [(whole, "203.0.113.7"), (local.concat(), "127.0.0.1")] {
        let mut client = stage.gateway.client().await;
        for piece in bytes.chunks(7) {
            client.send(piece).await;
        }
        assert_eq!(client.read_response().await.status, 200);
        let seen = stage.upstream.take_requests();
        assert_eq!(seen[0].header("x-forwarded-for"), Some(said));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_trusted_is_cut_off_and_who_is_must_send_one() {
    let stranger = Stage::with(|gateway| {
        behind_proxies(gateway).set("server.trusted_proxies", r#"["127.0.0.2/32"]"#)
    })
    .await;
    let trusted = Stage::with(behind_proxies).await;
    let get = request("GET", "/v1/info").to_bytes();
    let forged = [FROM_ELSEWHERE, &get].concat();

    for (stage, bytes) in [(&stranger, &forged), (&stranger, &get), (&trusted, &get)] {
        let mut client = stage.gateway.client().await;
        let _ = client.try_send(bytes).await;
        assert!(client.is_closed(Duration::from_secs(10)).await);
        assert!(stage.upstream.take_requests().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_a_header_is_a_malformed_request() {
    let stage =
        Stage::with(|gateway| gateway.set("server.trusted_proxies", r#"["127.0.0.1/32"]"#)).await;
    let mut client = stage.gateway.client().await;
    client.send(FROM_ELSEWHERE).await;

    assert_eq!(client.read_response().await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_does_not_come_has_the_deadline_of_a_head() {
    let stage = Stage::with(|gateway| {
        behind_proxies(gateway).set("server.request_header_timeout", "\"500ms\"")
    })
    .await;
    let mut silent = RawClient::connect(stage.gateway.addr()).await;
    let mut halting = RawClient::connect(stage.gateway.addr()).await;
    halting.send(b"PROXY TCP4 203.0").await;

    assert!(silent.is_closed(Duration::from_secs(10)).await);
    assert!(halting.is_closed(Duration::from_secs(10)).await);
}
