//! `[postgres]`: Dify's database, and the rule for an address given twice.

use std::time::Duration;

use super::Problem;
use super::parse::{duration, filled, integer, word};
use super::reader::Reader;
use super::value::Mismatch;
use crate::secret::Secret;

/// Dify's database, where the tokens live.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// Where it is and who connects.
    pub target: PostgresTarget,
    /// Connections at most, 1 to 1000.
    pub pool_size: usize,
    /// Longest wait for a connection or an answer, up to 1 minute.
    pub timeout: Duration,
}

/// The database's address in one of its two forms.
#[derive(Debug, Clone)]
pub enum PostgresTarget {
    /// A `postgres://` URL; secret, because it may hold the password.
    Url(Secret),
    /// The address in parts, as Dify's own variables give it.
    Parts {
        /// Host name, address, or the directory of a Unix socket.
        host: String,
        /// TCP port.
        port: u16,
        /// Role to connect as.
        user: String,
        /// The role's password; empty: none is sent.
        password: Secret,
        /// Name of the database.
        database: String,
    },
}

impl PostgresConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let target = PostgresTarget::read(reader);
        let pool_size = reader.value("postgres.pool_size", integer(1..=1_000));
        let timeouts = Duration::from_millis(1)..=Duration::from_secs(60);
        let timeout = reader.value("postgres.timeout", duration(timeouts));
        Some(Self {
            target: target?,
            pool_size,
            timeout,
        })
    }
}

impl PostgresTarget {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let form = Form::choose(
            reader,
            "postgres.url",
            "postgres.host",
            &[
                "postgres.port",
                "postgres.user",
                "postgres.password",
                "postgres.database",
            ],
            "set postgres.url or postgres.host, or hand over Dify's DB_HOST",
        )?;
        match form {
            Form::Url => url(reader, "postgres.url", &["postgres", "postgresql"]).map(Self::Url),
            Form::Parts => {
                let host = reader.optional("postgres.host", word);
                let port = reader.value("postgres.port", integer(1..=u16::MAX));
                let user = reader.value("postgres.user", filled);
                let password = reader.secret("postgres.password");
                let database = reader.value("postgres.database", filled);
                Some(Self::Parts {
                    host: host?,
                    port,
                    user,
                    password: password.unwrap_or_else(|| Secret::new(String::new())),
                    database,
                })
            }
        }
    }
}

/// Which form of an address holds.
pub(crate) enum Form {
    /// The URL alone.
    Url,
    /// Host and its companions.
    Parts,
}

impl Form {
    /// Chooses between a URL and parts; a higher layer wins, within one they contradict.
    ///
    /// A part above a URL without a host of its own would have no effect, and a silent one
    /// of these is a password that is not used: refused as well.
    pub(crate) fn choose(
        reader: &mut Reader<'_>,
        url: &str,
        host: &str,
        companions: &[&str],
        remedy: &str,
    ) -> Option<Self> {
        let url_layer = reader.layer(url);
        let host_layer = reader.layer(host);
        if url_layer == 0 && host_layer == 0 {
            reader.missing(host, remedy);
            return None;
        }
        let moved = host_layer > url_layer;
        let in_the_way = |path: &&str| {
            let layer = reader.layer(path);
            url_layer > 0 && (layer == url_layer || (layer > url_layer && !moved))
        };
        let mut parts = [host].into_iter().chain(companions.iter().copied());
        if let Some(part) = parts.find(in_the_way) {
            let origin = reader.origin(url).unwrap_or_default();
            reader.problem(Problem {
                key: part.to_owned(),
                origin: reader.origin(part),
                got: Some(format!("it beside {url} ({origin})")),
                need: format!("either {url} or its parts"),
                remedy: Some("remove one of the two".to_owned()),
            });
            return None;
        }
        Some(if moved { Self::Parts } else { Self::Url })
    }
}

/// Reads a secret URL of one of the schemes.
pub(crate) fn url(reader: &mut Reader<'_>, path: &str, schemes: &[&str]) -> Option<Secret> {
    let secret = reader.secret(path)?;
    let parts = secret.expose().split_once("://");
    if parts.is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty()) {
        return Some(secret);
    }
    let mismatch = Mismatch {
        got: None,
        need: format!("a URL beginning with {}://", schemes.join(":// or ")),
        line: None,
    };
    reader.mismatch(path, mismatch);
    None
}
