//! A master, its replica and three sentinels that watch them, for tests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::{Client, cmd};

use super::RedisSpace;
use super::server::Server;
use crate::support::certificates::{Authority, Issued};
use crate::support::guard::{Guard, Plan, free_port};
use crate::support::patience::{patience, within};

/// What the sentinels call the master.
pub(crate) const SERVICE: &str = "mymaster";

const SETUP: &str = r#"cat >"$DIR/sentinel.conf" <<END
port $PORT
bind 127.0.0.1
dir $DIR
$TLS
sentinel resolve-hostnames no
sentinel monitor mymaster 127.0.0.1 $MASTER 2
sentinel down-after-milliseconds mymaster 500
sentinel failover-timeout mymaster 2000
END"#;

const RUN: &str = r#"redis-server "$DIR/sentinel.conf" --sentinel >"$DIR/log" 2>&1"#;

/// Two Redis servers and three sentinels of one test's own.
#[derive(Debug)]
pub(crate) struct DedicatedSentinels {
    servers: [Arc<Server>; 2],
    sentinels: Vec<(Mutex<Guard>, u16)>,
    /// Where the sentinels speak TLS, if they do.
    tls_ports: Option<Vec<u16>>,
    prefix: String,
}

impl DedicatedSentinels {
    /// Starts everything and waits until each sentinel knows the replica and the others.
    pub(crate) async fn start() -> Self {
        tokio::task::spawn_blocking(Self::start_all).await.unwrap()
    }

    fn start_all() -> Self {
        let master = Server::start();
        let replica = Server::start_replica(master.port());
        let sentinels = (0..3).map(|_| sentinel(master.port(), String::new()));
        let all = Self {
            sentinels: sentinels.collect(),
            servers: [Arc::new(master), Arc::new(replica)],
            tls_ports: None,
            prefix: format!("test-{}", uuid::Uuid::new_v4().simple()),
        };
        all.wait_until_known();
        all
    }

