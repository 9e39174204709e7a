//! A Redis Cluster for tests: three primaries, no replicas.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use redis::{Client, Cmd, FromRedisValue, cmd};

use super::server::Server;
use crate::support::certificates::{Authority, Issued};
use crate::support::patience::patience;

/// The slots of each node, first and last.
const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

/// A cluster of one test's own.
#[derive(Debug)]
pub(crate) struct DedicatedCluster {
    nodes: Vec<Server>,
}

impl DedicatedCluster {
    /// Starts three empty nodes and waits until every one of them serves all of its slots.
    pub(crate) async fn start() -> Self {
        tokio::task::spawn_blocking(|| {
            let nodes = SLOTS.iter().map(|_| Server::start_node()).collect();
            let cluster = Self { nodes };
            cluster.form();
            cluster
        })
        .await
        .unwrap()
    }

    /// The same with nodes that speak TLS with each other and with clients.
    pub(crate) async fn start_tls(authority: &Authority, issued: &Issued) -> Self {
        tokio::task::block_in_place(|| {
            let node = |_| Server::start_tls_node(authority, issued);
            let cluster = Self {
                nodes: SLOTS.iter().map(node).collect(),
            };
            cluster.form();
            cluster
        })
    }

    fn form(&self) {
        let ask = |at: usize, command: &Cmd| -> () { query(self.nodes[at].addr(), command) };
        for (at, (first, last)) in SLOTS.into_iter().enumerate() {
            // Without an epoch of its own a node would have to settle that with the others first.
            ask(at, cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(at + 1));
            ask(at, cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(last));
        }
        let mut bus = cmd("CONFIG");
        let (_, bus): (String, u16) =
            query(self.nodes[0].addr(), bus.arg("GET").arg("cluster-port"));
        for at in 1..self.nodes.len() {
            let mut meet = cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1");
            ask(at, meet.arg(port_of(&self.nodes[0])).arg(bus));
        }
        for node in &self.nodes {
            wait_for(node.addr());
        }
    }

    /// The nodes as `host:port`.
    pub(crate) fn nodes(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", port_of(node)))
            .collect()
    }

    /// The full names of all keys that each node holds, without those that gateways prove their
    /// tracking with.
    pub(crate) async fn keys(&self) -> Vec<Vec<String>> {
        let addrs: Vec<_> = self.nodes.iter().map(Server::addr).collect();
        let ask = || {
            addrs.into_iter().map(|addr| {
                let mut keys: Vec<String> = query(addr, cmd("KEYS").arg("*"));
                keys.retain(|key| !key.contains("auth:token:proof-of-"));
                keys
            })
        };
        tokio::task::spawn_blocking(|| ask().collect())
            .await
            .unwrap()
    }

    /// Deletes a key by its full name, wherever it is; whether it was there.
    pub(crate) async fn del(&self, key: &str) -> bool {
        let held = self.keys().await;
        let Some(node) = held
            .iter()
            .position(|keys| keys.iter().any(|held| held == key))
        else {
            return false;
        };
        let (addr, key) = (self.nodes[node].addr(), key.to_owned());
        let delete = move || query::<bool>(addr, cmd("DEL").arg(key));
        tokio::task::spawn_blocking(delete).await.unwrap()
    }

    /// Makes every node forget the scripts that it has seen.
    pub(crate) async fn forget_scripts(&self) {
        let addrs: Vec<_> = self.nodes.iter().map(Server::addr).collect();
        let forget = || {
            for addr in addrs {
                let () = query(addr, cmd("SCRIPT").arg("FLUSH"));
            }
        };
        tokio::task::spawn_blocking(forget).await.unwrap();
    }

    /// Makes every node ask for a password; nothing else here works after that.
    pub(crate) async fn lock(self, password: &'static str) -> Self {
        tokio::task::spawn_blocking(move || {
            for node in &self.nodes {
                let mut set = cmd("CONFIG");
                set.arg("SET").arg("requirepass").arg(password);
                let () = query(node.addr(), &set);
            }
            self
        })
        .await
        .unwrap()
    }

    /// Gives the slot of a key that does not exist to the next node.
    pub(crate) async fn hand_over(&self, key: &str) {
        let addrs: Vec<_> = self.nodes.iter().map(Server::addr).collect();
        let key = key.to_owned();
        let hand_over = move || {
            let slot: u16 = query(addrs[0], cmd("CLUSTER").arg("KEYSLOT").arg(key));
            let owner = SLOTS.iter().position(|(_, last)| slot <= *last).unwrap();
            let heir = (owner + 1) % addrs.len();
            let id = |at: usize| -> String { query(addrs[at], cmd("CLUSTER").arg("MYID")) };
            let set = |at: usize, state: &str, node: String| {
                let mut command = cmd("CLUSTER");
                command.arg("SETSLOT").arg(slot).arg(state).arg(node);
                let () = query(addrs[at], &command);
            };
            set(heir, "IMPORTING", id(owner));
            set(heir, "NODE", id(heir));
            set(owner, "NODE", id(heir));
        };
        tokio::task::spawn_blocking(hand_over).await.unwrap();
    }

    /// Kills every node: open connections are closed.
    pub(crate) fn stop(&self) {
        for node in &self.nodes {
            node.order("stop");
        }
    }

    /// Starts every node again, with its slots but without its keys.
    pub(crate) async fn restart(self) -> Self {
        tokio::task::spawn_blocking(|| {
            self.nodes.iter().for_each(Server::restart);
            for node in &self.nodes {
                wait_for(node.addr());
            }
            self
        })
        .await
        .unwrap()
    }

    /// Stops one node in its tracks: connections stay open and silent.
    pub(crate) fn freeze(&self, node: usize) {
        self.nodes[node].order("freeze");
    }

    /// Lets a frozen node go on.
    pub(crate) fn thaw(&self, node: usize) {
        self.nodes[node].order("thaw");
    }
}

/// The port for clients.
fn port_of(node: &Server) -> u16 {
    node.tls_port().unwrap_or_else(|| node.port())
}

/// Waits until a node knows where every slot is, and that the one who has it is there.
fn wait_for(addr: SocketAddr) {
    let begun = Instant::now();
    loop {
        let info: String = query(addr, cmd("CLUSTER").arg("INFO"));
        let ready = [
            "cluster_state:ok",
            "cluster_slots_ok:16384",
            "cluster_size:3",
        ];
        if ready.iter().all(|line| info.contains(line)) {
            return;
        }
        assert!(begun.elapsed() < patience(20.0), "no cluster:\n{info}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks one node.
fn query<T: FromRedisValue>(addr: SocketAddr, command: &Cmd) -> T {
    let client = Client::open(format!("redis://{addr}/")).unwrap();
    let limit = patience(5.0);
    let mut connection = client.get_connection_with_timeout(limit).unwrap();
    connection.set_read_timeout(Some(limit)).unwrap();
    command.query(&mut connection).unwrap()
}
