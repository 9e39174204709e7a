//! Where Postgres is, and as whom to go there.

use std::{error::Error as _, io, net::IpAddr, str::FromStr as _, time::Duration};

use tokio::net::lookup_host;
use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts},
};

use super::InvalidTarget;
use crate::config::{PostgresConfig, PostgresTarget, SslMode};

/// How long a connection may be silent before the kernel asks the other side; the default of two
/// hours would keep half-dead connections in the pool.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Postgres's own, as in the library.
const DEFAULT_PORT: u16 = 5432;

/// The servers, and what is said to each of them.
pub(super) struct Target {
    servers: Vec<Server>,
    /// All but where the server is.
    manners: Config,
}

/// One server of those that the configuration names.
#[derive(Debug)]
struct Server {
    /// A name, which is what certificates are held against, an address, or a socket's directory.
    host: Option<Host>,
    /// Where the name is not to be looked up.
    address: Option<IpAddr>,
    port: u16,
}

impl Target {
    /// Reads where to go.
    ///
    /// # Errors
    ///
    /// When it cannot be understood, names no server, or ports or addresses of another number of
    /// servers.
    pub(super) fn new(config: &PostgresConfig) -> Result<Self, InvalidTarget> {
        let mut target = parse(&config.target)?;
        target.keepalives_idle(TCP_KEEPALIVE);
        target.ssl_mode(match config.tls.mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                tokio_postgres::config::SslMode::Require
            }
        });
        if target.get_application_name().is_none() {
            target.application_name("difygate");
        }
        Ok(Self {
            servers: servers(&target)?,
            manners: manners(&target),
        })
    }

    /// How many servers there are, one at least.
    pub(super) const fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Whether the servers, and the addresses of each, are tried in any order.
    pub(super) fn in_any_order(&self) -> bool {
        self.manners.get_load_balance_hosts() == LoadBalanceHosts::Random
    }

    /// How long one of several servers may keep the others waiting at most, where somebody has said
    /// so (`connect_timeout`).
    pub(super) fn patience(&self) -> Option<Duration> {
        self.manners.get_connect_timeout().copied()
    }

    /// Returns the addresses of a server; none for a socket of this machine.
    ///
    /// # Errors
    ///
    /// When its name leads nowhere.
    pub(super) async fn addresses(&self, server: usize) -> io::Result<Vec<Option<IpAddr>>> {
        let Server {
            host,
            address,
            port,
        } = &self.servers[server];
        match (address, host) {
            (Some(address), _) => Ok(vec![Some(*address)]),
            (None, Some(Host::Tcp(name))) => {
                let found = lookup_host((name.as_str(), *port)).await?;
                let found: Vec<_> = found.map(|address| Some(address.ip())).collect();
                if found.is_empty() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                Ok(found)
            }
            (None, _) => Ok(vec![None]),
        }
    }

    /// Returns what the library needs to go to one address of a server.
    pub(super) fn at(&self, server: usize, address: Option<IpAddr>) -> Config {
        let mut config = self.manners.clone();
        let server = &self.servers[server];
        config.port(server.port);
        match &server.host {
            Some(Host::Tcp(name)) => config.host(name),
            Some(Host::Unix(directory)) => config.host_path(directory),
            None => &mut config,
        };
        if let Some(address) = address {
            config.hostaddr(address);
        }
        config
    }
}

/// Returns the role that a configuration connects as, where it names one.
///
/// # Errors
///
/// When the target cannot be understood.
pub fn role(config: &PostgresConfig) -> Result<Option<String>, InvalidTarget> {
    let target = parse(&config.target)?;
    Ok(target.get_user().map(ToOwned::to_owned))
}

fn parse(target: &PostgresTarget) -> Result<Config, InvalidTarget> {
    match target {
        PostgresTarget::Url(url) => Config::from_str(url.expose()).map_err(|error| invalid(&error)),
        PostgresTarget::Parts {
            host,
            port,
            user,
            password,
            database,
            parameters,
        } => {
            let mut config =
                Config::from_str(&key_values(parameters)).map_err(|error| invalid(&error))?;
            // As in libpq: several of them, with one port.
            for host in host.split(',') {
                config.host(host);
            }
            config
                .port(*port)
                .user(user)
                .password(password.expose())
                .dbname(database);
            Ok(config)
        }
    }
}