    /// The same, all of them speaking TLS with each other and with clients.
    pub(crate) async fn start_tls(authority: &Authority, issued: &Issued) -> Self {
        tokio::task::block_in_place(|| {
            let master = Server::start_tls(authority, issued);
            let port = master.tls_port().unwrap();
            let replica = Server::start_tls_replica(port, authority, issued);
            let (mut sentinels, mut tls_ports) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                let tls_port = free_port();
                let options = format!(
                    "tls-port {tls_port}\ntls-replication yes\ntls-auth-clients optional\n\
                     tls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}",
                    authority.file().display(),
                    issued.cert.display(),
                    issued.key.display()
                );
                sentinels.push(sentinel(port, options));
                tls_ports.push(tls_port);
            }
            let all = Self {
                servers: [Arc::new(master), Arc::new(replica)],
                sentinels,
                tls_ports: Some(tls_ports),
                prefix: format!("test-{}", uuid::Uuid::new_v4().simple()),
            };
            all.wait_until_known();
            all
        })
    }

    fn wait_until_known(&self) {
        let begun = Instant::now();
        let knows = |port: u16| {
            let fields = masters(port);
            let field = |name: &str| {
                let at = fields.iter().position(|field| field == name);
                at.and_then(|at| fields.get(at + 1)).cloned()
            };
            field("num-slaves").as_deref() == Some("1")
                && field("num-other-sentinels").as_deref() == Some("2")
        };
        while !self.sentinels.iter().all(|(_, port)| knows(*port)) {
            assert!(
                begun.elapsed() < patience(20.0),
                "the sentinels do not agree"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The sentinels as `host:port`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let plain = || self.sentinels.iter().map(|(_, port)| *port).collect();
        let ports: Vec<u16> = self.tls_ports.clone().unwrap_or_else(plain);
        let addresses = ports.into_iter().map(local);
        addresses.map(|address| address.to_string()).collect()
    }

    /// The same key prefix on the first server, which begins as the master, or on the other.
    pub(crate) fn space(&self, server: usize) -> RedisSpace {
        RedisSpace {
            server: Arc::clone(&self.servers[server]),
            prefix: self.prefix.clone(),
        }
    }

    /// Which server the first sentinel takes for the master.
    pub(crate) fn master(&self) -> Option<usize> {
        let fields = masters(self.sentinels[0].1);
        let at = fields.iter().position(|field| field == "port")?;
        let port: u16 = fields.get(at + 1)?.parse().ok()?;
        self.servers
            .iter()
            .position(|server| server.port() == port || server.tls_port() == Some(port))
    }

    /// Waits until the first sentinel takes this server for the master. Sentinels that have stood
    /// still for two seconds first look on for thirty.
    pub(crate) async fn promotes(&self, server: usize) {
        let promoted = async {
            while self.master() != Some(server) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(60.0, "the other server is promoted", promoted).await;
    }

    /// Stops the first sentinel in its tracks, so that it accepts connections and says nothing.
    pub(crate) fn freeze_first_sentinel(&self) {
        self.sentinels[0].0.lock().unwrap().order("freeze");
    }

    /// Has all sentinels listen to nobody any more but this user, with these rights.
    pub(crate) async fn guard(&self, user: &str, password: &str, rights: &str) {
        let ports: Vec<u16> = self.sentinels.iter().map(|(_, port)| *port).collect();
        let password = format!(">{password}");
        let mut words = vec!["ACL", "SETUSER", user, "on", &password];
        words.extend(rights.split(' '));
        let words: Vec<String> = words.into_iter().map(ToOwned::to_owned).collect();
        let guarding = move || {
            for port in ports {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                order(port, &words);
                order(port, &["ACL", "SETUSER", "default", "off"]);
            }
        };
        tokio::task::spawn_blocking(guarding).await.unwrap();
    }

    /// Has the sentinels but the first name this server, of which the other one does not learn.
    pub(crate) async fn name_unheard(&self, server: usize) {
        let server = Arc::clone(&self.servers[server]);
        let ports: Vec<u16> = self.sentinels[1..].iter().map(|(_, port)| *port).collect();
        let naming = move || {
            for port in &ports {
                order(*port, &["SENTINEL", "REMOVE", SERVICE]);
            }
            order(server.port(), &["REPLICAOF", "NO", "ONE"]);
            let named = server.port().to_string();
            for port in &ports {
                let monitor = ["SENTINEL", "MONITOR", SERVICE, "127.0.0.1", &named, "2"];
                order(*port, &monitor);
            }
        };
        tokio::task::spawn_blocking(naming).await.unwrap();
    }

    /// Kills a server; if it was the master, the sentinels promote the other.
    pub(crate) fn stop(&self, server: usize) {
        self.servers[server].order("stop");
    }

    /// Starts a server again, empty and as it was first configured; waits until it listens.
    pub(crate) fn restart(&self, server: usize) {
        self.servers[server].restart();
    }

    /// Stops a server in its tracks: connections stay open and silent.
    pub(crate) fn freeze(&self, server: usize) {
        self.servers[server].order("freeze");
    }

    /// Lets a frozen server go on.
    pub(crate) fn thaw(&self, server: usize) {
        self.servers[server].order("thaw");
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Has a server do something.
fn order(port: u16, words: &[&str]) {
    let client = Client::open(format!("redis://{}/", local(port))).unwrap();
    let mut connection = client.get_connection_with_timeout(patience(5.0)).unwrap();
    let mut command = cmd(words[0]);
    let () = command.arg(&words[1..]).query(&mut connection).unwrap();
}

/// What a sentinel says of the one master it watches: names and values in turn.
fn masters(port: u16) -> Vec<String> {
    let ask = || {
        let client = Client::open(format!("redis://{}/", local(port)))?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
        cmd("SENTINEL")
            .arg("MASTER")
            .arg(SERVICE)
            .query(&mut connection)
    };
    ask().unwrap_or_default()
}

fn sentinel(master: u16, tls: String) -> (Mutex<Guard>, u16) {
    for _ in 0..5 {
        let port = free_port();
        let mut guard = Guard::prepare(&Plan {
            setup: SETUP,
            run: RUN,
            stop: "KILL",
            env: vec![
                ("PORT", port.to_string()),
                ("MASTER", master.to_string()),
                ("TLS", tls.clone()),
            ],
            unprivileged: None,
        });
        guard.start();
        let begun = Instant::now();
        while !guard.has_ended() && begun.elapsed() < patience(10.0) {
            if !masters(port).is_empty() {
                return (Mutex::new(guard), port);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Another process may have taken the port meanwhile.
    }
    panic!("no sentinel started: apt-get install -y redis-server");
}
