//! How a gateway is configured and started.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::logs::{Logs, field};
use super::{Gateway, Watchdog};
use crate::support::patience::{patience, within};
use crate::support::postgres::Database;
use crate::support::redis::{DedicatedCluster, RedisSpace};

/// Dify's `SECRET_KEY` in every test.
pub(crate) const SECRET_KEY: &str = "sk-test-9f73s3ljTXVcMT3Blb3ljTqtsKiGHXVcMT3BlbkFJLK7U";

/// A description of a gateway. What is not set points to a port where nobody listens.
#[derive(Debug)]
#[must_use]
pub(crate) struct GatewayBuilder {
    /// Section, key, value as TOML.
    config: BTreeMap<String, BTreeMap<String, String>>,
    extra: String,
    env: Vec<(String, String)>,
    arguments: Vec<&'static str>,
    database: Option<Database>,
    /// The stores that are there from the start.
    awaited: BTreeSet<&'static str>,
    program: PathBuf,
    /// The soft and the hard limit of open files, where it does not have ours.
    open_files: Option<(u32, u32)>,
}

impl GatewayBuilder {
    pub(super) fn new() -> Self {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        Self {
            config: BTreeMap::new(),
            extra: String::new(),
            env: Vec::new(),
            arguments: Vec::new(),
            database: None,
            awaited: BTreeSet::new(),
            program: env!("CARGO_BIN_EXE_difygate").into(),
            open_files: None,
        }
        .set("server.listen", r#"["127.0.0.1:0"]"#)
        .set("admin.listen", r#""127.0.0.1:0""#)
        .set("log.format", r#""json""#)
        .set("log.level", r#""debug""#)
        .set("dify.secret_key", &quoted(SECRET_KEY))
        // An answer that is late on a busy machine is no outage. Tests of silence set their own.
        .set("redis.timeout", r#""5s""#)
        .upstream(nobody)
        .postgres_addr(nobody, "nowhere")
        .redis_addr(nobody, "nowhere")
    }

    /// Runs this program, and not the one that was built with the tests.
    pub(crate) fn program(mut self, program: &Path) -> Self {
        // It runs in a directory of its own.
        self.program = std::path::absolute(program).unwrap();
        self
    }

    /// Forwards to this upstream.
    pub(crate) fn upstream(self, addr: SocketAddr) -> Self {
        self.set("upstream.url", &quoted(&format!("http://{addr}")))
    }

    /// Uses this database.
    pub(crate) fn database(mut self, database: &Database) -> Self {
        self.database = Some(database.clone());
        self.postgres_addr(database.addr(), database.name())
            .awaits("postgres")
    }

    /// Uses the database of this name at this address, which may be a relay's.
    pub(crate) fn postgres_addr(mut self, addr: SocketAddr, name: &str) -> Self {
        self.awaited.remove("postgres");
        self.set("postgres.host", &quoted(&addr.ip().to_string()))
            .set("postgres.port", &addr.port().to_string())
            .set("postgres.user", r#""postgres""#)
            .set("postgres.password", r#""any""#)
            .set("postgres.database", &quoted(name))
    }

    /// Uses this key prefix of this Redis.
    pub(crate) fn redis(self, space: &RedisSpace) -> Self {
        self.redis_addr(space.addr(), space.prefix())
            .awaits("redis")
    }

    /// Uses this key prefix of the Redis at this address, which may be a relay's.
    pub(crate) fn redis_addr(mut self, addr: SocketAddr, prefix: &str) -> Self {
        self.awaited.remove("redis");
        self.set("redis.host", &quoted(&addr.ip().to_string()))
            .set("redis.port", &addr.port().to_string())
            .set("redis.key_prefix", &quoted(prefix))
    }

    /// Uses this key prefix of this Redis Cluster, and no other Redis.
    pub(crate) fn cluster(self, cluster: &DedicatedCluster, prefix: &str) -> Self {
        let nodes = serde_json::Value::from(cluster.nodes());
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        self.redis_addr(nobody, prefix)
            .set("redis.cluster_nodes", &nodes.to_string())
            .awaits("redis")
    }

    /// Has the start wait until this dependency is up: the gateway listens a second later at most,
    /// whether it has reached its stores by then or not.
    pub(crate) fn awaits(mut self, dependency: &'static str) -> Self {
        self.awaited.insert(dependency);
        self
    }

    /// Sets `section.key` to a value in TOML's notation, over what was there.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        let (section, key) = key.rsplit_once('.').expect("section.key");
        self.config
            .entry(section.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// Takes `section.key` out of the file.
    pub(crate) fn unset(mut self, key: &str) -> Self {
        let (section, key) = key.rsplit_once('.').expect("section.key");
        if let Some(keys) = self.config.get_mut(section) {
            keys.remove(key);
        }
        self
    }

    /// Appends text to the file; it begins with a `[section]` that the file does not have yet.
    pub(crate) fn config(mut self, extra: &str) -> Self {
        self.extra.push_str(extra);
        self.extra.push('\n');
        self
    }

    /// Sets an environment variable. Few are inherited, so that none of Dify's gets in.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Adds an argument of `serve`.
    pub(crate) fn argument(mut self, argument: &'static str) -> Self {
        self.arguments.push(argument);
        self
    }

    /// Gives it a soft and a hard limit of open files.
    pub(crate) fn open_files(mut self, soft: u32, hard: u32) -> Self {
        self.open_files = Some((soft, hard));
        self
    }

    /// The program that becomes the gateway.
    fn command(&self) -> Command {
        let Some((soft, hard)) = self.open_files else {
            return Command::new(&self.program);
        };
        let mut shell = Command::new("sh");
        let limited = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\"");
        shell.args(["-c", &limited]).arg(&self.program);
        shell
    }

    /// The configuration file.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.config {
            text.push_str(&format!("[{section}]\n"));
            for (key, value) in keys {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text + &self.extra
    }

    /// Starts the gateway and waits until it listens and has reached the stores that it was given
    /// as such; panics with its log when it does not.
    pub(crate) async fn start(self) -> Gateway {
        let awaited = self.awaited.clone();
        let mut gateway = self.launch();
        gateway.settle().await;
        for dependency in awaited {
            let up = format!("difygate_dependency_up{{dependency={dependency:?}}}");
            let reached = async {
                while gateway.metric(&up).await != 1.0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            within(10.0, &format!("{dependency} is up"), reached).await;
        }
        gateway
    }

    /// Starts the gateway and waits for nothing.
    pub(crate) fn launch(self) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, self.to_toml()).unwrap();
        let inherited = |key: &str| {
            [
                "PATH",
                "HOME",
                "TMPDIR",
                "LLVM_PROFILE_FILE",
                "RUST_BACKTRACE",
            ]
            .contains(&key)
        };
        let logs = Logs::create(dir.path());
        let child = self
            .command()
            .args(["serve", "--config"])
            .arg(&config)
            .args(self.arguments)
            .current_dir(dir.path())
            .env_clear()
            .envs(std::env::vars().filter(|(key, _)| inherited(key)))
            .envs(self.env)
            .stdin(Stdio::null())
            .stdout(logs.stream())
            .stderr(logs.stream())
            .spawn()
            .unwrap();
        let pid = child.id();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        // Owns the child from here on: a gateway that does not start is killed as well.
        Gateway {
            child: Mutex::new(child),
            watchdog: Some(Watchdog::over(pid, dir.path())),
            logs,
            pid,
            addr: nowhere,
            admin_addr: nowhere,
            dir,
            _database: self.database,
        }
    }
}

impl Gateway {
    /// Waits until it listens; panics with its log when it does not.
    pub(crate) async fn settle(&mut self) {
        self.addr = self.listening("gateway").await;
        self.admin_addr = self.listening("admin").await;
    }

    /// The address of a listener, as soon as the log tells it.
    async fn listening(&self, listener: &str) -> SocketAddr {
        let begun = Instant::now();
        loop {
            let ended = self.child.lock().unwrap().try_wait().unwrap();
            let found = self.logs.json().iter().find_map(|line| {
                let text = |name| field(line, name).and_then(serde_json::Value::as_str);
                let ours =
                    text("message") == Some("listening") && text("listener") == Some(listener);
                ours.then(|| text("address")).flatten()?.parse().ok()
            });
            if let Some(addr) = found {
                return addr;
            }
            assert!(
                ended.is_none() && begun.elapsed() < patience(10.0),
                "the {listener} listener did not come up (exit: {ended:?}):\n{}",
                self.log_text()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    // JSON's escapes are a subset of TOML's.
    serde_json::Value::from(text).to_string()
}
