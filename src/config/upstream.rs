//! `[upstream]`: where requests go.

use std::{fmt, path::PathBuf, time::Duration};

use url::Host;

use super::listen::{NEED_PATH, UNIX, socket_path};
use super::parse::{Parsed, duration, http_url, integer};
use super::reader::Reader;
use super::tls;
use super::value::{Mismatch, Value};
use crate::tls::ClientTls;

/// The Dify services behind the gateway.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// The Dify API.
    pub url: Endpoint,
    /// The Dify web application; `None`: what would go there goes to `url`.
    pub web_url: Option<Endpoint>,
    /// How TLS is spoken where a URL is `https`; certificate and name are always verified.
    pub tls: ClientTls,
    /// Longest wait for a connection, TLS included, up to 1 minute.
    pub connect_timeout: Duration,
    /// Longest silence between two reads, up to 1 day; blocking workflows say nothing for minutes.
    /// Streams end by it as well, those over a connection that was upgraded (a WebSocket) among them.
    pub read_timeout: Duration,
    /// Idle connections kept for reuse, 1 to 100 000.
    pub keepalive: usize,
    /// How long an idle connection is kept, up to 1 hour. Below the upstream's own limit
    /// (gunicorn: 2 s), so that a POST never meets a closing connection.
    pub idle_timeout: Duration,
}

/// A server's address: what is left of a URL without path, user, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A server of the network.
    Tcp {
        /// Whether the URL was `https`.
        tls: bool,
        /// Host name or address; an IPv6 address without brackets.
        host: String,
        /// TCP port, the scheme's own where the URL names none.
        port: u16,
    },
    /// A Unix socket on this machine, in plain text.
    Unix(PathBuf),
}

impl Endpoint {
    /// Tells whether TLS is spoken.
    pub const fn tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }
}

/// The URL again, without a trailing slash and the scheme's own port.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { tls, host, port } => {
                let (scheme, default) = if *tls { ("https", 443) } else { ("http", 80) };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]")?;
                } else {
                    write!(f, "{scheme}://{host}")?;
                }
                if *port == default {
                    return Ok(());
                }
                write!(f, ":{port}")
            }
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl UpstreamConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (ms, minute) = (Duration::from_millis(1), Duration::from_secs(60));
        let url = reader.required(
            "upstream.url",
            "set upstream.url to the Dify API, e.g. \"http://127.0.0.1:5001\"",
            endpoint,
        );
        let web_url = reader.optional("upstream.web_url", endpoint);
        let tls = tls::read_authorities(reader, "upstream.ca");
        let connect_timeout = reader.value("upstream.connect_timeout", duration(ms..=minute));
        let read_timeout = reader.value("upstream.read_timeout", duration(ms..=minute * 1_440));
        let keepalive = reader.value("upstream.keepalive", integer(1..=100_000));
        let idle_timeout = reader.value("upstream.idle_timeout", duration(ms..=minute * 60));
        Some(Self {
            url: url?,
            web_url,
            tls: tls?,
            connect_timeout,
            read_timeout,
            keepalive,
            idle_timeout,
        })
    }
}

/// Parses a URL that names a server and nothing on it, or `unix:` and a path.
pub(crate) fn endpoint(value: &Value) -> Parsed<Endpoint> {
    if let Some(path) = value.text().and_then(|text| text.strip_prefix(UNIX)) {
        let path = socket_path(path).ok_or_else(|| Mismatch::showing(value, NEED_PATH))?;
        return Ok(Endpoint::Unix(path));
    }
    let need = "an http:// or https:// URL of a server, without user, path or query";
    let url = http_url(value).map_err(|mismatch| Mismatch {
        need: need.to_owned(),
        ..mismatch
    })?;
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => return Err(Mismatch::showing(value, need)),
    };
    match url.port_or_known_default() {
        Some(port) if port > 0 && matches!(url.path(), "" | "/") => Ok(Endpoint::Tcp {
            tls: url.scheme() == "https",
            host,
            port,
        }),
        _ => Err(Mismatch::showing(value, need)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, String> {
        endpoint(&Value::Text(url.into())).map_err(|m| m.got.unwrap_or_default())
    }

    #[test]
    fn urls_lose_brackets_and_gain_ports() {
        for (url, host, port, shown) in [
            (
                "http://127.0.0.1:5001",
                "127.0.0.1",
                5001,
                "http://127.0.0.1:5001",
            ),
            ("http://api_1/", "api_1", 80, "http://api_1"),
            (
                "https://Dify.example",
                "dify.example",
                443,
                "https://dify.example",
            ),
            ("https://[::1]:8443", "::1", 8443, "https://[::1]:8443"),
        ] {
            let endpoint = parse(url).unwrap();

            assert_eq!(endpoint.to_string(), shown);
            let tls = url.starts_with("https");
            let host = host.to_owned();
            assert_eq!(endpoint, Endpoint::Tcp { tls, host, port });
        }
    }

    #[test]
    fn a_unix_socket_is_named_by_its_path() {
        let endpoint = parse("unix:/run/dify/api.sock").unwrap();

        assert_eq!(endpoint, Endpoint::Unix("/run/dify/api.sock".into()));
        assert!(!endpoint.tls());
        assert_eq!(endpoint.to_string(), "unix:/run/dify/api.sock");
    }

    #[test]
    fn urls_that_name_more_than_a_server_are_refused() {
        for url in [
            "127.0.0.1:5001",
            "ftp://host",
            "http://host/console",
            "http://host?x=1",
            "http://host#x",
            "http://",
            "http://host:0",
            "unix:api.sock",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        let got = parse("http://user:hunter2@host").unwrap_err();

        assert!(!got.contains("hunter2"), "{got}");
    }
}
