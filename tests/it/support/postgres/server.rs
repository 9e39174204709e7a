//! The PostgreSQL server process.

use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::connect;
use crate::support::certificates::Issued;
use crate::support::guard::{Guard, Plan, free_port};
use crate::support::patience::patience;

/// The database that every test's database is a copy of.
pub(super) const TEMPLATE: &str = "dify_template";

const SCHEMA: &str = include_str!("../../fixtures/dify_schema.sql");

const SETUP: &str = r#""$BIN/initdb" -D "$DIR/data" -U postgres -A trust -E UTF8 --locale=C \
    --no-sync --no-instructions --wal-segsize=1 >"$DIR/log" 2>&1"#;

/// Turns TLS on. The role `gate` must use it, and prove its password by SCRAM.
const SETUP_TLS: &str = r#""$BIN/initdb" -D "$DIR/data" -U postgres -A trust -E UTF8 --locale=C \
    --no-sync --no-instructions --wal-segsize=1 >"$DIR/log" 2>&1 &&
printf '%s' "$CERT" >"$DIR/server.crt" && printf '%s' "$KEY" >"$DIR/server.key" &&
chmod 600 "$DIR/server.key" && cat >>"$DIR/data/postgresql.conf" <<END &&
ssl = on
ssl_cert_file = '$DIR/server.crt'
ssl_key_file = '$DIR/server.key'
END
cat >"$DIR/data/pg_hba.conf" <<END
hostssl all gate all scram-sha-256
host all gate all reject
host all all all trust
END"#;

/// Copies a running primary, to follow it.
const SETUP_STANDBY: &str = r#""$BIN/pg_basebackup" -D "$DIR/data" -h 127.0.0.1 -p "$PRIMARY" \
    -U postgres -R -X stream -c fast --no-sync >"$DIR/log" 2>&1"#;

/// Nothing is synced to the disk, yet what is committed outlives a crash of the server alone.
/// Autovacuum is off because it would hold up copies of the template database.
/// Every statement is logged as `[database] LOG:  …`; the library's own connections opt out.
const RUN: &str = r#""$BIN/postgres" -D "$DIR/data" -p "$PORT" \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300 \
    -c fsync=off -c full_page_writes=off -c autovacuum=off \
    -c wal_level="$WAL_LEVEL" -c max_wal_senders="$WAL_SENDERS" -c shared_buffers=32MB \
    -c dynamic_shared_memory_type=mmap -c logging_collector=off -c log_destination=stderr \
    -c log_checkpoints=off -c log_line_prefix="[%d] " -c log_statement=all \
    -c log_parameter_max_length=0 >>"$DIR/log" 2>&1"#;

static SHARED: OnceLock<Arc<Server>> = OnceLock::new();

/// A running server with the template database in it.
#[derive(Debug)]
pub(super) struct Server {
    guard: Mutex<Guard>,
    log: PathBuf,
    port: u16,
    shared: bool,
}

impl Server {
    /// The server that all tests share, started by the first to ask.
    pub(super) fn shared() -> Arc<Self> {
        Arc::clone(SHARED.get_or_init(|| Arc::new(Self::start(true))))
    }

    /// A server for one test.
    pub(super) fn start_dedicated() -> Arc<Self> {
        Arc::new(Self::start(false))
    }

    /// A server for one test that speaks TLS with this certificate.
    pub(super) fn start_tls(issued: &Issued) -> Arc<Self> {
        let env = vec![
            ("CERT", issued.cert_pem.clone()),
            ("KEY", issued.key_pem.clone()),
        ];
        let server = Self::start_with(false, SETUP_TLS, &[lonely(), env].concat());
        server.fill();
        Arc::new(server)
    }

    /// A server for one test that another may follow.
    pub(super) fn start_primary() -> Arc<Self> {
        let server = Self::start_with(false, SETUP, &replicated());
        server.fill();
        Arc::new(server)
    }

    /// A server that follows the one on this port until it is promoted.
    pub(super) fn start_standby(primary: u16) -> Arc<Self> {
        let env = [replicated(), vec![("PRIMARY", primary.to_string())]].concat();
        Arc::new(Self::start_with(false, SETUP_STANDBY, &env))
    }

    fn start(shared: bool) -> Self {
        let server = Self::start_with(shared, SETUP, &lonely());
        server.fill();
        server
    }

    fn fill(&self) {
        let addr = self.addr();
        // The caller may be on a runtime's thread, where another cannot be entered.
        std::thread::spawn(move || create_template(addr))
            .join()
            .unwrap();
    }

