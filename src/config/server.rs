//! `[server]` and `[admin]`: the listeners.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    thread,
    time::Duration,
};

use ipnet::IpNet;

use super::Problem;
use super::listen::{ListenAddress, NEED_PATH, listen_address, socket_path};
use super::parse::{
    Parsed, boolean, duration, integer, list, mode, network, size, socket_addr, text, unless_off,
    web_origin, word,
};
use super::reader::Reader;
use super::value::{Mismatch, Value};

/// Most threads that make sense on any machine; above it the number is a typing error.
const MAX_THREADS: usize = 1024;

/// Most connections that make sense; Linux's own limit of files is of that order.
const MAX_CONNECTIONS: usize = 1_000_000;

/// Most requests beside them that make sense, for the same reason.
const MAX_EXTRA_STREAMS: usize = 1_000_000;

/// Largest least rate of a body that makes sense, in bytes a second; above it, ordinary clients would
/// be cut off.
const MAX_BODY_RATE: usize = 1 << 20;

/// The public side.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Addresses to listen on; at least one.
    pub listen: Vec<ListenAddress>,
    /// Who may connect to those that are Unix sockets: permission bits, 0 to 0o777.
    pub socket_mode: u32,
    /// The Unix socket over which a process takes the listeners of another over.
    pub upgrade_socket: PathBuf,
    /// Threads that serve connections, 1 to 1024; default: the CPUs available to the process.
    pub threads: NonZeroUsize,
    /// Peers whose `X-Forwarded-*` are believed; default nobody, since anybody can send them.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether every connection comes from a trusted proxy and begins with its PROXY header.
    pub proxy_protocol: bool,
    /// Origins whose pages may call what bearer tokens guard, as browsers spell them, or `*`.
    pub cors_allow_origins: Vec<String>,
    /// Longest a client may take to send its request head, from its first byte on; up to 5 minutes.
    pub request_header_timeout: Duration,
    /// Least bytes a second of a request's body, up to 1 MiB, once a client has fallen behind by
    /// `request_header_timeout`; `None`: a body may be as slow as it likes.
    pub min_body_rate: Option<NonZeroU32>,
    /// How long an idle client connection is kept, and how long a client may leave what it is sent
    /// unread, 1 second to 1 hour.
    pub idle_timeout: Duration,
    /// How long open requests may go on after `SIGTERM`, up to 1 hour.
    pub shutdown_grace: Duration,
    /// Largest request head accepted, in bytes, 1 KiB to 1 MiB.
    pub max_header_bytes: usize,
    /// Most client connections at a time, 1 to 1,000,000; further ones wait to be accepted.
    pub max_connections: usize,
    /// Most requests under way over HTTP/2 beyond one on each connection, 1 to 1,000,000; further
    /// ones are refused.
    pub max_extra_streams: usize,
    /// TLS on the public listeners; `None` is plain HTTP.
    pub tls: Option<TlsConfig>,
}

/// Certificate and key of the public listeners, PEM files.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// Certificate chain, the server's own first.
    pub cert: TlsFile,
    /// Private key of the certificate.
    pub key: TlsFile,
    /// Authorities whose client certificates are required; `None` asks for none.
    pub client_ca: Option<TlsFile>,
}

/// A file that the configuration names; it is read when the listeners are set up.
#[derive(Debug, Clone)]
pub struct TlsFile {
    /// The key that names it.
    pub key: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Where the key was set, for messages.
    pub origin: Option<String>,
}

impl TlsFile {
    /// Says what is wrong with the file.
    pub fn problem(&self, fault: &str, need: &str) -> Problem {
        Problem {
            key: self.key.to_owned(),
            origin: self.origin.clone(),
            got: Some(format!("{:?} ({fault})", self.path)),
            need: need.to_owned(),
            remedy: None,
        }
    }
}

/// The private side: health, readiness, metrics.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Address to listen on; loopback by default, because nothing there asks who is calling.
    pub listen: SocketAddr,
    /// Names under which the status page may be asked for, besides those that nobody on the web
    /// can have.
    pub names: Vec<String>,
}

