//! The upstream by TLS.

use super::{assert_fine, assert_refused};
use crate::support::{Authority, GatewayBuilder, Issued, Stage, Terminator, Upstream, toml};

fn by_tls(gateway: GatewayBuilder, host: &str, port: u16, ca: &Authority) -> GatewayBuilder {
    gateway
        .set("upstream.url", &format!("\"https://{host}:{port}\""))
        .set("upstream.ca", &toml(&ca.file()))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_by_tls_as_http_1_1() {
    let authority = Authority::new();
    let upstream = Upstream::start().await;
    let tls = Terminator::before(upstream.addr(), &authority.issue(&["localhost"])).await;
    let stage = Stage::with(|gateway| by_tls(gateway, "localhost", tls.port(), &authority)).await;

    for _ in 0..3 {
        let token = Some(stage.account.token.as_str());
        let response = stage.gateway.get("/openapi/v1/apps", token).await;
        assert_eq!(response.status, 200, "{}", stage.gateway.log_text());
    }
    let seen = upstream.take_requests();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|r| r.request_line.ends_with("HTTP/1.1")));
    let builder = crate::support::Gateway::builder()
        .database(&stage.database)
        .redis(&stage.redis);
    assert_fine(&by_tls(builder, "localhost", tls.port(), &authority));
}

/// Puts the gateway before a server that it should not believe.
async fn refuses(issued: &Issued, host: &str, ca: &Authority, why: &str) {
    let upstream = Upstream::start().await;
    let tls = Terminator::before(upstream.addr(), issued).await;
    let stage = Stage::with(|gateway| by_tls(gateway, host, tls.port(), ca)).await;

    for _ in 0..3 {
        let token = Some(stage.account.token.as_str());
        let response = stage.gateway.get("/openapi/v1/apps", token).await;
        assert_eq!(response.status, 502, "{}", stage.gateway.log_text());
    }

    assert!(upstream.take_requests().is_empty(), "nothing is sent");
    let tells = |line: &serde_json::Value| {
        let line = line.to_string();
        line.contains("dependency is down") && line.contains(why)
    };
    stage.gateway.wait_for_log(tells).await;
    let told = stage.gateway.log_lines().into_iter().filter(tells).count();
    assert_eq!(told, 1, "{}", stage.gateway.log_text());
    let builder = crate::support::Gateway::builder()
        .database(&stage.database)
        .redis(&stage.redis);
    assert_refused(
        &by_tls(builder, host, tls.port(), ca),
        &["upstream.url", why],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_server_of_another_name() {
    let authority = Authority::new();
    let issued = authority.issue(&["elsewhere.example"]);
    refuses(&issued, "localhost", &authority, "not valid for name").await;
    refuses(&issued, "127.0.0.1", &authority, "not valid for name").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_server_that_nobody_vouches_for() {
    let (authority, other) = (Authority::new(), Authority::new());
    let issued = authority.issue(&["localhost"]);
    refuses(&issued, "localhost", &other, "UnknownIssuer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_server_whose_certificate_has_expired() {
    let authority = Authority::new();
    let issued = authority.issue_expired(&["localhost"]);
    refuses(&issued, "localhost", &authority, "expired").await;
}