/// Says what cannot be understood. The library does so in the cause alone, by the name of an option
/// it knows; one that it does not know may be a part of a password.
fn invalid(error: &tokio_postgres::Error) -> InvalidTarget {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let reason =
        if cause.starts_with("invalid value for option") || cause.starts_with("invalid utf-8") {
            cause
        } else {
            error.to_string()
        };
    InvalidTarget(reason)
}

/// Writes parameters as `key='value' …`, which the library reads.
fn key_values(parameters: &[(String, String)]) -> String {
    let quoted = |value: &str| value.replace('\\', r"\\").replace('\'', r"\'");
    let pairs = parameters
        .iter()
        .map(|(name, value)| format!("{name}='{}'", quoted(value)));
    pairs.collect::<Vec<_>>().join(" ")
}

/// Takes the servers apart, by the library's own rules.
fn servers(target: &Config) -> Result<Vec<Server>, InvalidTarget> {
    let invalid = |reason: &str| Err(InvalidTarget(reason.to_owned()));
    let (hosts, addresses) = (target.get_hosts(), target.get_hostaddrs());
    let ports = target.get_ports();
    let number = hosts.len().max(addresses.len());
    if number == 0 {
        return invalid("no host is named");
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return invalid("there must be as many addresses as hosts");
    }
    if ports.len() > 1 && ports.len() != number {
        return invalid("there must be one port, or as many as hosts");
    }
    let server = |at: usize| Server {
        host: hosts.get(at).cloned(),
        address: addresses.get(at).copied(),
        port: *ports
            .get(at)
            .or_else(|| ports.first())
            .unwrap_or(&DEFAULT_PORT),
    };
    Ok((0..number).map(server).collect())
}

/// Copies everything but hosts, addresses and ports: the library can add to those, and not take
/// away.
fn manners(of: &Config) -> Config {
    let mut config = Config::new();
    config
        .ssl_mode(of.get_ssl_mode())
        .ssl_negotiation(of.get_ssl_negotiation())
        .channel_binding(of.get_channel_binding())
        .target_session_attrs(of.get_target_session_attrs())
        .load_balance_hosts(of.get_load_balance_hosts())
        .keepalives(of.get_keepalives())
        .keepalives_idle(of.get_keepalives_idle());
    if let Some(user) = of.get_user() {
        config.user(user);
    }
    if let Some(password) = of.get_password() {
        config.password(password);
    }
    if let Some(database) = of.get_dbname() {
        config.dbname(database);
    }
    if let Some(options) = of.get_options() {
        config.options(options);
    }
    if let Some(name) = of.get_application_name() {
        config.application_name(name);
    }
    if let Some(timeout) = of.get_connect_timeout() {
        config.connect_timeout(*timeout);
    }
    if let Some(timeout) = of.get_tcp_user_timeout() {
        config.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = of.get_keepalives_interval() {
        config.keepalives_interval(interval);
    }
    if let Some(retries) = of.get_keepalives_retries() {
        config.keepalives_retries(retries);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn several_hosts_in_parts_are_several_servers_with_one_port() {
        let target = PostgresTarget::Parts {
            host: "db1,/run/postgresql".to_owned(),
            port: 5433,
            user: "dify".to_owned(),
            password: Secret::new(String::new()),
            database: "dify".to_owned(),
            parameters: Vec::new(),
        };
        let config = parse(&target).unwrap();
        let servers = servers(&config).unwrap();

        assert_eq!(servers[0].host, Some(Host::Tcp("db1".to_owned())));
        assert_eq!(servers[1].host, Some(Host::Unix("/run/postgresql".into())));
        assert!(servers.iter().all(|server| server.port == 5433));
        assert_eq!(servers.len(), 2);
    }
}
