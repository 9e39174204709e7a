//! Connections: how many are open, and why others came to nothing.

use super::status;
use crate::support::{Certificates, Gateway, RawClient, Stage, assert_eventually, request, run};

async fn open(gateway: &Gateway, protocol: &str) -> f64 {
    let metric = format!("difygate_connections{{protocol=\"{protocol}\"}}");
    gateway.metric(&metric).await
}

async fn failed(gateway: &Gateway, reason: &str) -> f64 {
    let metric = format!("difygate_connections_failed_total{{reason=\"{reason}\"}}");
    gateway.metric(&metric).await
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_are_counted_for_as_long_as_they_are_open() {
    let stage = Stage::with(|gateway| gateway.set("server.max_connections", "2")).await;
    let gateway = &stage.gateway;
    let get = request("GET", "/v1/info").to_bytes();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = gateway.client().await;
        client.send(&get).await;
        assert_eq!(client.read_response().await.status, 200);
        clients.push(client);
    }
    assert_eq!(open(gateway, "http1").await, 2.0);
    assert_eq!(status(gateway).await["connections"]["open"], 2);

    let _waiting = gateway.client().await;

    let waited = "difygate_connections_waited_total";
    assert_eventually!(gateway.metric(waited).await == 1.0, "the third one waits");
    drop(clients);
    assert_eventually!(open(gateway, "http1").await == 1.0, "it has its turn");
    assert_eq!(
        gateway.metric("difygate_connections_accepted_total").await,
        3.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_fail_or_never_end_are_counted_apart() {
    let made = Certificates::make();
    let stage = Stage::with(|gateway| {
        gateway
            .set("server.tls.cert", &format!("{:?}", made.cert("server")))
            .set("server.tls.key", &format!("{:?}", made.key("server")))
            .set("server.request_header_timeout", "\"3s\"")
    })
    .await;
    let gateway = &stage.gateway;

    let mut plain = gateway.client().await;
    plain.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let _silent = gateway.client().await;
    assert_eventually!(open(gateway, "opening").await > 0.0, "it is opening");

    assert_eventually!(failed(gateway, "tls").await == 1.0, "no handshake");
    assert_eventually!(failed(gateway, "deadline").await == 1.0, "no end of one");
    assert_eventually!(open(gateway, "opening").await == 0.0, "both are gone");
    let url = format!("https://{}/v1/info", gateway.addr());
    let arguments = [
        "-sS",
        "-k",
        "-o",
        "/dev/null",
        "-w",
        "%{http_version}",
        "--http2",
        &url,
    ];
    let printed = run("curl", &arguments).await;
    assert_eq!(printed.out, "2", "{printed:?}");
    let h2 = stage.upstream.take_requests().len();
    assert_eq!((h2, failed(gateway, "tls").await), (1, 1.0));
    assert_eventually!(open(gateway, "http2").await == 0.0, "curl is gone");
    let told = status(gateway).await;
    assert_eq!(told["connections"]["failed"]["deadline"], 1);
    assert_eq!(told["listening"][0]["tls"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_bad_proxy_headers_are_counted_apart() {
    let behind = |trusted: &'static str| {
        Stage::with(move |gateway| {
            gateway
                .set("server.proxy_protocol", "true")
                .set("server.trusted_proxies", trusted)
        })
    };
    let (ours, others) = tokio::join!(behind(r#"["127.0.0.1/32"]"#), behind(r#"["10.0.0.0/8"]"#));

    for stage in [&ours, &others] {
        let mut client = RawClient::connect(stage.gateway.addr()).await;
        let _ = client.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    }

    assert_eventually!(
        failed(&ours.gateway, "proxy_header").await == 1.0,
        "no header"
    );
    assert_eventually!(failed(&others.gateway, "stranger").await == 1.0, "no proxy");
    assert_eq!(failed(&ours.gateway, "stranger").await, 0.0);
}
