//! PostgreSQL for tests: one private server per run, one database per test.

mod bouncer;
mod seed;
mod server;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

pub(crate) use self::bouncer::Bouncer;
pub(crate) use self::seed::{IssuedToken, NewToken};
use self::server::{Server, TEMPLATE};
use super::certificates::Issued;

/// A database with Dify's schema, dropped some time after its last clone is.
#[derive(Debug, Clone)]
pub(crate) struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Arc<Server>,
    name: String,
    /// Length of the server's log when the database was created.
    log_start: u64,
}

/// Databases whose tests are over. Dropping one needs a connection, which a destructor cannot
/// have, so the next test does it.
static FINISHED: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Database {
    /// A fresh database on the server that all tests share.
    pub(crate) async fn create() -> Self {
        let server = tokio::task::spawn_blocking(Server::shared).await.unwrap();
        let finished = std::mem::take(&mut *FINISHED.lock().unwrap());
        let admin = server.client("postgres").await;
        for name in finished {
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            admin.batch_execute(&drop).await.unwrap();
        }
        drop(admin);
        Self::create_on(server).await
    }

    async fn create_on(server: Arc<Server>) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let log_start = server.log_length();
        server
            .client("postgres")
            .await
            .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
            .await
            .unwrap();
        Self(Arc::new(Inner {
            server,
            name,
            log_start,
        }))
    }

    /// The host that the server listens on.
    pub(crate) fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The server's port.
    pub(crate) fn port(&self) -> u16 {
        self.0.server.port()
    }

    /// Host and port, for a relay.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.server.addr()
    }

    /// The database's name.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// The user to connect as, a superuser; any password is accepted.
    pub(crate) fn user(&self) -> &'static str {
        "postgres"
    }

    /// A connection URL.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@{}/{}", self.addr(), self.name())
    }

    /// A connection whose statements are not counted by [`Database::statements_seen`].
    pub(crate) async fn client(&self) -> Client {
        self.0.server.client(self.name()).await
    }

    /// Every statement that others than this library have executed in this database, in order.
    /// A statement is listed before its result is sent, so there is nothing to wait for.
    pub(crate) fn statements(&self) -> Vec<String> {
        self.0.server.statements(self.name(), self.0.log_start)
    }

    /// How many queries (`SELECT` or `WITH`) of `oauth_access_tokens` others than this library
    /// have executed in this database.
    pub(crate) fn statements_seen(&self) -> usize {
        let is_query = |sql: &str| {
            let word = sql.split_whitespace().next().unwrap_or_default();
            word.eq_ignore_ascii_case("select") || word.eq_ignore_ascii_case("with")
        };
        self.statements()
            .iter()
            .filter(|sql| is_query(sql) && sql.contains("oauth_access_tokens"))
            .count()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A dedicated server takes its databases with it.
        if self.server.is_shared() {
            FINISHED.lock().unwrap().push(self.name.clone());
        }
    }
}

/// A server of one test's own, with one database, to be stopped and frozen at will.
#[derive(Debug)]
pub(crate) struct DedicatedPostgres {
    server: Arc<Server>,
    database: Database,
}

impl DedicatedPostgres {
    /// Starts a server with a fresh Dify database.
    pub(crate) async fn start() -> Self {
        let server = tokio::task::spawn_blocking(Server::start_dedicated)
            .await
            .unwrap();
        let database = Database::create_on(Arc::clone(&server)).await;
        Self { server, database }
    }

    /// Starts a server that speaks TLS with this certificate, with a fresh Dify database. The role
    /// `gate` (password `hunter2`, a superuser) can only connect by TLS and SCRAM.
    pub(crate) async fn start_tls(issued: &Issued) -> Self {
        let server = tokio::task::block_in_place(|| Server::start_tls(issued));
        let role = "CREATE ROLE gate LOGIN SUPERUSER PASSWORD 'hunter2'";
        let admin = server.client("postgres").await;
        admin.batch_execute(role).await.unwrap();
        let database = Database::create_on(Arc::clone(&server)).await;
        Self { server, database }
    }

    /// Starts a primary with a fresh Dify database, and a standby that follows it.
    pub(crate) async fn start_pair() -> (Self, Self) {
        let server = tokio::task::block_in_place(Server::start_primary);
        let database = Database::create_on(Arc::clone(&server)).await;
        let follower = tokio::task::block_in_place(|| Server::start_standby(server.port()));
        let standby = Self {
            database: Database(Arc::new(Inner {
                server: Arc::clone(&follower),
                name: database.name().to_owned(),
                log_start: 0,
            })),
            server: follower,
        };
        (Self { server, database }, standby)
    }

    /// Ends a standby's following: from now on it takes writes.
    pub(crate) async fn promote(&self) {
        let admin = self.server.client("postgres").await;
        admin.batch_execute("SELECT pg_promote()").await.unwrap();
    }

    /// The server's database.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Host and port, the same over restarts.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The process that all others of the server are children of, unless the server is being
    /// ordered about at this moment.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Stops the server at once, as a crash would: open connections are closed.
    pub(crate) fn stop_immediate(&self) {
        self.server.order("stop");
    }

    /// Starts the server again (stopping it first when it runs) on the same port and data.
    pub(crate) async fn restart(&self) {
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || server.restart())
            .await
            .unwrap();
    }

    /// Stops every process of the server in its tracks: connections stay open and silent.
    pub(crate) fn freeze(&self) {
        self.server.order("freeze");
    }

    /// Lets a frozen server go on.
    pub(crate) fn thaw(&self) {
        self.server.order("thaw");
    }
}

/// Opens a connection and drives it in the background.
async fn connect(addr: SocketAddr, database: &str) -> Client {
    let (client, connection) = tokio_postgres::Config::new()
        .host(addr.ip().to_string())
        .port(addr.port())
        .user("postgres")
        .dbname(database)
        .application_name("difygate tests")
        .options("-c log_statement=none")
        .connect(NoTls)
        .await
        .unwrap_or_else(|error| panic!("connecting to {database} at {addr}: {error:?}"));
    tokio::spawn(async move {
        // A test that stops its server breaks this connection on purpose.
        let _ = connection.await;
    });
    client
}