impl ServerConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let (ms, hour) = (Duration::from_millis(1), Duration::from_secs(3_600));
        let trusted_proxies = reader.value("server.trusted_proxies", list(network));
        let proxy_protocol = reader.value("server.proxy_protocol", boolean);
        if proxy_protocol && trusted_proxies.is_empty() {
            reader.problem(Problem {
                key: "server.proxy_protocol".to_owned(),
                origin: reader.origin("server.proxy_protocol"),
                got: Some("true, with nobody in server.trusted_proxies".to_owned()),
                need: "the proxies that send the header; all others are cut off".to_owned(),
                remedy: Some("name them in server.trusted_proxies".to_owned()),
            });
        }
        Self {
            listen: reader.value("server.listen", listeners),
            socket_mode: reader.value("server.socket_mode", mode),
            upgrade_socket: reader.value("server.upgrade_socket", upgrade_socket),
            threads: reader
                .optional("server.threads", integer(1..=MAX_THREADS))
                .and_then(NonZeroUsize::new)
                .unwrap_or_else(available_threads),
            trusted_proxies,
            proxy_protocol,
            cors_allow_origins: reader.value("server.cors_allow_origins", list(web_origin)),
            request_header_timeout: reader.value(
                "server.request_header_timeout",
                duration(ms..=Duration::from_secs(300)),
            ),
            min_body_rate: reader
                .value("server.min_body_rate", unless_off(size(1..=MAX_BODY_RATE)))
                .and_then(|bytes| u32::try_from(bytes).ok().and_then(NonZeroU32::new)),
            idle_timeout: reader.value(
                "server.idle_timeout",
                duration(Duration::from_secs(1)..=hour),
            ),
            shutdown_grace: reader.value("server.shutdown_grace", duration(ms..=hour)),
            max_header_bytes: reader.value("server.max_header_bytes", size(1 << 10..=1 << 20)),
            max_connections: reader.value("server.max_connections", integer(1..=MAX_CONNECTIONS)),
            max_extra_streams: reader
                .value("server.max_extra_streams", integer(1..=MAX_EXTRA_STREAMS)),
            tls: TlsConfig::read(reader),
        }
    }
}

impl TlsConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let keys = ["server.tls.cert", "server.tls.key", "server.tls.client_ca"];
        let set = keys.into_iter().find(|path| reader.is_set(path))?;
        for path in ["server.tls.cert", "server.tls.key"] {
            if !reader.is_set(path) {
                reader.problem(Problem {
                    key: path.to_owned(),
                    origin: reader.origin(set),
                    got: Some(format!("only {set}")),
                    need: "both server.tls.cert and server.tls.key, or neither".to_owned(),
                    remedy: None,
                });
            }
        }
        let [cert, key, client_ca] = keys.map(|key| {
            reader.optional(key, text).map(|path| TlsFile {
                key,
                path: PathBuf::from(path),
                origin: reader.origin(key),
            })
        });
        Some(Self {
            cert: cert?,
            key: key?,
            client_ca,
        })
    }
}

impl AdminConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            listen: reader.value("admin.listen", socket_addr),
            names: reader.value("admin.names", list(word)),
        }
    }
}

fn listeners(value: &Value) -> Parsed<Vec<ListenAddress>> {
    let listen = list(listen_address)(value)?;
    if listen.is_empty() {
        return Err(Mismatch::describing(
            "an empty list",
            "at least one address and port",
        ));
    }
    Ok(listen)
}

fn upgrade_socket(value: &Value) -> Parsed<PathBuf> {
    let path = text(value)?;
    socket_path(&path).ok_or_else(|| {
        let need = NEED_PATH.replacen(
            "unix:/run/difygate/http.sock",
            "/run/difygate/upgrade.sock",
            1,
        );
        Mismatch::showing(value, need)
    })
}

/// One thread per CPU; one alone where the platform will not tell.
fn available_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