    fn start_with(shared: bool, setup: &'static str, more: &[(&'static str, String)]) -> Self {
        let bin = find_binaries();
        (0..5)
            .find_map(|_| {
                let port = free_port();
                let mut guard = Guard::prepare(&Plan {
                    setup,
                    run: RUN,
                    stop: "QUIT",
                    env: [
                        vec![
                            ("BIN", bin.to_str().unwrap().to_owned()),
                            ("PORT", port.to_string()),
                        ],
                        more.to_vec(),
                    ]
                    .concat(),
                    unprivileged: Some("postgres"),
                });
                // Another process may have taken the port meanwhile.
                run(&mut guard).then(|| Self {
                    log: guard.dir().join("log"),
                    guard: Mutex::new(guard),
                    port,
                    shared,
                })
            })
            .expect("PostgreSQL finds a free port")
    }

    pub(super) fn restart(&self) {
        let mut guard = self.guard.lock().unwrap();
        guard.order("stop");
        assert!(
            run(&mut guard),
            "PostgreSQL did not start again:\n{}",
            guard.log()
        );
    }

    pub(super) fn order(&self, order: &str) {
        self.guard.lock().unwrap().order(order);
    }

    /// Its first process, unless the server is being ordered about at this moment.
    pub(super) fn pid(&self) -> Option<u32> {
        let guard = self.guard.try_lock().ok()?;
        Some(guard.pid())
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    pub(super) async fn client(&self, database: &str) -> Client {
        connect(self.addr(), database).await
    }

    pub(super) fn log_length(&self) -> u64 {
        std::fs::metadata(&self.log).unwrap().len()
    }

    /// The statements of one database in the log from `start` on.
    pub(super) fn statements(&self, database: &str, start: u64) -> Vec<String> {
        let mut file = std::fs::File::open(&self.log).unwrap();
        file.seek(SeekFrom::Start(start)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let log = String::from_utf8_lossy(&bytes);
        let ours = format!("[{database}] LOG:  ");
        let mut statements: Vec<String> = Vec::new();
        let mut continues = false;
        for line in log.lines() {
            if let Some(rest) = line.strip_prefix('\t') {
                if let Some(last) = statements.last_mut().filter(|_| continues) {
                    last.push('\n');
                    last.push_str(rest);
                }
                continue;
            }
            // `statement: SQL` of the simple protocol, `execute NAME: SQL` of the extended one.
            let sql = line.strip_prefix(&ours).and_then(|entry| {
                let is_statement =
                    entry.starts_with("statement: ") || entry.starts_with("execute ");
                is_statement.then(|| entry.split_once(": ").unwrap().1)
            });
            continues = sql.is_some();
            statements.extend(sql.map(str::to_owned));
        }
        statements
    }
}

/// Nobody follows, and little is written.
fn lonely() -> Vec<(&'static str, String)> {
    vec![
        ("WAL_LEVEL", "minimal".to_owned()),
        ("WAL_SENDERS", "0".to_owned()),
    ]
}

/// Somebody may follow.
fn replicated() -> Vec<(&'static str, String)> {
    vec![
        ("WAL_LEVEL", "replica".to_owned()),
        ("WAL_SENDERS", "4".to_owned()),
    ]
}

/// Starts the process and waits until it accepts connections; false when it ends instead.
fn run(guard: &mut Guard) -> bool {
    guard.start();
    let begun = Instant::now();
    let lock_file = guard.dir().join("data/postmaster.pid");
    while begun.elapsed() < patience(20.0) {
        // First line the process id, eighth its state: no doubt whose server answers.
        let text = std::fs::read_to_string(&lock_file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        if lines.first() == Some(&guard.pid().to_string().as_str())
            && matches!(lines.get(7), Some(&"ready" | &"standby"))
        {
            return true;
        }
        if guard.has_ended() {
            let log = guard.log();
            assert!(
                log.contains("could not create any TCP/IP sockets"),
                "PostgreSQL ended:\n{log}"
            );
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("PostgreSQL did not get ready:\n{}", guard.log());
}

fn create_template(addr: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let admin = connect(addr, "postgres").await;
        admin
            .batch_execute(&format!("CREATE DATABASE {TEMPLATE}"))
            .await
            .unwrap();
        let template = connect(addr, TEMPLATE).await;
        template.batch_execute(SCHEMA).await.unwrap();
        drop(template);
        // A database with a connection cannot be copied; PostgreSQL would wait in long steps.
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
        loop {
            let row = admin.query_one(open, &[&TEMPLATE]).await.unwrap();
            if row.get::<_, i64>(0) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
}

/// The directory with `initdb` and `postgres`.
fn find_binaries() -> PathBuf {
    let mut candidates = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        candidates.push(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        ));
    }
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        candidates.extend(versions.flatten().map(|entry| entry.path().join("bin")));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    candidates.extend(std::env::split_paths(&path));
    let complete = |dir: &Path| dir.join("initdb").is_file() && dir.join("postgres").is_file();
    candidates
        .into_iter()
        .find(|dir| complete(dir))
        .expect("the tests need PostgreSQL: apt-get install -y postgresql redis-server")
}
