//! HTTP/2 over TLS, spoken by curl (nghttp2), nghttp and h2load, and by hand where none of them
//! would misbehave enough.

mod attacks;
mod chatter;
mod crowd;
pub(crate) mod frames;
mod leaving;
mod provoked;
mod rules;
mod slow;
mod targets;

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::{
    Behaviour, Certificates, Gateway, GatewayBuilder, Printed, Stage, assert_eventually, run,
    within,
};
use frames::Http2;

/// A stage whose gateway speaks TLS, and so HTTP/2.
pub(crate) async fn stage(configure: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Stage {
    let made = Certificates::make();
    let quoted = |path: std::path::PathBuf| format!("{path:?}");
    Stage::with(|gateway| {
        let gateway = gateway
            .set("server.tls.cert", &quoted(made.cert("server")))
            .set("server.tls.key", &quoted(made.key("server")));
        configure(gateway)
    })
    .await
}

fn url(gateway: &Gateway, path: &str) -> String {
    format!("https://{}{path}", gateway.addr())
}

/// Runs curl over HTTP/2 alone.
async fn curl(gateway: &Gateway, path: &str, more: &[&str]) -> Printed {
    let url = url(gateway, path);
    let mut arguments = vec!["-sS", "-i", "-k", "--http2", "--max-time", "20"];
    arguments.extend(more);
    arguments.push(&url);
    run("curl", &arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_on_as_one_clean_request_of_http_1() {
    let stage = stage(|gateway| gateway).await;
    let bearer = format!("authorization: Bearer {}", stage.account.token);

    let printed = curl(&stage.gateway, "/openapi/v1/apps?page=1", &["-H", &bearer]).await;

    assert!(printed.out.starts_with("HTTP/2 200"), "{printed:?}");
    let seen = stage.upstream.take_requests();
    assert_eq!(seen[0].request_line, "GET /openapi/v1/apps?page=1 HTTP/1.1");
    let host = stage.gateway.addr().to_string();
    let hosts = seen[0].headers.iter();
    let hosts = hosts.filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    assert_eq!(hosts.map(|(_, value)| value).collect::<Vec<_>>(), [&host]);
    assert_eq!(seen[0].header("x-forwarded-host"), Some(host.as_str()));
    assert_eq!(seen[0].header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen[0].header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(
        seen[0]
            .headers
            .iter()
            .all(|(name, _)| !name.starts_with(':'))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_local_endpoints_answer_as_ever() {
    let stage = stage(|gateway| gateway).await;
    let gateway = &stage.gateway;
    let code = "/openapi/v1/oauth/device/code";

    let refused = curl(gateway, "/openapi/v1/apps", &[]).await;
    let denied = curl(gateway, "/inner/api/x", &[]).await;
    let form = ["-d", "client_id=difyctl&device_label=x"];
    let begun = curl(gateway, code, &form).await;

    assert!(refused.out.starts_with("HTTP/2 401"), "{refused:?}");
    assert!(
        refused
            .out
            .contains("www-authenticate: Bearer realm=\"api\"")
    );
    assert!(refused.out.contains("x-request-id: "), "{refused:?}");
    assert!(denied.out.starts_with("HTTP/2 404"), "{denied:?}");
    assert!(begun.out.starts_with("HTTP/2 200"), "{begun:?}");
    assert!(begun.out.contains("\"user_code\""), "{begun:?}");
    assert!(stage.upstream.take_requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_either_framing_arrive_whole() {
    let stage = stage(|gateway| gateway).await;
    stage.upstream.on("*", Behaviour::EchoLength);
    let directory = tempfile::tempdir().unwrap();
    let body = directory.path().join("body");
    std::fs::write(&body, vec![b'x'; 3 << 20]).unwrap();
    let body = body.to_str().unwrap();
    let data = format!("@{body}");

    let announced = curl(&stage.gateway, "/files/1", &["--data-binary", &data]).await;
    // A body of unknown length, which HTTP/2 need not announce.
    let command = format!(
        "curl -sS -i -k --http2 --max-time 20 -T - {} < {body}",
        url(&stage.gateway, "/files/1")
    );
    let open = run("sh", &["-c", &command]).await;

    for printed in [announced, open] {
        assert!(printed.out.starts_with("HTTP/2 200"), "{printed:?}");
        assert!(printed.out.contains("\"length\":3145728"), "{printed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_before_the_upstream_sends_the_next() {
    let stage = stage(|gateway| gateway).await;
    let interval = Duration::from_secs(3600);
    stage.upstream.on(
        "*",
        Behaviour::Sse {
            events: 2,
            interval,
        },
    );
    let mut curl = Command::new("curl")
        .args([
            "-sS",
            "-N",
            "-k",
            "--http2",
            &url(&stage.gateway, "/files/1"),
        ])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();

    let line = within(10.0, "the first event", lines.next_line()).await;

    assert_eq!(line.unwrap().unwrap(), "data: {\"n\":0}");
    // And a client that leaves takes its request along.
    curl.kill().await.unwrap();
    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await == 0.0,
        "the request is cancelled"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_of_a_few_connections_are_served() {
    let stage = stage(|gateway| gateway).await;
    let url = url(&stage.gateway, "/v1/info");

    let arguments = ["-n", "2000", "-c", "4", "-m", "50", &url];
    let printed = run("h2load", &arguments).await;

    assert!(printed.out.contains("2000 2xx"), "{printed:?}");
    assert!(printed.out.contains("0 failed, 0 errored"), "{printed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_under_way_ends_in_peace_after_sigterm() {
    let mut stage = stage(|gateway| gateway).await;
    let interval = Duration::from_millis(100);
    stage.upstream.on(
        "*",
        Behaviour::Sse {
            events: 20,
            interval,
        },
    );
    let mut curl = Command::new("curl")
        .args([
            "-sS",
            "-N",
            "-k",
            "--http2",
            &url(&stage.gateway, "/files/1"),
        ])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
    within(10.0, "the first event", lines.next_line())
        .await
        .unwrap();

    stage.gateway.terminate();

    let mut events = 1;
    while let Some(line) = within(10.0, "more", lines.next_line()).await.unwrap() {
        events += usize::from(line.starts_with("data: "));
    }
    assert_eq!(events, 20);
    let status = stage.gateway.wait_exit(Duration::from_secs(20)).await;
    assert!(status.success(), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_101_is_no_answer_here() {
    let stage = stage(|gateway| gateway).await;
    let switches = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let switches = Behaviour::Raw(switches.to_vec());
    stage.upstream.on("/socket.io/", switches);

    let printed = curl(&stage.gateway, "/socket.io/", &[]).await;

    assert!(printed.out.starts_with("HTTP/2 502"), "{printed:?}");
}
