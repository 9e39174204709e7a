//! When the branch exists at all, and what it asks of the enterprise service.

use std::time::Duration;

use serde_json::json;

use super::{DEVICE, EVE};
use crate::support::{
    Behaviour, Grant, Login, Stage, Upstream, assert_eventually, assertion, completes, enterprise,
    enterprise_stage, is_licensed, licence, request, with_enterprise,
};

/// The four endpoints under each of their names.
const PATHS: [(&str, &str); 8] = [
    (
        "GET",
        "/openapi/v1/oauth/device/sso-initiate?user_code=ABCD-3456",
    ),
    (
        "GET",
        "/openapi/v1/oauth/device/sso-complete?sso_assertion=x",
    ),
    ("GET", "/openapi/v1/oauth/device/approval-context"),
    ("POST", "/openapi/v1/oauth/device/approve-external"),
    ("GET", "/v1/oauth/device/sso-initiate?user_code=ABCD-3456"),
    ("GET", "/v1/device/sso-complete?sso_assertion=x"),
    ("GET", "/v1/oauth/device/approval-context"),
    ("POST", "/v1/oauth/device/approve-external"),
];

/// Every one of them is 404, and nothing has been counted or stored.
async fn is_absent(stage: &Stage) {
    let before = stage.redis.keys().await;
    for (method, path) in PATHS {
        let bare = stage.refuses(&request(method, path), 404).await;
        assert_eq!(bare.json()["code"], "not_found");
        // Not even a body is read that would be too large.
        let large = request(method, path).body(vec![b'x'; 20_000]);
        stage.refuses(&large, 404).await;
    }
    assert_eq!(stage.redis.keys().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_enterprise_off_every_path_is_404_and_touches_no_bucket() {
    is_absent(&Stage::set().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_address_of_the_service_every_path_is_404_and_the_log_says_why() {
    let stage = Stage::with(|gateway| gateway.set("enterprise.enabled", "true")).await;
    is_absent(&stage).await;
    assert!(
        stage
            .gateway
            .log_text()
            .contains("enterprise.api_url is not set")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_branch_comes_and_goes_with_the_licence() {
    let (stage, service) = enterprise_stage(|gateway| gateway).await;
    let context = request("GET", &format!("{DEVICE}/approval-context"));
    stage.refuses(&context, 401).await;

    for (status, answer) in [("expired", 404), ("expiring", 401), ("lost", 404)] {
        licence(&service, status);
        assert_eventually!(
            context.send(stage.gateway.addr()).await.status == answer,
            "the licence is {status}"
        );
        if answer == 404 {
            is_absent(&stage).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licence_that_cannot_be_read_is_none() {
    let service = Upstream::start().await;
    let stage = Stage::with(|gateway| with_enterprise(gateway, &service)).await;
    for answer in [
        Behaviour::Json(200, json!({"License": {"status": "inactive"}})),
        Behaviour::Json(200, json!({"License": {"status": true}})),
        Behaviour::Json(500, json!({"License": {"status": "active"}})),
        Behaviour::CloseBeforeHeader,
    ] {
        service.on("/info", answer);
        let asked = service.requests().len();
        service.wait_for_requests(asked + 1).await;
        is_absent(&stage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_service_is_no_end_of_the_licence() {
    let (stage, service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let grant = Grant::of(&stage.gateway, &login, EVE).await;
    service.on("*", Behaviour::CloseBeforeHeader);
    service
        .wait_for_requests(service.requests().len() + 1)
        .await;

    stage.refuses(&grant.approves(), 200).await;
    let line = |line: &serde_json::Value| {
        crate::support::Gateway::log_field(line, "dependency").is_some_and(|it| it == "enterprise")
            && crate::support::Gateway::log_field(line, "error").is_some()
    };
    stage.gateway.wait_for_log(line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_fails_in_each_way_with_an_answer_of_its_own() {
    let (stage, service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let begin = format!("{DEVICE}/sso-initiate?user_code={}", login.user_code);
    let begin = request("GET", &begin);
    let page = |url: &str| Behaviour::Json(200, json!({"url": url}));

    for (behaviour, error) in [
        (
            Behaviour::Json(500, json!({"url": "https://idp.example"})),
            "sso_initiate_failed",
        ),
        (Behaviour::Json(200, json!([])), "sso_initiate_failed"),
        (
            Behaviour::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()),
            "sso_initiate_failed",
        ),
        (Behaviour::BigBody(1 << 20), "sso_initiate_failed"),
        (Behaviour::CloseBeforeHeader, "sso_initiate_failed"),
        (Behaviour::HangBeforeHeader, "sso_initiate_failed"),
        (Behaviour::Json(200, json!({})), "sso_initiate_missing_url"),
        (
            Behaviour::Json(200, json!({"url": null})),
            "sso_initiate_missing_url",
        ),
        (page(""), "sso_initiate_missing_url"),
        // A browser is not sent into a script, nor to a path of ours.
        (page("javascript:alert(1)"), "sso_initiate_missing_url"),
        (page("/console/api/logout"), "sso_initiate_missing_url"),
    ] {
        service.on("/device-flow/sso-initiate", behaviour.clone());
        let refused = stage.refuses(&begin, 502).await;
        assert_eq!(refused.json()["error"], error, "{behaviour:?}");
        assert_eq!(refused.header("location"), None);
    }
    // A line break in the page's address goes no further than the address's own encoding.
    service.on(
        "/device-flow/sso-initiate",
        page("https://idp.example/?a=\r\nX-Evil: 1"),
    );
    let begun = stage.refuses(&begin, 302).await;
    assert_eq!(begun.header("x-evil"), None);
    assert_eq!(
        login.state(&stage.redis).await.unwrap()["status"],
        "pending"
    );
}

/// Whether somebody has a connection to this port of 127.0.0.1, or one whose other end has closed it
/// (`ESTABLISHED` and `CLOSE_WAIT` in Linux's table).
fn is_connected_to(address: std::net::SocketAddr) -> bool {
    let remote = format!("0100007F:{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(2);
        words.next() == Some(&remote) && matches!(words.next(), Some("01" | "08"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_service_are_reused_and_nothing_is_sent_twice() {
    let (stage, service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let begin = format!("{DEVICE}/sso-initiate?user_code={}", login.user_code);
    let begin = request("GET", &begin);
    let posts = |service: &Upstream| {
        let requests = service.take_requests().into_iter();
        requests
            .filter(|request| request.method() == "POST")
            .count()
    };
    for _ in 0..5 {
        stage.refuses(&begin, 302).await;
    }
    assert_eq!(posts(&service), 5);
    // A connection may come back too late for the next request: without any reuse there are six.
    assert!(
        service.connections() < 5,
        "{} connections",
        service.connections()
    );

    // A kept connection that has ended takes nothing: the request goes over another one.
    for _ in 0..5 {
        assert_eventually!(
            {
                service.close_idle();
                service.open_connections() == 0 && !is_connected_to(service.addr())
            },
            "idle connections end"
        );
        stage.refuses(&begin, 302).await;
    }
    assert_eq!(posts(&service), 5);

    // One that breaks after the request was sent is not tried again: it may have been obeyed.
    service.on("/device-flow/sso-initiate", Behaviour::CloseBeforeHeader);
    stage.refuses(&begin, 502).await;
    assert_eq!(posts(&service), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_there_is_502_well_before_a_browser_gives_up() {
    let service = enterprise().await;
    let address = service.addr();
    let stage = Stage::with(|gateway| with_enterprise(gateway, &service)).await;
    is_licensed(&stage.gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    service.finish().await;
    // Bound, so that nobody else comes to listen there.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.set_reuseaddr(true).unwrap();
    taken.bind(address).unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let begin = format!("{DEVICE}/sso-initiate?user_code={}", login.user_code);
    let begun = std::time::Instant::now();

    let refused = stage.refuses(&request("GET", &begin), 502).await;

    assert_eq!(refused.json()["error"], "sso_initiate_failed");
    assert!(begun.elapsed() < Duration::from_secs(9));
    // What needs no service goes on.
    let completed = completes(&assertion(&login.user_code, EVE));
    stage.refuses(&completed, 302).await;
}
