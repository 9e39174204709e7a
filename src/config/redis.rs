//! `[redis]`: the cache shared with Dify.

use std::time::Duration;

use super::Problem;
use super::parse::{Parsed, boolean, duration, integer, text, word};
use super::postgres::{Form, url as secret_url};
use super::reader::Reader;
use super::tls::{self, OPERATORS_OWN, TlsKeys};
use super::value::{Mismatch, Value};
use crate::{secret::Secret, tls::ClientTls};

mod switches;
mod url;

use self::switches::Lists;

/// The files that TLS is spoken with.
const TLS_KEYS: TlsKeys = TlsKeys {
    ca: "redis.tls_ca",
    cert: "redis.tls_cert",
    key: "redis.tls_key",
};

/// Dify's Redis, where the checks of tokens are shared.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// Where it is and who connects.
    pub target: RedisTarget,
    /// How TLS is spoken to every server, sentinel and node; `None`: not at all. The certificate
    /// and its name are always verified.
    pub tls: Option<ClientTls>,
    /// Put before every key, as Dify does; usually empty.
    pub key_prefix: String,
    /// Longest wait for an answer, up to 10 seconds; past it the gateway does without.
    pub timeout: Duration,
    /// Sentinels, asked for the master; empty: none. Only user, password and database of `target`
    /// apply then.
    pub sentinels: Vec<NodeAddress>,
    /// Name of the master the sentinels watch; set exactly where there are sentinels.
    pub service_name: Option<String>,
    /// ACL user that the sentinels are asked as; `None`: the default user.
    pub sentinel_username: Option<String>,
    /// Password of that user; `None`: no AUTH is sent to sentinels.
    pub sentinel_password: Option<Secret>,
    /// Nodes of a cluster, asked for the others; empty: no cluster. Only user and password of
    /// `target` apply then.
    pub cluster_nodes: Vec<NodeAddress>,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The address in one of its two forms.
#[derive(Debug, Clone)]
pub enum RedisTarget {
    /// A `redis://`, `rediss://` or `unix://` URL; secret, because it may hold the password.
    Url(Secret),
    /// The address in parts, as Dify's own variables give it.
    Parts {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// ACL user; `None`: the default user.
        username: Option<String>,
        /// Password; `None`: no AUTH is sent.
        password: Option<Secret>,
        /// Database number, 0 to 255.
        db: u8,
    },
}

impl RedisConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let Lists {
            sentinels,
            cluster_nodes,
        } = Lists::read(reader);
        let target = RedisTarget::read(reader, !cluster_nodes.is_empty());
        let tls = read_tls(reader, target.as_ref());
        let key_prefix = reader.value("redis.key_prefix", text);
        let timeouts = Duration::from_millis(1)..=Duration::from_secs(10);
        let timeout = reader.value("redis.timeout", duration(timeouts));
        // Dify's own variables may name a service where no sentinels are in use.
        let service_name = reader
            .optional("redis.service_name", word)
            .filter(|_| !sentinels.is_empty());
        let sentinel_username = reader.optional("redis.sentinel_username", text);
        let sentinel_password = reader.secret("redis.sentinel_password");
        if !sentinels.is_empty() && !reader.is_set("redis.service_name") {
            reader.missing(
                "redis.service_name",
                "name the master that redis.sentinels watch, as in their `sentinel monitor` line",
            );
        }
        if !sentinels.is_empty() && !cluster_nodes.is_empty() {
            let origin = reader.origin("redis.cluster_nodes");
            reader.problem(Problem {
                key: "redis.cluster_nodes".to_owned(),
                origin,
                got: None,
                need: "no nodes beside redis.sentinels".to_owned(),
                remedy: Some(
                    "a redis is watched by sentinels or is a cluster: keep one".to_owned(),
                ),
            });
        }
        Some(Self {
            target: target?,
            tls: tls?,
            key_prefix,
            timeout,
            sentinels,
            service_name,
            sentinel_username,
            sentinel_password,
            cluster_nodes,
        })
    }
}

