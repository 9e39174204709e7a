//! Addresses on this machine: TCP, and Unix sockets by their path.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::parse::{Parsed, socket_addr};
use super::value::{Mismatch, Value};

/// What the path of a Unix socket begins with.
pub(crate) const UNIX: &str = "unix:";

/// Longest path of a Unix socket in bytes: what `sun_path` holds on Linux, less its final NUL.
const LONGEST_PATH: usize = 107;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An address and port; port 0 takes any free one.
    Tcp(SocketAddr),
    /// A Unix socket; whoever connects counts as 127.0.0.1.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Returns address and port, where it has one.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// As it is written in the configuration.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Parses the address of a listener.
pub(crate) fn listen_address(value: &Value) -> Parsed<ListenAddress> {
    match value.text().and_then(|text| text.strip_prefix(UNIX)) {
        Some(path) => match socket_path(path) {
            Some(path) => Ok(ListenAddress::Unix(path)),
            None => Err(Mismatch::showing(value, NEED_PATH)),
        },
        None => {
            let address = socket_addr(value).map_err(|mismatch| Mismatch {
                need: format!("{}, or {NEED_PATH}", mismatch.need),
                ..mismatch
            })?;
            Ok(ListenAddress::Tcp(address))
        }
    }
}

/// What a Unix socket has to look like.
pub(crate) const NEED_PATH: &str =
    "a Unix socket by its whole path, \"unix:/run/difygate/http.sock\", at most 107 bytes long";

/// Parses the path of a Unix socket.
pub(crate) fn socket_path(path: &str) -> Option<PathBuf> {
    let fits = path.len() <= LONGEST_PATH && !path.contains('\0') && !path.ends_with('/');
    (fits && Path::new(path).is_absolute()).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<String> {
        listen_address(&Value::Text(text.into()))
            .ok()
            .map(|address| address.to_string())
    }

    #[test]
    fn addresses_show_as_they_were_written() {
        for text in ["127.0.0.1:8080", "[::1]:0", "unix:/run/difygate/http.sock"] {
            assert_eq!(parse(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn paths_that_no_socket_can_have_are_refused() {
        let long = format!("unix:/{}", "x".repeat(LONGEST_PATH));
        for text in ["unix:", "unix:http.sock", "unix:/run/", "unix:/a\0b", &long] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
