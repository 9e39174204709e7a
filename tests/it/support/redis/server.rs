//! The Redis server process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::support::certificates::{Authority, Issued};
use crate::support::guard::{Guard, Plan, free_port};
use crate::support::patience::patience;

const RUN: &str = r#"redis-server --port "$PORT" --bind 127.0.0.1 --save "" --appendonly no \
    --dir "$DIR" --daemonize no $MORE >"$DIR/log" 2>&1"#;

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    guard: Mutex<Guard>,
    port: u16,
    /// Where it speaks TLS, besides, if it does.
    tls_port: Option<u16>,
}

static SHARED: OnceLock<Arc<Server>> = OnceLock::new();

impl Server {
    /// The server that all tests share, started by the first to ask.
    pub(super) fn shared() -> Arc<Self> {
        Arc::clone(SHARED.get_or_init(|| Arc::new(Self::start())))
    }

    /// Another server, empty.
    pub(super) fn start() -> Self {
        Self::start_with(String::new)
    }

    /// Another server, empty, that speaks TLS on a second port.
    pub(super) fn start_tls(authority: &Authority, issued: &Issued) -> Self {
        let tls_port = free_port();
        Self {
            tls_port: Some(tls_port),
            ..Self::start_with(|| {
                let tls = tls_options(tls_port, authority, issued);
                format!("{tls} --tls-replication yes")
            })
        }
    }

    /// A replica that follows the master by TLS.
    pub(super) fn start_tls_replica(master: u16, authority: &Authority, issued: &Issued) -> Self {
        let tls_port = free_port();
        let options = || {
            let tls = tls_options(tls_port, authority, issued);
            format!("{tls} --tls-replication yes --replicaof 127.0.0.1 {master}")
        };
        Self {
            tls_port: Some(tls_port),
            ..Self::start_with(options)
        }
    }

    /// A node that speaks TLS with the others and, on a second port, with clients.
    pub(super) fn start_tls_node(authority: &Authority, issued: &Issued) -> Self {
        let tls_port = free_port();
        let options = || {
            let tls = tls_options(tls_port, authority, issued);
            format!("{} {tls} --tls-cluster yes", node_options())
        };
        Self {
            tls_port: Some(tls_port),
            ..Self::start_with(options)
        }
    }

    /// A node of a cluster that knows no slots and no other nodes yet.
    pub(super) fn start_node() -> Self {
        Self::start_with(node_options)
    }

    /// A replica of the server on this port.
    pub(super) fn start_replica(master: u16) -> Self {
        Self::start_with(|| format!("--replicaof 127.0.0.1 {master}"))
    }

    fn start_with(more: impl Fn() -> String) -> Self {
        (0..5)
            .find_map(|_| {
                let port = free_port();
                let mut guard = Guard::prepare(&Plan {
                    setup: "true",
                    run: RUN,
                    stop: "KILL",
                    env: vec![("PORT", port.to_string()), ("MORE", more())],
                    unprivileged: None,
                });
                // Another process may have taken the port meanwhile.
                run(&mut guard).then(|| Self {
                    guard: Mutex::new(guard),
                    port,
                    tls_port: None,
                })
            })
            .expect("Redis finds a free port")
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    pub(super) fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(super) fn pid(&self) -> Option<u32> {
        let guard = self.guard.try_lock().ok()?;
        Some(guard.pid())
    }

    pub(super) fn restart(&self) {
        let mut guard = self.guard.lock().unwrap();
        guard.order("stop");
        assert!(
            run(&mut guard),
            "Redis did not start again:\n{}",
            guard.log()
        );
    }

    pub(super) fn order(&self, order: &str) {
        self.guard.lock().unwrap().order(order);
    }
}

fn node_options() -> String {
    // A bus port of its own: the usual one is out of the range of ports, or may be taken.
    format!(
        "--cluster-enabled yes --cluster-announce-ip 127.0.0.1 --cluster-port {}",
        free_port()
    )
}

fn tls_options(port: u16, authority: &Authority, issued: &Issued) -> String {
    format!(
        "--tls-port {port} --tls-auth-clients optional --tls-ca-cert-file {} \
         --tls-cert-file {} --tls-key-file {}",
        authority.file().display(),
        issued.cert.display(),
        issued.key.display()
    )
}

/// Starts the process and waits until it accepts connections; false when it ends instead.
fn run(guard: &mut Guard) -> bool {
    // Else the line waited for would be found at once after a restart.
    let _ = std::fs::remove_file(guard.dir().join("log"));
    guard.start();
    let begun = Instant::now();
    while begun.elapsed() < patience(20.0) {
        let log = guard.log();
        if log.contains("Ready to accept connections") {
            return true;
        }
        if guard.has_ended() {
            assert!(
                !log.contains("not found"),
                "the tests need Redis: apt-get install -y postgresql redis-server"
            );
            assert!(
                log.contains("Address already in use"),
                "Redis ended:\n{log}"
            );
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("Redis did not get ready:\n{}", guard.log());
}
