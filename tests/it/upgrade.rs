//! One process takes over from another (`SIGQUIT`, `serve --upgrade`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::support::{
    Behaviour, Gateway, GatewayBuilder, RawClient, Upstream, assert_eventually, get, request,
    within,
};

/// Longest wait for a process that has nothing left to do.
const SOON: Duration = Duration::from_secs(30);

/// Two processes with one configuration, one after the other.
struct World {
    upstream: Upstream,
    dir: TempDir,
}

impl World {
    async fn create() -> Self {
        Self {
            upstream: Upstream::start().await,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn gateway(&self) -> GatewayBuilder {
        let listen = format!(r#"["127.0.0.1:0", "unix:{}"]"#, self.path("http.sock"));
        Gateway::builder()
            .upstream(self.upstream.addr())
            .set("server.listen", &listen)
            .set("server.shutdown_grace", r#""20s""#)
            .set(
                "server.upgrade_socket",
                &Value::from(self.path("upgrade.sock")).to_string(),
            )
    }

    /// A second process that is ready to take over.
    async fn successor(&self) -> Gateway {
        let successor = self.gateway().argument("--upgrade").launch();
        ready(&successor).await;
        successor
    }
}

async fn ready(successor: &Gateway) {
    let is = |line: &Value| says(line, "ready to take over");
    successor.wait_for_log(is).await;
}

fn says(line: &Value, text: &str) -> bool {
    Gateway::log_field(line, "message")
        .and_then(Value::as_str)
        .is_some_and(|message| message.contains(text))
}

/// Requests without a pause, over connections that are used again until the gateway says that a
/// response is the last; whatever goes wrong with one is a failure.
struct Load {
    clients: JoinSet<()>,
    done: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn on(addr: SocketAddr) -> Self {
        let (done, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut clients = JoinSet::new();
        for reuses in [true, true, true, false] {
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            clients.spawn(async move {
                let mut client = RawClient::connect(addr).await;
                while !stop.load(Ordering::Relaxed) {
                    client.send(&request("GET", "/v1/info").to_bytes()).await;
                    let response = client.read_response().await;
                    assert_eq!(response.status, 200);
                    done.fetch_add(1, Ordering::Relaxed);
                    if !reuses || response.header("connection") == Some("close") {
                        client = RawClient::connect(addr).await;
                    }
                }
            });
        }
        Self {
            clients,
            done,
            stop,
        }
    }

    /// Waits until so many more requests have been answered.
    async fn answered(&self, more: usize) {
        let wanted = self.done.load(Ordering::Relaxed) + more;
        assert_eventually!(
            self.done.load(Ordering::Relaxed) >= wanted,
            "the load goes on"
        );
    }

    /// Ends it; panics if any request failed.
    async fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_takes_over_and_no_request_fails() {
    let world = World::create().await;
    let events = Behaviour::Sse {
        events: 8,
        interval: Duration::from_millis(200),
    };
    world.upstream.on("/v1/stream", events);
    let mut old = world.gateway().start().await;
    let addr = old.addr();
    let load = Load::on(addr);
    load.answered(200).await;
    let mut streaming = old.client().await;
    streaming
        .send(&request("GET", "/v1/stream").to_bytes())
        .await;
    assert_eq!(streaming.read_head().await.status, 200);
    let mut idle = old.client().await;
    idle.send(&request("GET", "/v1/info").to_bytes()).await;
    let answer = idle.read_response().await;
    assert_ne!(answer.header("connection"), Some("close"));
    let mut new = world.successor().await;
    load.answered(200).await;

    old.signal("QUIT");
    new.settle().await;

    old.wait_for_log(|line| says(line, "handed over")).await;
    // The old process keeps it for some seconds.
    idle.send(&request("GET", "/v1/info").to_bytes()).await;
    let last = idle.read_response().await;
    assert_eq!(
        (last.status, last.header("connection")),
        (200, Some("close"))
    );
    assert_eq!(new.addr(), addr, "the same socket");
    assert_eq!(new.admin_addr(), old.admin_addr());
    load.answered(200).await;
    let mut events = 0;
    while let Some(chunk) = streaming.read_chunk().await {
        events += String::from_utf8_lossy(&chunk).matches("data:").count();
    }
    assert_eq!(events, 8, "the stream ran to its end");
    assert_eq!(old.wait_exit(SOON).await.code(), Some(0));
    load.answered(200).await;
    load.finish().await;
    assert_eq!(get(new.admin_addr(), "/livez", None).await.status, 200);
    assert!(
        UnixStream::connect(world.path("http.sock")).await.is_ok(),
        "the predecessor leaves the file alone"
    );
    new.terminate();
    assert_eq!(new.wait_exit(SOON).await.code(), Some(0));
    assert!(!std::path::Path::new(&world.path("http.sock")).exists());
    assert!(!std::path::Path::new(&world.path("upgrade.sock")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_done_again_and_again() {
    let world = World::create().await;
    let mut old = world.gateway().start().await;
    let load = Load::on(old.addr());
    for _ in 0..3 {
        let mut new = world.successor().await;
        old.signal("QUIT");
        new.settle().await;
        load.answered(100).await;
        assert_eq!(old.wait_exit(SOON).await.code(), Some(0));
        old = new;
    }
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_successor_the_gateway_goes_on() {
    let world = World::create().await;
    let gateway = world.gateway().start().await;

    gateway.signal("QUIT");

    let line = gateway
        .wait_for_log(|line| says(line, "no process started with --upgrade"))
        .await;
    assert_eq!(
        Gateway::log_field(&line, "socket").and_then(Value::as_str),
        Some(&*world.path("upgrade.sock"))
    );
    assert_eq!(gateway.get("/v1/info", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_cannot_serve_changes_nothing() {
    let world = World::create().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = format!(r#"["127.0.0.1:0", "{}"]"#, taken.local_addr().unwrap());
    let old = world.gateway().start().await;
    let load = Load::on(old.addr());
    let mut new = world
        .gateway()
        .set("server.listen", &listen)
        .argument("--upgrade")
        .launch();
    ready(&new).await;

    old.signal("QUIT");

    assert_eq!(new.wait_exit(SOON).await.code(), Some(1));
    assert!(
        new.log_text().contains("server.listen"),
        "{}",
        new.log_text()
    );
    old.wait_for_log(|line| says(line, "this one goes on"))
        .await;
    load.answered(100).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_waits_can_be_stopped() {
    let world = World::create().await;
    let old = world.gateway().start().await;
    let mut new = world.successor().await;

    new.terminate();

    assert_eq!(new.wait_exit(SOON).await.code(), Some(0));
    assert!(!std::path::Path::new(&world.path("upgrade.sock")).exists());
    assert_eq!(old.get("/v1/info", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_successor_does_not_listen_on_is_named() {
    let world = World::create().await;
    let mut old = world.gateway().start().await;
    let mut new = world
        .gateway()
        .set("server.listen", r#"["127.0.0.1:0"]"#)
        .argument("--upgrade")
        .launch();
    ready(&new).await;

    old.signal("QUIT");
    new.settle().await;

    assert_eq!(new.addr(), old.addr());
    let line = new
        .wait_for_log(|line| says(line, "nobody listens here any more"))
        .await;
    let socket = Gateway::log_field(&line, "socket").and_then(Value::as_str);
    assert!(socket.unwrap().contains("http.sock"));
    assert_eq!(old.wait_exit(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_of_the_upgrade_has_to_be_there() {
    let world = World::create().await;
    let mut new = world
        .gateway()
        .set("server.upgrade_socket", r#""/nowhere/at/all.sock""#)
        .argument("--upgrade")
        .launch();

    assert_eq!(new.wait_exit(SOON).await.code(), Some(1));
    let log = new.log_text();
    assert!(
        log.contains("/nowhere/at/all.sock") && log.contains("server.upgrade_socket"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_says_nothing_keeps_no_process_from_stopping() {
    let world = World::create().await;
    let mut old = world.gateway().start().await;
    let silent = UnixListener::bind(world.path("upgrade.sock")).unwrap();
    old.signal("QUIT");
    let accepted = within(10.0, "the predecessor", silent.accept()).await;
    let (mut stream, _) = accepted.unwrap();
    let mut length = [0; 4];
    let sent = within(10.0, "the sockets", stream.read_exact(&mut length));
    sent.await.unwrap();

    old.terminate();

    // The other one could still speak, and nobody has given up on it.
    old.wait_for_log(|line| says(line, "stopping: no new connections"))
        .await;
    assert!(!old.log_text().contains("took over"), "{}", old.log_text());
    assert_eq!(old.wait_exit(SOON).await.code(), Some(0));
}
