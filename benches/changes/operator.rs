//! Who changes the gateway while it works.

use std::{net::SocketAddr, time::Duration};

use crate::{
    support::{Database, Gateway, GatewayBuilder, NewToken, RedisSpace},
    upstream,
};

/// Longest time that a process takes to end: a stream, and half of the grace for idle connections.
const END: Duration = Duration::from_secs(30);

/// The gateway that serves at the moment, and those before it.
#[derive(Debug)]
pub(crate) struct Operator {
    upstream: SocketAddr,
    database: Database,
    redis: RedisSpace,
    dir: tempfile::TempDir,
    token: String,
    current: Gateway,
    ending: Vec<Gateway>,
    pub(crate) reloads: usize,
    pub(crate) upgrades: usize,
}

impl Operator {
    /// Starts the first gateway.
    pub(crate) async fn start() -> Self {
        let (database, redis) = (Database::create().await, RedisSpace::create().await);
        let account = database.account("ada@example.com", "Ada").await;
        let token = NewToken::account(account, "ada@example.com");
        let token = database.insert_token(&token).await.token;
        let dir = tempfile::tempdir().unwrap();
        let upstream = upstream::serve().await;
        let current = builder(upstream, &database, &redis, &dir).start().await;
        Self {
            upstream,
            database,
            redis,
            dir,
            token,
            current,
            ending: Vec::new(),
            reloads: 0,
            upgrades: 0,
        }
    }

    /// Returns where the gateway is, whichever it is.
    pub(crate) fn target(&self) -> SocketAddr {
        self.current.addr()
    }

    /// Returns the token that everybody uses.
    pub(crate) fn token(&self) -> String {
        self.token.clone()
    }

    /// Has the gateway read its configuration again, with another limit in it.
    pub(crate) async fn reload(&mut self) {
        self.reloads += 1;
        let path = self.current.config_path();
        let text = std::fs::read_to_string(&path).unwrap();
        let limit = |number| format!("device_code = \"{number}/1h\"");
        let before = limit(60 + self.reloads - 1);
        assert!(text.contains(&before), "{text}");
        let text = text.replace(&before, &limit(60 + self.reloads));
        std::fs::write(&path, text).unwrap();
        let seen = |gateway: &Gateway| {
            let log = gateway.log_text();
            log.matches("was read again and is in force").count()
        };
        let so_far = seen(&self.current);
        self.current.reload();
        wait(|| seen(&self.current) > so_far).await;
    }

    /// Replaces the gateway by another process.
    pub(crate) async fn upgrade(&mut self) {
        self.upgrades += 1;
        let builder = builder(self.upstream, &self.database, &self.redis, &self.dir);
        let limit = format!("\"{}/1h\"", 60 + self.reloads);
        let mut next = builder
            .set("rate_limits.device_code", &limit)
            .argument("--upgrade")
            .launch();
        wait(|| next.log_text().contains("ready to take over")).await;
        self.current.signal("QUIT");
        next.settle().await;
        assert_eq!(next.addr(), self.current.addr());
        self.ending.push(std::mem::replace(&mut self.current, next));
    }

    /// Waits until all that were replaced have ended by themselves.
    pub(crate) async fn finish(&mut self) {
        for gateway in &mut self.ending {
            let status = gateway.wait_exit(END).await;
            assert!(status.success(), "{status}");
            let log = gateway.log_text();
            assert!(log.contains("every request has ended"), "{log}");
        }
    }
}

fn builder(
    upstream: SocketAddr,
    database: &Database,
    redis: &RedisSpace,
    dir: &tempfile::TempDir,
) -> GatewayBuilder {
    let socket = dir.path().join("upgrade.sock");
    Gateway::builder()
        .upstream(upstream)
        .database(database)
        .redis(redis)
        .unset("redis.timeout")
        .set("log.level", "\"info\"")
        .set("rate_limits.device_code", "\"60/1h\"")
        .set("server.upgrade_socket", &format!("{socket:?}"))
}

async fn wait(ready: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !ready() {
        assert!(
            begun.elapsed() < END,
            "the gateway does what it is asked to"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
