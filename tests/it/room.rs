//! `server.max_connections`, and clients that take nothing off their connection.

use std::time::Duration;

use tokio::{net::TcpStream, task::JoinSet};

use crate::support::{
    Behaviour, Gateway, RawClient, RedisSpace, Relay, Stage, assert_eventually, request,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_waits_for_its_turn() {
    let stage = Stage::with(|gateway| gateway.set("server.max_connections", "2")).await;
    let get = request("GET", "/v1/info").to_bytes();
    let mut within = Vec::new();
    for _ in 0..2 {
        let mut client = stage.gateway.client().await;
        client.send(&get).await;
        assert_eq!(client.read_response().await.status, 200);
        within.push(client);
    }

    let mut waiting = stage.gateway.client().await;
    waiting.send(&get).await;

    assert!(!waiting.is_closed(Duration::from_secs(1)).await);
    assert_eq!(stage.upstream.take_requests().len(), 2);
    let full = "server.max_connections is reached";
    assert_eventually!(
        stage.gateway.log_text().matches(full).count() == 1,
        "it is said once"
    );
    within.pop();
    assert_eq!(waiting.read_response().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_cut_off() {
    let stage = Stage::with(|gateway| gateway.set("server.idle_timeout", "\"1s\"")).await;
    stage.upstream.on("*", Behaviour::BigBody(1 << 30));
    let mut client = RawClient::connect(stage.gateway.addr()).await;
    client.send(&request("GET", "/files/1").to_bytes()).await;
    stage.upstream.wait_for_requests(1).await;

    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await == 0.0,
        "the request is given up"
    );
}

/// More clients than there are files, and none of them asks for anything: the gateway goes on to open
/// what it needs itself, and to answer those that it has taken.
#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_leave_files_for_all_else() {
    const FILES: u32 = 256;
    let redis = RedisSpace::create().await;
    let relay = Relay::to(redis.addr()).await;
    let stage = Stage::with(|gateway| {
        gateway
            .redis_addr(relay.local_addr(), redis.prefix())
            .open_files(64, FILES)
    })
    .await;
    let mut held = stage.gateway.client().await;
    held.send(&request("GET", "/v1/info").to_bytes()).await;
    assert_eq!(held.read_response().await.status, 200);

    // Those for whom there is no room wait in the kernel's queue, and some before it.
    let (address, mut idle) = (stage.gateway.addr(), JoinSet::new());
    for _ in 0..300 {
        idle.spawn(async move {
            let _connected = TcpStream::connect(address).await;
            std::future::pending::<()>().await;
        });
    }
    let no_more = [
        "server.max_connections is reached",
        "no connection could be accepted",
    ];
    assert_eventually!(
        no_more
            .iter()
            .any(|it| stage.gateway.log_text().contains(it)),
        "no more clients are taken"
    );

    let redis_up = r#"difygate_dependency_up{dependency="redis"}"#;
    relay.cut();
    assert_eventually!(stage.gateway.metric(redis_up).await == 0.0, "redis is away");
    relay.restore();
    assert_eventually!(stage.gateway.metric(redis_up).await == 1.0, "redis is back");
    // A check asks Redis and Postgres, and then the upstream.
    let guarded = request("GET", "/openapi/v1/apps").bearer(&stage.account.token);
    held.send(&guarded.to_bytes()).await;
    assert_eq!(held.read_response().await.status, 200);

    let log = stage.gateway.log_lines();
    let mut warnings = log
        .iter()
        .filter(|line| Gateway::log_field(line, "key") == Some(&"server.max_connections".into()));
    let warning = warnings.next().expect("a warning");
    let field = |name| Gateway::log_field(warning, name).and_then(serde_json::Value::as_u64);
    assert_eq!(field("configured"), Some(10_000));
    assert_eq!(
        field("files"),
        Some(FILES.into()),
        "the soft limit is raised"
    );
    assert!(field("in_force").is_some_and(|room| room > 32 && room < 128));
    assert_eq!(warnings.count(), 0, "it is said once");
}
