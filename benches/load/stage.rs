//! Everything that runs during a measurement: stores, upstream, authorizer and the proxies.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use redis::AsyncCommands as _;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    accounting,
    foreign::{Process, Values},
    generator,
    options::{Options, Role},
    peers::{Check, Peer},
    pinning::Layout,
    processes::Child,
    support::{Database, Gateway, GatewayBuilder, NewToken, RedisSpace},
};

/// Distinct tokens in use.
const TOKENS: usize = 64;

/// Time for a proxy that listens already to start its worker processes, which takes far less.
const WORKERS: Duration = Duration::from_millis(300);

/// How long the gateway may take to end: `server.shutdown_grace`, and more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any run, in seconds.
const LONG: u64 = 7 * 86_400;

/// The stores, the upstream, and the tokens that both kinds of checkers know.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) upstream: Child,
    database: Database,
    /// The gateway's part of Redis, which it fills by itself.
    redis: RedisSpace,
    /// The others' part, which nothing but they reads.
    filled: RedisSpace,
    pub(crate) tokens: Vec<String>,
}

impl Ground {
    /// Starts the stores and the upstream, and issues the tokens.
    pub(crate) async fn prepare() -> Self {
        let upstream = Child::start(Role::Upstream, &[]);
        let database = Database::create().await;
        let (redis, filled) = (RedisSpace::create().await, RedisSpace::create().await);
        let account = database.account("ada@example.com", "Ada").await;
        let mut connection = filled.connection().await;
        let mut tokens = Vec::new();
        for _ in 0..TOKENS {
            let token = NewToken::account(account, "ada@example.com");
            let issued = database.insert_token(&token).await;
            // As Dify writes it, but for the time it stays.
            let entry = json!({
                "subject_email": "ada@example.com",
                "subject_issuer": "dify:account",
                "account_id": account.to_string(),
                "client_id": "difyctl",
                "token_id": issued.id.to_string(),
                "expires_at": "2099-01-01T00:00:00.123456+00:00",
                "verified_tenants": {},
            });
            let key = filled.key(&format!("auth:token:{}", issued.hash));
            let () = connection
                .set_ex(key, entry.to_string(), LONG)
                .await
                .unwrap();
            tokens.push(issued.token);
        }
        Self {
            upstream,
            database,
            redis,
            filled,
            tokens,
        }
    }

    /// Returns the request for a target, once with each token.
    pub(crate) fn requests(&self, target: &str) -> Vec<Arc<[u8]>> {
        let request = |token: &String| generator::request(target, token).into();
        self.tokens.iter().map(request).collect()
    }
}

/// The proxies, with a number of threads each.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) targets: Vec<Target>,
    _authorizer: Option<Child>,
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) peer: Peer,
    pub(crate) address: SocketAddr,
    /// Its processes.
    pub(crate) processes: Vec<u32>,
    /// Those of the authorizer that it asks, if it does.
    pub(crate) beside: Vec<u32>,
    proxy: Proxy,
}

#[derive(Debug)]
enum Proxy {
    Bare(Child),
    Difygate(Gateway),
    Foreign(Process),
}

impl Stage {
    /// Starts the proxies that are wanted.
    pub(crate) async fn start(options: &Options, ground: &Ground, threads: usize) -> Self {
        let layout = Layout::of(threads);
        layout.pin_other(std::process::id());
        layout.pin_other(ground.upstream.pid());
        let peers = options.peers();
        let asked = |peer: &Peer| peer.card().check == Check::Authorizer;
        let authorizer = peers.iter().any(asked).then(|| {
            let arguments = [
                format!("--threads={threads}"),
                format!("--redis={}", ground.filled.addr()),
                format!("--prefix={}", ground.filled.prefix()),
            ];
            Child::start(Role::Authorizer, &arguments)
        });
        if let Some(authorizer) = &authorizer {
            layout.pin_proxy(authorizer.pid());
        }
        let mut values = values(ground);
        if let Some(authorizer) = &authorizer {
            values.extend(address("AUTHORIZER", authorizer.address()));
        }
        let mut targets = Vec::new();
        for peer in peers {
            let proxy = Proxy::start(options, ground, peer, threads, &values).await;
            targets.push(Target {
                peer,
                address: proxy.address(),
                processes: Vec::new(),
                beside: authorizer
                    .iter()
                    .filter(|_| peer.card().check == Check::Authorizer)
                    .map(Child::pid)
                    .collect(),
                proxy,
            });
        }
        // Whoever listens may still be starting its workers.
        sleep(WORKERS).await;
        for target in &mut targets {
            target.processes = accounting::family(target.proxy.pid());
            for &pid in &target.processes {
                layout.pin_proxy(pid);
            }
        }
        Self {
            targets,
            _authorizer: authorizer,
        }
    }

