//! Starting, telling how one is, and stopping.

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Behaviour, Database, DedicatedPostgres, Gateway, NewToken, RedisSpace, Upstream,
    assert_eventually, get, request,
};

async fn readyz(gateway: &Gateway) -> (u16, Value) {
    let response = get(gateway.admin_addr(), "/readyz", None).await;
    (response.status, response.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_tells_each_dependencys_state_and_since_when() {
    let (upstream, redis) = (Upstream::start().await, RedisSpace::create().await);
    let postgres = DedicatedPostgres::start().await;
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(postgres.database())
        .redis(&redis)
        .start()
        .await;
    let (mut status, mut body);
    assert_eventually!(
        {
            (status, body) = readyz(&gateway).await;
            body["status"] == "ready"
        },
        "everything is reached"
    );
    assert_eq!(status, 200);
    let since = body["dependencies"]["postgres"]["since"].clone();
    for dependency in ["postgres", "redis", "upstream"] {
        assert_eq!(body["dependencies"][dependency]["state"], "up");
    }

    postgres.stop_immediate();

    assert_eventually!(
        readyz(&gateway).await.1["dependencies"]["postgres"]["state"] == "down",
        "the outage is noticed"
    );
    let (status, body) = readyz(&gateway).await;
    assert_eq!((status, &body["status"]), (200, &Value::from("degraded")));
    assert_ne!(body["dependencies"]["postgres"]["since"], since);
    assert_eq!(
        gateway
            .metric(r#"difygate_dependency_up{dependency="postgres"}"#)
            .await,
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_upstream_the_gateway_lives_but_is_not_ready() {
    let gateway = Gateway::builder().start().await;

    let (status, body) = readyz(&gateway).await;

    assert_eq!(
        (status, &body["status"]),
        (503, &Value::from("unavailable"))
    );
    assert_eq!(get(gateway.admin_addr(), "/livez", None).await.status, 200);
    assert_eq!(gateway.get("/v1/info", None).await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_serves_its_own_paths_and_nothing_else() {
    let gateway = Gateway::builder().start().await;
    let admin = gateway.admin_addr();

    let metrics = get(admin, "/metrics", None).await;
    assert!(metrics.text().contains("# HELP difygate_requests_total "));
    for path in ["/openapi/v1/apps", "/status", "/index.html", "//"] {
        assert_eq!(get(admin, path, None).await.status, 404, "{path}");
    }
    for path in ["/", "/status.json", "/livez", "/readyz", "/metrics"] {
        let ask = |method| request(method, path).header("Host", "localhost");
        let (got, head) = (ask("GET").send(admin).await, ask("HEAD").send(admin).await);
        let kind = got.header("content-type");
        assert_eq!(
            (head.status, head.header("content-type")),
            (got.status, kind)
        );
        assert_eq!(head.text(), "");
        let refused = ask("POST").send(admin).await;
        assert_eq!(
            (refused.status, refused.header("allow")),
            (405, Some("GET, HEAD"))
        );
    }
    assert_eq!(
        gateway.get("/readyz", None).await.status,
        502,
        "not on the public port"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_is_under_way_and_not_a_moment_longer() {
    let upstream = Upstream::start().await;
    upstream.on(
        "/v1/stream",
        Behaviour::Sse {
            events: 5,
            interval: Duration::from_secs(1),
        },
    );
    let mut gateway = Gateway::builder()
        .upstream(upstream.addr())
        .set("server.shutdown_grace", "\"60s\"")
        .start()
        .await;
    let mut idle = gateway.client().await;
    idle.send(&request("GET", "/v1/info").to_bytes()).await;
    assert_eq!(idle.read_response().await.status, 200);
    let mut streaming = gateway.client().await;
    streaming
        .send(&request("GET", "/v1/stream").to_bytes())
        .await;
    assert_eq!(streaming.read_head().await.status, 200);

    gateway.terminate();

    assert!(
        idle.is_closed(Duration::from_secs(5)).await,
        "idle connections end"
    );
    assert_eventually!(readyz(&gateway).await.0 == 503, "not ready at once");
    let mut events = 0;
    while let Some(chunk) = streaming.read_chunk().await {
        events += String::from_utf8_lossy(&chunk).matches("data:").count();
    }
    assert_eq!(events, 5, "the stream ran to its end");
    let status = gateway.wait_exit(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
    assert!(gateway.log_text().contains("every request has ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_accepted_after_a_stop_has_begun() {
    let upstream = Upstream::start().await;
    upstream.on("/v1/hang", Behaviour::HangBeforeHeader);
    let gateway = Gateway::builder().upstream(upstream.addr()).start().await;
    let mut under_way = gateway.client().await;
    under_way.send(&request("GET", "/v1/hang").to_bytes()).await;
    upstream.wait_for_requests(1).await;

    gateway.terminate();

    assert_eventually!(
        tokio::net::TcpStream::connect(gateway.addr())
            .await
            .is_err(),
        "the port is closed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_within_the_grace_is_cut_off() {
    let upstream = Upstream::start().await;
    upstream.on("/v1/hang", Behaviour::HangBeforeHeader);
    let mut gateway = Gateway::builder()
        .upstream(upstream.addr())
        .set("server.shutdown_grace", "\"300ms\"")
        .start()
        .await;
    let mut client = gateway.client().await;
    client.send(&request("GET", "/v1/hang").to_bytes()).await;
    upstream.wait_for_requests(1).await;

    gateway.terminate();

    let status = gateway.wait_exit(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
    assert!(gateway.log_text().contains("the rest was cut off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_has_an_end() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .set("server.idle_timeout", "\"3s\"")
        .start()
        .await;
    let mut silent = gateway.client().await;
    let mut client = gateway.client().await;
    client.send(&request("GET", "/v1/info").to_bytes()).await;
    assert_eq!(client.read_response().await.status, 200);

    assert!(client.is_closed(Duration::from_secs(8)).await);
    assert!(
        silent.is_closed(Duration::from_secs(8)).await,
        "from its first byte on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_says_what_it_was_asked_to_say() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = RedisSpace::create().await;
    let account = database.account("ada@example.com", "Ada").await;
    let token = database
        .insert_token(&NewToken::account(account, "ada@example.com"))
        .await;
    for (access, lines) in [("off", 0), ("errors", 1), ("all", 2)] {
        let mut gateway = Gateway::builder()
            .upstream(upstream.addr())
            .database(&database)
            .redis(&redis)
            .set("log.access", &format!("\"{access}\""))
            .start()
            .await;
        let path = "/openapi/v1/apps?page=2&secret=hidden";
        assert_eq!(gateway.get(path, Some(&token.token)).await.status, 200);
        assert_eq!(gateway.get(path, None).await.status, 401);
        gateway.terminate();
        gateway.wait_exit(Duration::from_secs(10)).await;

        let access_lines: Vec<Value> = gateway
            .log_lines()
            .into_iter()
            .filter(|line| line["target"] == "access")
            .collect();
        assert_eq!(access_lines.len(), lines, "{access}");
        assert!(
            !gateway.log_text().contains("hidden"),
            "no query in any log"
        );
        if access == "all" {
            // The two were served by different threads.
            let answered = access_lines
                .iter()
                .find(|line| Gateway::log_field(line, "status") == Some(&200.into()));
            let field = |name| Gateway::log_field(answered.unwrap(), name).cloned();
            assert_eq!(field("path"), Some("/openapi/v1/apps".into()));
            assert_eq!(field("token_id"), Some(token.id.to_string().into()));
            assert!(field("request_id").is_some() && field("duration_ms").is_some());
        }
    }
}