impl RedisTarget {
    fn read(reader: &mut Reader<'_>, in_cluster: bool) -> Option<Self> {
        let form = Form::choose(
            reader,
            "redis.url",
            "redis.host",
            &[
                "redis.port",
                "redis.username",
                "redis.password",
                "redis.db",
                "redis.tls",
            ],
            "set redis.url or redis.host, or hand over Dify's REDIS_HOST",
        )?;
        match form {
            Form::Url => {
                let schemes = ["redis", "rediss", "unix", "redis+unix"];
                let address = secret_url(reader, "redis.url", &schemes)?;
                if let Some(flaw) = url::flaw(address.expose()) {
                    reader.problem(Problem {
                        key: "redis.url".to_owned(),
                        origin: reader.origin("redis.url"),
                        got: flaw.got,
                        need: flaw.need.to_owned(),
                        remedy: Some(flaw.remedy.to_owned()),
                    });
                    return None;
                }
                Some(Self::Url(address))
            }
            Form::Parts => {
                let host = reader.optional("redis.host", word);
                let port = reader.value("redis.port", integer(1..=u16::MAX));
                let (username, password) = credentials(reader, in_cluster);
                let db = reader.value("redis.db", integer(0..=u8::MAX));
                Some(Self::Parts {
                    host: host?,
                    port,
                    username,
                    password,
                    db,
                })
            }
        }
    }
}

/// Reads user and password. To a cluster Dify sends `REDIS_CLUSTERS_PASSWORD`, no user, and never
/// `REDIS_PASSWORD`, which a cluster without a password would refuse.
fn credentials(reader: &mut Reader<'_>, in_cluster: bool) -> (Option<String>, Option<Secret>) {
    let is_own = |reader: &Reader<'_>, path| reader.layer(path) >= OPERATORS_OWN;
    let of_cluster = reader.env().var("REDIS_CLUSTERS_PASSWORD");
    let of_cluster = of_cluster.filter(|password| !password.trim().is_empty());
    // Who lists the nodes in the file may have handed over the one or the other.
    let as_dify = of_cluster.is_some() || !is_own(reader, "redis.cluster_nodes");
    if !in_cluster || !as_dify || is_own(reader, "redis.password") {
        let username = reader.optional("redis.username", text);
        return (username, reader.secret("redis.password"));
    }
    let username = is_own(reader, "redis.username")
        .then(|| reader.optional("redis.username", text))
        .flatten();
    (username, of_cluster.map(|it| Secret::new(it.to_owned())))
}

/// Reads whether TLS is spoken and with what; `None` when that cannot be told.
fn read_tls(reader: &mut Reader<'_>, target: Option<&RedisTarget>) -> Option<Option<ClientTls>> {
    let on = match target? {
        RedisTarget::Url(url) => url.expose().starts_with("rediss://"),
        RedisTarget::Parts { .. } => reader.value("redis.tls", boolean),
    };
    if on {
        return tls::read(reader, &TLS_KEYS).map(Some);
    }
    let need = "redis.tls = true, or a redis.url that begins with rediss://";
    tls::refuse_idle(reader, &TLS_KEYS, need).then_some(None)
}

/// `host:port`, an IPv6 address in brackets.
fn node(value: &Value) -> Parsed<NodeAddress> {
    let address = word(value).ok().and_then(|text| {
        let (host, port) = text.rsplit_once(':')?;
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = inner.unwrap_or(host);
        let plain = !host.is_empty() && !host.contains(['/', '@', '[', ']']);
        // Without brackets nobody can tell the last part of an address from a port.
        let told = inner.is_some() || !host.contains(':');
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (plain && told).then(|| NodeAddress {
            host: host.to_owned(),
            port,
        })
    });
    let need = "a node as \"host:port\"";
    address.ok_or_else(|| match value.text() {
        // What stands before it may be a password.
        Some(text) if text.contains('@') => Mismatch::describing("a node with a user", need),
        _ => Mismatch::showing(value, need),
    })
}