    /// Ends the proxies.
    pub(crate) async fn stop(self) {
        for target in self.targets {
            target.proxy.stop().await;
        }
    }
}

impl Proxy {
    async fn start(
        options: &Options,
        ground: &Ground,
        peer: Peer,
        threads: usize,
        values: &Values,
    ) -> Self {
        if let Some(foreign) = peer.card().foreign {
            return Self::Foreign(Process::start(peer, &foreign, threads, values));
        }
        if peer == Peer::Bare {
            let arguments = [
                format!("--upstream={}", ground.upstream.address()),
                format!("--threads={threads}"),
            ];
            return Self::Bare(Child::start(Role::Bare, &arguments));
        }
        let mut gateway = builder(options, &ground.database, &ground.redis)
            .set("server.threads", &threads.to_string())
            .upstream(ground.upstream.address());
        if let Some(program) = options.profiled.as_ref().filter(|_| peer == Peer::Profiled) {
            gateway = gateway.program(program);
        }
        Self::Difygate(gateway.start().await)
    }

    /// Has it end by itself: a gateway that is built to take a profile writes it then.
    async fn stop(self) {
        if let Self::Difygate(mut gateway) = self {
            gateway.terminate();
            gateway.wait_exit(PATIENCE).await;
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Bare(child) => child.address(),
            Self::Difygate(gateway) => gateway.addr(),
            Self::Foreign(process) => process.address(),
        }
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Bare(child) => child.pid(),
            Self::Difygate(gateway) => gateway.pid(),
            Self::Foreign(process) => process.pid(),
        }
    }
}

impl Target {
    /// Returns what the proxy has logged, to explain a failure.
    pub(crate) fn log(&self) -> String {
        match &self.proxy {
            Proxy::Bare(_) => String::new(),
            Proxy::Difygate(gateway) => gateway.log_text(),
            Proxy::Foreign(process) => process.log(),
        }
    }
}

/// A gateway as an operator would run it: what the test harness sets differently is set back.
pub(crate) fn builder(
    options: &Options,
    database: &Database,
    redis: &RedisSpace,
) -> GatewayBuilder {
    let builder = Gateway::builder()
        .database(database)
        .redis(redis)
        .unset("log.level")
        .unset("redis.timeout")
        .unset("log.format");
    options
        .set
        .iter()
        .fold(builder, |builder, (key, value)| builder.set(key, value))
}

/// What configurations have to be told.
fn values(ground: &Ground) -> Values {
    let mut values = Vec::from(address("UPSTREAM", ground.upstream.address()));
    values.extend(address("REDIS", ground.filled.addr()));
    values.push(("REDIS_PREFIX", ground.filled.prefix().to_owned()));
    values
}

/// An address, whole and in its parts.
fn address(name: &'static str, address: SocketAddr) -> [(&'static str, String); 3] {
    let (host, port) = match name {
        "UPSTREAM" => ("UPSTREAM_HOST", "UPSTREAM_PORT"),
        "REDIS" => ("REDIS_HOST", "REDIS_PORT"),
        _ => ("AUTHORIZER_HOST", "AUTHORIZER_PORT"),
    };
    [
        (name, address.to_string()),
        (host, address.ip().to_string()),
        (port, address.port().to_string()),
    ]
}
