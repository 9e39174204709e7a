//! Who reloads a gateway, replaces it by another process, and starts one where it has died.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    judge::REDIS_TIMEOUT,
    support::{ENTERPRISE_SECRET, Gateway, GatewayBuilder},
};

/// More than a run can use up.
const UNLIMITED: &str = "\"1000000/1h\"";

/// Longest wait for what an operator asks for. A process that is replaced has six seconds for
/// what is under way (`server.shutdown_grace`), and a busy machine the rest.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gateways that were replaced and need not have ended yet.
const ENDING: usize = 3;

/// The gateway that serves at the moment, and those before it.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) current: Gateway,
    parts: Parts,
    ending: Vec<Gateway>,
    reloads: usize,
}

/// What a gateway is configured with, whichever process it is.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) listen: std::net::SocketAddr,
    pub(crate) upstream: std::net::SocketAddr,
    pub(crate) postgres: std::net::SocketAddr,
    pub(crate) database: String,
    pub(crate) redis: std::net::SocketAddr,
    pub(crate) prefix: String,
    pub(crate) enterprise: std::net::SocketAddr,
    pub(crate) dir: tempfile::TempDir,
}

impl Operator {
    /// Starts the first gateway.
    pub(crate) async fn start(parts: Parts) -> Self {
        let current = parts.gateway().set("rate_limits.lookup", &lookups(0));
        Self {
            current: current.start().await,
            parts,
            ending: Vec::new(),
            reloads: 0,
        }
    }

    /// Kills the gateway.
    pub(crate) async fn kill(&mut self) {
        self.current.signal("KILL");
        self.current.wait_exit(PATIENCE).await;
    }

    /// Starts a gateway where one has been killed.
    pub(crate) async fn starts_again(&mut self) {
        self.current = self.next().start().await;
    }

    /// Describes the process that comes after this one.
    fn next(&self) -> GatewayBuilder {
        let limit = lookups(self.reloads);
        self.parts.gateway().set("rate_limits.lookup", &limit)
    }

    /// Has the gateway read its configuration again, with another limit in it.
    pub(crate) async fn reload(&mut self) -> Result<(), String> {
        let path = self.current.config_path();
        let text = std::fs::read_to_string(&path).unwrap();
        let before = lookups(self.reloads);
        assert!(text.contains(&before), "{text}");
        self.reloads += 1;
        let text = text.replace(&before, &lookups(self.reloads));
        std::fs::write(&path, text).unwrap();
        let read = |gateway: &Gateway| {
            let log = gateway.log_text();
            log.matches("was read again and is in force").count()
        };
        let so_far = read(&self.current);
        self.current.reload();
        eventually("a reload", || read(&self.current) > so_far).await
    }

    /// Replaces the gateway by another process.
    pub(crate) async fn upgrade(&mut self) -> Result<(), String> {
        let mut next = self.next().argument("--upgrade").launch();
        let is_ready = || next.log_text().contains("ready to take over");
        eventually("a successor", is_ready).await?;
        self.current.signal("QUIT");
        next.settle().await;
        if next.addr() != self.current.addr() {
            return Err("the successor serves elsewhere".to_owned());
        }
        self.ending.push(std::mem::replace(&mut self.current, next));
        if self.ending.len() > ENDING {
            return self.ends_oldest().await;
        }
        Ok(())
    }

    /// Waits until all that were replaced have ended by themselves.
    pub(crate) async fn finish(&mut self) -> Result<(), String> {
        while !self.ending.is_empty() {
            self.ends_oldest().await?;
        }
        Ok(())
    }

    async fn ends_oldest(&mut self) -> Result<(), String> {
        let mut oldest = self.ending.remove(0);
        let status = oldest.wait_exit(PATIENCE).await;
        if status.success() {
            return Ok(());
        }
        Err(format!(
            "a replaced gateway ended with {status}:\n{}",
            oldest.log_text()
        ))
    }
}

impl Parts {
    /// As an operator would run it, but for the limits and for deadlines that have to pass here.
    fn gateway(&self) -> GatewayBuilder {
        let socket = self.dir.path().join("upgrade.sock");
        Gateway::builder()
            // What it holds is weighed by pages, and of a huge one nobody can tell how much is held.
            .env("MIMALLOC_ALLOW_THP", "0")
            .set("server.listen", &format!("[\"{}\"]", self.listen))
            .upstream(self.upstream)
            .postgres_addr(self.postgres, &self.database)
            .redis_addr(self.redis, &self.prefix)
            .set("enterprise.enabled", "true")
            .set(
                "enterprise.api_url",
                &format!("\"http://{}\"", self.enterprise),
            )
            .set("enterprise.secret_key", &format!("{ENTERPRISE_SECRET:?}"))
            .set("dify.console_api_url", "\"https://console.example\"")
            .set("dify.console_web_url", "\"https://console.example\"")
            // So that the console's cookies go by their plain names.
            .set("dify.cookie_domain", "\"console.example\"")
            .set("log.level", "\"info\"")
            .set("redis.timeout", &format!("\"{REDIS_TIMEOUT}ms\""))
            .set("upstream.connect_timeout", "\"1s\"")
            .set("upstream.read_timeout", "\"2s\"")
            .set("server.shutdown_grace", "\"6s\"")
            .set("server.upgrade_socket", &format!("{socket:?}"))
            .set("rate_limits.device_code", UNLIMITED)
            .set("rate_limits.approve", UNLIMITED)
            .set("rate_limits.sso_initiate", UNLIMITED)
            .set("rate_limits.approve_external", UNLIMITED)
            .set("rate_limits.account", UNLIMITED)
    }
}

/// A limit that tells one configuration from another, and that nothing here comes up against.
fn lookups(reloads: usize) -> String {
    format!("\"{}/5m\"", 60 + reloads)
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{what} is not there after {PATIENCE:?}"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
