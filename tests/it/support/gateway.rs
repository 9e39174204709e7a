//! The gateway itself, as a child process.

mod builder;
mod logs;

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use self::builder::{GatewayBuilder, SECRET_KEY};
use self::logs::Logs;
use super::client::{self, RawClient, Response};
use super::guard::Watchdog;
use super::patience::patience;
use super::postgres::Database;

/// A running gateway, killed when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Mutex<Child>,
    watchdog: Option<Watchdog>,
    logs: Logs,
    pid: u32,
    addr: SocketAddr,
    admin_addr: SocketAddr,
    dir: TempDir,
    /// Keeps the database from being dropped under the gateway.
    _database: Option<Database>,
}

impl Gateway {
    /// Starts to describe a gateway.
    pub(crate) fn builder() -> GatewayBuilder {
        GatewayBuilder::new()
    }

    /// Where it serves clients.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it serves operators.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// GETs a path, with a bearer token or without.
    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Response {
        client::get(self.addr, path, token).await
    }

    /// A connection to it.
    pub(crate) async fn client(&self) -> RawClient {
        RawClient::connect(self.addr).await
    }

    /// Its configuration file, which may be changed before a [`Gateway::reload`].
    pub(crate) fn config_path(&self) -> std::path::PathBuf {
        self.dir.path().join("config.toml")
    }

    /// Its log so far, the lines that are JSON.
    pub(crate) fn log_lines(&self) -> Vec<Value> {
        self.catch_up();
        self.logs.json()
    }

    /// Everything it has printed so far, on either stream.
    pub(crate) fn log_text(&self) -> String {
        self.catch_up();
        self.logs.text()
    }

    /// Waits until what was logged so far is written: lines go through a queue. A gateway that is
    /// gone has written what it will.
    fn catch_up(&self) {
        let begun = Instant::now();
        while self.admin_addr.port() != 0
            && begun.elapsed() < patience(10.0)
            && logs::waiting(self.admin_addr).is_some_and(|lines| lines > 0.0)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for a log line; panics with the whole log when it does not come.
    pub(crate) async fn wait_for_log(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            if let Some(line) = self.logs.json().into_iter().find(&wanted) {
                return line;
            }
            let log = || self.log_text();
            assert!(
                begun.elapsed() < patience(10.0),
                "the log line did not come:\n{}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The audit events of one name, in order.
    pub(crate) fn audit_events(&self, name: &str) -> Vec<Value> {
        let is_named = |line: &Value| {
            ["event", "name", "message"]
                .iter()
                .any(|key| logs::field(line, key).and_then(Value::as_str) == Some(name))
        };
        self.log_lines()
            .into_iter()
            .filter(|line| line["target"] == "audit" && is_named(line))
            .collect()
    }

    /// A field of a log line, wherever the format puts it.
    pub(crate) fn log_field<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
        logs::field(line, name)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks it to shut down (SIGTERM).
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Asks it to re-read its configuration (SIGHUP).
    pub(crate) fn reload(&self) {
        self.signal("HUP");
    }

    /// Sends a signal by name, such as `QUIT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid.to_string();
        let sent = Command::new("sh")
            .args(["-c", r#"kill "-$0" "$1""#, name, &pid])
            .status();
        assert!(sent.unwrap().success(), "signal {name} to {pid}");
    }

    /// Waits for the process to end; panics with its log when it does not.
    pub(crate) async fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            let ended = self.child.lock().unwrap().try_wait().unwrap();
            if let Some(status) = ended {
                self.watchdog = None;
                return status;
            }
            assert!(
                begun.elapsed() < timeout,
                "still running after {timeout:?}:\n{}",
                self.log_text()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Resident memory now, in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory it ever had, in KiB.
    pub(crate) fn peak_rss_kib(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|rest| rest.split_whitespace().next());
        value.unwrap().parse().unwrap()
    }

    /// The text of its metrics.
    pub(crate) async fn metrics(&self) -> String {
        let response = client::get(self.admin_addr, "/metrics", None).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.text()
    }

    /// The sum of the series with this name and at least these labels (in any order), such as
    /// `name{a="b"}`; 0 when there is none, as a counter is not exported before its first use.
    pub(crate) async fn metric(&self, wanted: &str) -> f64 {
        logs::sum_series(&self.metrics().await, wanted)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The watchdog goes first, while the process id is still this child's.
        self.watchdog = None;
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
        if std::thread::panicking() {
            // Captured by the test harness, and shown with the failure.
            eprintln!("--- log of the gateway\n{}", self.logs.text());
        }
    }
}
