//! Unix sockets on every side: clients, the upstream, Redis, Postgres.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

use crate::support::{
    Bridge, Database, Gateway, NewToken, RedisSpace, Upstream, assert_eventually, get, request,
};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn listen(path: &Path) -> String {
    format!(r#"["127.0.0.1:0", "unix:{}"]"#, path.display())
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_on_a_unix_socket_is_somebody_on_this_machine() {
    let (dir, upstream) = (folder(), Upstream::start().await);
    let path = dir.path().join("http.sock");
    let _gateway = Gateway::builder()
        .upstream(upstream.addr())
        .set("server.listen", &listen(&path))
        .set("server.socket_mode", r#""600""#)
        .start()
        .await;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (_bridge, through) = Bridge::to_unix(&path).await;

    let answer = request("GET", "/v1/info")
        .header("X-Forwarded-For", "203.0.113.7")
        .send(through)
        .await;

    assert_eq!(answer.status, 200);
    let seen = upstream.wait_for_requests(1).await;
    assert_eq!(
        seen[0].header_values("x-forwarded-for"),
        ["127.0.0.1"],
        "nobody is believed who is not in server.trusted_proxies"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_on_a_unix_socket_is_believed_where_this_machine_is() {
    let (dir, upstream) = (folder(), Upstream::start().await);
    let path = dir.path().join("http.sock");
    let _gateway = Gateway::builder()
        .upstream(upstream.addr())
        .set("server.listen", &listen(&path))
        .set("server.trusted_proxies", r#"["127.0.0.1"]"#)
        .start()
        .await;
    let (_bridge, through) = Bridge::to_unix(&path).await;

    let answer = request("GET", "/v1/info")
        .header("X-Forwarded-For", "203.0.113.7")
        .send(through)
        .await;

    assert_eq!(answer.status, 200);
    let seen = upstream.wait_for_requests(1).await;
    assert_eq!(
        seen[0].header_values("x-forwarded-for"),
        ["203.0.113.7, 127.0.0.1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_left_behind_is_replaced_and_a_stop_leaves_none() {
    let dir = folder();
    let path = dir.path().join("http.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(is_socket(&path), "left behind");
    let mut gateway = Gateway::builder()
        .set("server.listen", &listen(&path))
        .start()
        .await;
    assert!(UnixStream::connect(&path).await.is_ok());

    gateway.terminate();
    gateway.wait_exit(Duration::from_secs(10)).await;

    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_somebody_elses_is_not_replaced() {
    let dir = folder();
    let in_use = dir.path().join("in-use.sock");
    let _other = UnixListener::bind(&in_use).unwrap();
    let file = dir.path().join("precious");
    fs::write(&file, "data").unwrap();
    for (path, says) in [(&in_use, "in use"), (&file, "no socket")] {
        let mut gateway = Gateway::builder()
            .set("server.listen", &listen(path))
            .launch();

        let status = gateway.wait_exit(Duration::from_secs(10)).await;

        assert_eq!(status.code(), Some(1));
        let log = gateway.log_text();
        assert!(log.contains(says) && log.contains("server.listen"), "{log}");
        assert!(log.contains(&path.display().to_string()), "{log}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "data");
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_redis_and_postgres_are_reached_by_unix_sockets() {
    let (dir, upstream) = (folder(), Upstream::start().await);
    let (database, redis) = (Database::create().await, RedisSpace::create().await);
    let account = database.account("ada@example.com", "Ada").await;
    let token = NewToken::account(account, "ada@example.com");
    let token = database.insert_token(&token).await;
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    let _bridges = [
        Bridge::from_unix(&at("api.sock"), upstream.addr()),
        Bridge::from_unix(&at("redis.sock"), redis.addr()),
        // The name that libpq gives it.
        Bridge::from_unix(&at(".s.PGSQL.5432"), database.addr()),
    ];
    let text = |value: String| serde_json::Value::from(value).to_string();
    let gateway = Gateway::builder()
        .set(
            "upstream.url",
            &text(format!("unix:{}", at("api.sock").display())),
        )
        .set(
            "redis.url",
            &text(format!("unix://{}", at("redis.sock").display())),
        )
        .unset("redis.host")
        .unset("redis.port")
        .set("redis.key_prefix", &text(redis.prefix().to_owned()))
        .set("postgres.host", &text(dir.path().display().to_string()))
        .set("postgres.port", "5432")
        .set("postgres.user", r#""postgres""#)
        .set("postgres.password", r#""any""#)
        .set("postgres.database", &text(database.name().to_owned()))
        .start()
        .await;

    let answer = gateway.get("/openapi/v1/apps", Some(&token.token)).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(upstream.requests().len(), 1);
    assert_eventually!(
        redis
            .get(&format!("auth:token:{}", token.hash))
            .await
            .is_some(),
        "the check is shared"
    );
    let ready = get(gateway.admin_addr(), "/readyz", None).await.json();
    for dependency in ["postgres", "redis", "upstream"] {
        assert_eq!(ready["dependencies"][dependency]["state"], "up");
    }
}
