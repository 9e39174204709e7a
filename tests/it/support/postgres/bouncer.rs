//! PgBouncer in front of a server, each transaction on any of few connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Database;
use crate::support::guard::{Guard, Plan, free_port};
use crate::support::patience::patience;

const SETUP: &str = r#"cat >"$DIR/pgbouncer.ini" <<END
[databases]
* = host=127.0.0.1 port=$SERVER user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $PORT
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
END"#;

/// Debian has it where only root's `PATH` looks.
const RUN: &str = r#"env PATH="$PATH:/usr/sbin" pgbouncer "$DIR/pgbouncer.ini" >"$DIR/log" 2>&1"#;

/// A running PgBouncer in transaction mode.
#[derive(Debug)]
pub(crate) struct Bouncer {
    _guard: Guard,
    addr: SocketAddr,
}

impl Bouncer {
    /// Starts one before the server of a database.
    pub(crate) fn before(database: &Database) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let mut guard = Guard::prepare(&Plan {
                setup: SETUP,
                run: RUN,
                stop: "KILL",
                env: vec![
                    ("PORT", port.to_string()),
                    ("SERVER", database.port().to_string()),
                ],
                unprivileged: Some("postgres"),
            });
            guard.start();
            let begun = Instant::now();
            while begun.elapsed() < patience(10.0) && !guard.has_ended() {
                if guard.log().contains("process up") {
                    let addr = SocketAddr::from(([127, 0, 0, 1], port));
                    return Self {
                        _guard: guard,
                        addr,
                    };
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let log = guard.log();
            assert!(
                log.contains("ddress already in use"),
                "the tests need PgBouncer: apt-get install -y pgbouncer\n{log}"
            );
        }
        panic!("PgBouncer finds no free port");
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}
