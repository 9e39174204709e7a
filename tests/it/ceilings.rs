//! What clients that mean no good may cost at most, many of them at once, while others are served.
//! One connection alone is in `http2/attacks.rs`, the deadlines are in `heads.rs`, `room.rs` and
//! `streaming/slow.rs`.

mod tls;

use std::io::Write as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Behaviour, GatewayBuilder, RawClient, Stage, assert_eventually, request};

/// Clients that only wait: what `server.max_connections` is when nobody sets it. Fewer where not so
/// many files may be open, and then it is said.
const IDLE: usize = 10_000;

/// With fewer than this it says nothing of so many.
const LEAST_IDLE: usize = 5_000;

/// Clients of each kind that keep the gateway busy; a body has a connection upstream as well.
const BUSY: usize = 400;

/// The ceilings of `docs/operations.md`, in KiB for each connection. Resident memory is counted in
/// pages and an allocator keeps some, so they are far above what is measured.
const IDLE_KIB: u64 = 64;
const HEAD_KIB: u64 = 192;
const BODY_KIB: u64 = 256;
const UNREAD_KIB: u64 = 1024;

/// What a process may grow by for reasons of its own, in KiB.
const SLACK: u64 = 16 * 1024;

/// Files that the gateway keeps for all else, and more (`src/open_files.rs`).
const OTHER_FILES: u64 = 1_000;

/// What to do about too few files.
const REMEDY: &str =
    "For all of them raise the hard limit, `ulimit -Hn 21000` (container: --ulimit nofile=21000).";

/// [`IDLE`], or what there is room for where not so many files may be open: other tests have theirs,
/// and the gateway has two for each connection. One that is started from now on may have as many.
fn as_many_as_there_may_be() -> usize {
    let wanted = 2 * IDLE as u64 + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let raised = |maximum: Option<u64>| Rlimit {
            current: Some(maximum.map_or(wanted, |maximum| maximum.min(wanted))),
            maximum,
        };
        // Only root may have more than the hard limit.
        let more = maximum.map(|maximum| maximum.max(wanted));
        if setrlimit(Resource::Nofile, raised(more)).is_err() {
            setrlimit(Resource::Nofile, raised(maximum)).unwrap();
        }
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
    let count = usize::try_from(files.saturating_sub(OTHER_FILES) / 2).unwrap();
    if count < IDLE {
        // Past the test harness, which keeps what a test that passes has to say.
        let _ = writeln!(
            std::io::stderr(),
            "idle_connections_have_a_ceiling: {count} connections instead of {IDLE}, as {files} files \
             may be open. {REMEDY}"
        );
    }
    assert!(
        count >= LEAST_IDLE,
        "{count} connections are too few to tell anything. {REMEDY}"
    );
    count.min(IDLE)
}

/// A gateway that has room for everybody.
fn roomy(gateway: GatewayBuilder) -> GatewayBuilder {
    gateway
        .set("server.max_connections", "12000")
        .set("server.idle_timeout", "\"10m\"")
        .set("server.request_header_timeout", "\"60s\"")
}

/// The same, warmed up, and the memory that it uses then.
async fn stage() -> (Stage, u64) {
    let stage = Stage::with(roomy).await;
    stage.upstream.on("/files/*", Behaviour::BigBody(64 << 20));
    is_served(&stage).await;
    let before = stage.gateway.rss_kib();
    (stage, before)
}

/// Asserts that somebody with a token is answered.
async fn is_served(stage: &Stage) {
    let token = Some(stage.account.token.as_str());
    let answer = stage.gateway.get("/openapi/v1/apps", token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Asserts that so many clients have cost no more than they may.
fn is_bounded(stage: &Stage, before: u64, count: usize, each: u64) {
    let grown = stage.gateway.peak_rss_kib().saturating_sub(before);
    let each_took = grown * 1024 / count as u64;
    eprintln!("{count} clients: {grown} KiB, {each_took} bytes each");
    assert!(
        grown < SLACK + each * count as u64,
        "{count} clients took {grown} KiB"
    );
}

/// Connects so many clients that each send `bytes` and go on to do nothing.
async fn clients(stage: &Stage, count: usize, bytes: &[u8]) -> Vec<RawClient> {
    let mut clients = Vec::with_capacity(count);
    for number in 0..count {
        let mut client = stage.gateway.client().await;
        client.send(bytes).await;
        clients.push(client);
        if number % 1_000 == 0 {
            is_served(stage).await;
        }
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_have_a_ceiling() {
    let count = as_many_as_there_may_be();
    let (stage, before) = stage().await;
    let refused = request("GET", "/openapi/v1/apps").to_bytes();

    let mut clients = clients(&stage, count, &refused).await;
    for client in &mut clients {
        assert_eq!(client.read_response().await.status, 401);
    }

    is_served(&stage).await;
    let open = stage.gateway.metric("difygate_connections").await;
    assert!(open >= count as f64, "{open} of {count} are open");
    for client in clients.iter_mut().step_by(100) {
        client.send(&refused).await;
        assert_eq!(client.read_response().await.status, 401);
    }
    is_bounded(&stage, before, count, IDLE_KIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_never_end_have_a_ceiling() {
    let (stage, before) = stage().await;
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(60 << 10));

    let clients = clients(&stage, BUSY, head.as_bytes()).await;

    is_served(&stage).await;
    is_bounded(&stage, before, clients.len(), HEAD_KIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_not_kept() {
    let (stage, before) = stage().await;
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(60 << 10));

    // 900 KB a client, and no end of it yet: 360 MB if they were kept.
    let mut clients = clients(&stage, BUSY, head.as_bytes()).await;
    for client in &mut clients {
        for _ in 0..14 {
            client.send("x".repeat(60 << 10).as_bytes()).await;
        }
    }

    is_served(&stage).await;
    for client in &mut clients {
        client.send(b"\r\n\r\n").await;
        assert_eq!(client.read_response().await.status, 431);
    }
    // Only now has every byte been read; what is measured is the most that there ever was.
    is_bounded(&stage, before, clients.len(), HEAD_KIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_lines_instead_of_a_head_are_not_kept() {
    let (stage, before) = stage().await;
    let lines = "\r\n".repeat(30 << 10);

    // 900 KB a client, as above, without a byte of a head.
    let mut clients = clients(&stage, BUSY, lines.as_bytes()).await;
    for client in &mut clients {
        for _ in 0..14 {
            client.send(lines.as_bytes()).await;
        }
    }

    is_served(&stage).await;
    is_bounded(&stage, before, clients.len(), HEAD_KIB);
    for client in &mut clients {
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.read_response().await.status, 431);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_stand_still_have_a_ceiling() {
    let (stage, before) = stage().await;
    let body = "x".repeat(32 << 10);
    let head = "POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";

    let clients = clients(&stage, BUSY, format!("{head}{body}").as_bytes()).await;

    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await >= BUSY as f64,
        "every body is under way"
    );
    is_served(&stage).await;
    is_bounded(&stage, before, clients.len(), BODY_KIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_have_a_ceiling() {
    let (stage, before) = stage().await;
    let wanted = request("GET", "/files/1").to_bytes();

    // Together 25 GB.
    let clients = clients(&stage, BUSY, &wanted).await;

    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await >= BUSY as f64,
        "every answer is under way"
    );
    is_served(&stage).await;
    is_bounded(&stage, before, clients.len(), UNREAD_KIB);
}
