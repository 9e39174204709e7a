//! `[postgres]`: Dify's database, and the rule for an address given twice.

use std::time::Duration;

mod address;
mod names;
mod parameters;
mod wishes;

use super::Problem;
use super::parse::{duration, filled, integer, text};
use super::reader::Reader;
use super::value::Mismatch;
use crate::{secret::Secret, tls::ClientTls};

/// What `postgres.parameters` may hold besides the parameters about TLS.
const HANDED_ON: [&str; 10] = [
    "application_name",
    "channel_binding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "sslnegotiation",
    "target_session_attrs",
];

/// Dify's database, where the tokens live.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// Where it is and who connects.
    pub target: PostgresTarget,
    /// Whether and how TLS is spoken.
    pub tls: PostgresTls,
    /// Connections at most, 1 to 1000.
    pub pool_size: usize,
    /// Longest wait for a connection or an answer, up to 1 minute.
    pub timeout: Duration,
}

/// How TLS is spoken to the database.
#[derive(Debug, Clone, Default)]
pub struct PostgresTls {
    /// How much is asked for.
    pub mode: SslMode,
    /// Whom to believe where something is verified, and what to show.
    pub client: ClientTls,
}

/// libpq's `sslmode` (PostgreSQL manual, section 34.19.1), without `allow`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Plain text.
    #[default]
    Disable,
    /// TLS where the server offers it; whoever is in between can prevent it.
    Prefer,
    /// TLS, with whoever answers.
    Require,
    /// TLS with a server that one of the authorities vouches for, whatever its name.
    VerifyCa,
    /// TLS with the server of that name, and no other.
    VerifyFull,
}

/// The database's address in one of its two forms.
#[derive(Debug, Clone)]
pub enum PostgresTarget {
    /// A `postgres://` URL; secret, because it may hold the password. What it says about TLS has
    /// been taken out.
    Url(Secret),
    /// The address in parts, as Dify's own variables give it.
    Parts {
        /// Host names, addresses, or directories of Unix sockets, with commas between them.
        host: String,
        /// TCP port, of all of them.
        port: u16,
        /// Role to connect as.
        user: String,
        /// The role's password; empty: none is sent.
        password: Secret,
        /// Name of the database.
        database: String,
        /// More connection parameters as libpq names them, none about TLS.
        parameters: Vec<(String, String)>,
    },
}

impl PostgresConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let target = PostgresTarget::read(reader);
        let pool_size = reader.value("postgres.pool_size", integer(1..=1_000));
        let timeouts = Duration::from_millis(1)..=Duration::from_secs(60);
        let timeout = reader.value("postgres.timeout", duration(timeouts));
        let target = target?;
        Some(Self {
            target: target.0,
            tls: target.1,
            pool_size,
            timeout,
        })
    }
}

impl PostgresTarget {
    fn read(reader: &mut Reader<'_>) -> Option<(Self, PostgresTls)> {
        let form = Form::choose(
            reader,
            "postgres.url",
            "postgres.host",
            &[
                "postgres.port",
                "postgres.user",
                "postgres.password",
                "postgres.database",
                "postgres.parameters",
            ],
            "set postgres.url or postgres.host, or hand over Dify's DB_HOST",
        )?;
        match form {
            Form::Url => {
                let url = url(reader, "postgres.url", &["postgres", "postgresql"])?;
                let (rest, pairs) = parameters::take_from(url.expose());
                if let Some((got, need)) = address::flaw(&rest) {
                    reader.problem(Problem {
                        key: "postgres.url".to_owned(),
                        origin: reader.origin("postgres.url"),
                        got: Some(got),
                        need,
                        remedy: None,
                    });
                    return None;
                }
                let tls = read_tls(reader, "postgres.url", &pairs)?;
                Some((Self::Url(Secret::new(rest)), tls))
            }
            Form::Parts => {
                let host = reader.optional("postgres.host", address::hosts);
                let port = reader.value("postgres.port", integer(1..=u16::MAX));
                let user = reader.value("postgres.user", filled);
                let password = reader.secret("postgres.password");
                let database = reader.value("postgres.database", filled);
                let (tls, parameters) = read_parameters(reader)?;
                let parts = Self::Parts {
                    host: host?,
                    port,
                    user,
                    password: password.unwrap_or_else(|| Secret::new(String::new())),
                    database,
                    parameters,
                };
                Some((parts, tls))
            }
        }
    }
}

fn read_tls(reader: &mut Reader<'_>, path: &str, pairs: &parameters::Pairs) -> Option<PostgresTls> {
    match parameters::tls(pairs) {
        Ok(tls) => wishes::heed_variables(reader, path, pairs, tls.mode).then_some(tls),
        Err((got, need)) => {
            reader.problem(Problem {
                key: path.to_owned(),
                origin: reader.origin(path),
                got: Some(got),
                need: need.to_owned(),
                remedy: None,
            });
            None
        }
    }
}

/// Reads `postgres.parameters`: what is about TLS, and the rest.
fn read_parameters(reader: &mut Reader<'_>) -> Option<(PostgresTls, parameters::Pairs)> {
    let path = "postgres.parameters";
    let given = reader.optional(path, text).unwrap_or_default();
    let pairs: parameters::Pairs = url::form_urlencoded::parse(given.as_bytes())
        .into_owned()
        .collect();
    let tls = read_tls(reader, path, &pairs)?;
    let mut handed_on = parameters::Pairs::new();
    for (name, value) in pairs {
        if HANDED_ON.contains(&name.as_str()) {
            handed_on.push((name, value));
        } else if parameters::is_of_tls(&name) || wishes::wish(&name, &value).is_some() {
            continue;
        } else if reader.layer(path) == 1 {
            // Meant for Dify's driver, which knows others. None of them is about security.
            reader.warn(path, &format!("{} has no effect here", names::shown(&name)));
        } else {
            reader.problem(Problem {
                key: path.to_owned(),
                origin: reader.origin(path),
                got: Some(names::shown(&name)),
                need: format!(
                    "sslmode, sslrootcert, sslcert, sslkey, {}",
                    HANDED_ON.join(", ")
                ),
                remedy: None,
            });
            return None;
        }
    }
    Some((tls, handed_on))
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
