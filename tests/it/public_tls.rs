//! TLS on the public listener, spoken to by OpenSSL and curl.

mod clients;
mod files;
mod rotation;

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::support::{
    Behaviour, Certificates, Gateway, GatewayBuilder, Printed, RawClient, Stage, request, run,
};

/// Turns TLS on, with the certificate of this name.
fn with_tls(gateway: GatewayBuilder, made: &Certificates, name: &str) -> GatewayBuilder {
    gateway
        .set("server.tls.cert", &quoted(&made.cert(name)))
        .set("server.tls.key", &quoted(&made.key(name)))
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_str().unwrap())
}

/// Runs curl against the gateway, under the name that its certificate has.
async fn curl(gateway: SocketAddr, made: &Certificates, path: &str, more: &[&str]) -> Printed {
    let resolve = format!("gateway.test:{}:127.0.0.1", gateway.port());
    let url = format!("https://gateway.test:{}{path}", gateway.port());
    let ca = made.cert("ca");
    let fixed = ["-sS", "-i", "--max-time", "20", "--resolve", &resolve];
    let mut arguments = fixed.to_vec();
    arguments.extend(["--cacert", ca.to_str().unwrap()]);
    arguments.extend(more);
    arguments.push(&url);
    run("curl", &arguments).await
}

/// Opens a connection with `openssl s_client` and sends it `input`; it prints what comes back.
async fn s_client(gateway: SocketAddr, more: &[&str], input: &str) -> Printed {
    let address = gateway.to_string();
    let mut child: Child = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-ign_eof"])
        .args(more)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The connection may have been refused already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output());
    let output = output.await.expect("s_client ends").unwrap();
    Printed {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

const CLOSING: &str = "GET /v1/info HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_served_and_the_upstream_hears_of_https() {
    let made = Certificates::make();
    let stage = Stage::with(|gateway| with_tls(gateway, &made, "server")).await;
    let addr = stage.gateway.addr();

    let printed = curl(addr, &made, "/v1/info", &["--http1.1"]).await;

    assert!(printed.out.starts_with("HTTP/1.1 200 "), "{printed:?}");
    let seen = stage.upstream.take_requests();
    assert_eq!(seen[0].header("x-forwarded-proto"), Some("https"));
    let port = addr.port().to_string();
    assert_eq!(seen[0].header("x-forwarded-port"), Some(port.as_str()));
    assert_eq!(seen[0].header("x-forwarded-for"), Some("127.0.0.1"));

    // Without a port in `Host` it is the scheme's.
    s_client(addr, &["-quiet"], CLOSING).await;
    let seen = stage.upstream.take_requests();
    assert_eq!(seen[0].header("x-forwarded-port"), Some("443"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_is_checked_and_a_body_goes_through_both_ways() {
    let made = Certificates::make();
    let stage = Stage::with(|gateway| with_tls(gateway, &made, "server")).await;
    let (addr, apps) = (stage.gateway.addr(), "/openapi/v1/apps");
    stage.upstream.on("*", Behaviour::EchoLength);
    let body = made.path().join("body");
    std::fs::write(&body, "x".repeat(1 << 20)).unwrap();
    let data = format!("@{}", body.to_str().unwrap());
    let bearer = format!("Authorization: Bearer {}", stage.account.token);

    let refused = curl(addr, &made, apps, &["--http1.1"]).await;
    let sent = ["--http1.1", "-H", &bearer, "--data-binary", &data];
    let echoed = curl(addr, &made, apps, &sent).await;

    assert!(refused.out.starts_with("HTTP/1.1 401 "), "{refused:?}");
    assert!(refused.out.contains("www-authenticate"), "{refused:?}");
    assert!(echoed.out.starts_with("HTTP/1.1 200 "), "{}", echoed.err);
    assert!(echoed.out.contains("1048576"), "{echoed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_1_2_and_1_3_are_spoken_and_1_1_is_not() {
    let made = Certificates::make();
    let gateway = with_tls(Gateway::builder(), &made, "server").start().await;

    for (version, spoken) in [("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        // OpenSSL's own policy would keep it from even trying 1.1.
        let more = [version, "-cipher", "DEFAULT:@SECLEVEL=0"];
        let printed = s_client(gateway.addr(), &more, CLOSING).await;
        assert_eq!(
            printed.out.contains("HTTP/1.1 502 "),
            spoken,
            "{version}: {printed:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_connection_is_told_to_the_client() {
    let made = Certificates::make();
    let stage = Stage::with(|gateway| with_tls(gateway, &made, "server")).await;
    let whole = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end";
    stage.upstream.on("*", Behaviour::Raw(whole.to_vec()));

    let printed = s_client(stage.gateway.addr(), &[], CLOSING).await;

    // Without TLS's own goodbye, an end could be a cut.
    assert!(printed.out.contains("until the end"), "{printed:?}");
    assert!(!printed.err.contains("unexpected eof"), "{printed:?}");
    assert_eq!(printed.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_on_the_port_is_refused_and_never_answered() {
    let made = Certificates::make();
    let stage = Stage::with(|gateway| with_tls(gateway, &made, "server")).await;
    let mut client = stage.gateway.client().await;

    client.send(&request("GET", "/v1/info").to_bytes()).await;

    assert!(client.is_closed(Duration::from_secs(10)).await);
    assert!(stage.upstream.take_requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_the_deadline_of_a_head() {
    let made = Certificates::make();
    let stage = Stage::with(|gateway| {
        with_tls(gateway, &made, "server").set("server.request_header_timeout", "\"3s\"")
    })
    .await;
    let addr = stage.gateway.addr();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(RawClient::connect(addr).await);
    }
    let mut dripping = RawClient::connect(addr).await;
    // The beginning of a record with a ClientHello in it, and then a byte now and then.
    dripping.send(b"\x16\x03\x01\x02\x00\x01").await;

    let served = curl(addr, &made, "/v1/info", &[]).await;
    let mut gone = false;
    for _ in 0..100 {
        gone = gone
            || dripping.is_closed(Duration::from_millis(100)).await
            || dripping.try_send(b"\0").await.is_err();
    }

    assert_eq!(served.code, Some(0), "{served:?}");
    assert!(gone, "a handshake that drips");
    for client in &mut silent {
        assert!(client.is_closed(Duration::from_secs(10)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_under_way_does_not_hold_up_the_end() {
    let made = Certificates::make();
    let mut gateway = with_tls(Gateway::builder(), &made, "server").start().await;
    let client = gateway.client().await;

    gateway.terminate();

    let status = gateway.wait_exit(Duration::from_secs(5)).await;
    assert!(status.success(), "{status:?}");
    drop(client);
}
