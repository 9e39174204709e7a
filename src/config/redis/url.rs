//! What may stand in `redis.url`.
//!
//! The client library reads less of a URL than Dify's driver, and passes over the rest in silence:
//! a database or a password that is not used. What it would pass over is refused.

use url::Url;

/// What makes a URL unusable. Nothing of it may be shown: it may hold the password.
pub(super) struct Flaw {
    /// What was found, in words of our own.
    pub(super) got: Option<String>,
    /// What is allowed.
    pub(super) need: &'static str,
    /// What to do about it.
    pub(super) remedy: &'static str,
}

/// Parameters of Dify's driver, by whose names a message may call them; any other name may be a part
/// of a password that should have been encoded.
const KNOWN_ELSEWHERE: [&str; 14] = [
    "client_name",
    "db",
    "health_check_interval",
    "max_connections",
    "pass",
    "password",
    "socket_connect_timeout",
    "socket_timeout",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "username",
];

/// Finds what of a URL would be refused later, or have no effect.
pub(super) fn flaw(text: &str) -> Option<Flaw> {
    let flaw = |got: Option<&str>, need, remedy| {
        Some(Flaw {
            got: got.map(ToOwned::to_owned),
            need,
            remedy,
        })
    };
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            return Some(Flaw {
                got: Some(error.to_string()),
                need: "redis://user:password@host:port/db",
                remedy: "write /, ?, #, @ and : in user and password as %2F, %3F, %23, %40 and %3A",
            });
        }
    };
    if url.fragment().is_some() {
        // Clients take `#insecure` for "believe every certificate".
        return flaw(
            None,
            "a URL without a fragment: certificates are always verified",
            "name the authority in redis.tls_ca; # in a password is %23",
        );
    }
    let is_socket = url.scheme().ends_with("unix");
    if !is_socket && url.host_str().is_none_or(str::is_empty) {
        return flaw(None, "a URL with a host", "unix:///path is a socket");
    }
    let mut seen = Vec::new();
    for (name, value) in url.query_pairs() {
        let remedy = match (is_socket, &*name) {
            (true, "db" | "user" | "pass") | (_, "protocol") => None,
            (true, "password") => Some("the password is pass"),
            (true, "username") => Some("the user is user"),
            (true, _) => Some("only db, user, pass and protocol mean something there"),
            (false, "db") => Some("the database is the path: redis://host/1"),
            (false, "user" | "username" | "pass" | "password") => {
                Some("user and password stand before the host: redis://user:password@host")
            }
            (false, name) if name.starts_with("ssl_") => {
                Some("TLS is rediss://, redis.tls_ca, redis.tls_cert and redis.tls_key")
            }
            (false, _) => Some("a ? in a password is %3F; redis.timeout bounds every wait"),
        };
        if let Some(remedy) = remedy {
            return Some(Flaw {
                got: Some(shown(&name)),
                need: "a URL without it: it would have no effect",
                remedy,
            });
        }
        let in_order = match &*name {
            "db" => is_database(&value),
            "protocol" => matches!(&*value, "2" | "3" | "resp2" | "resp3"),
            _ => true,
        };
        if !in_order || seen.contains(&name) {
            return Some(Flaw {
                got: Some(format!("another {name}, or two")),
                need: "one db from 0 to 255, one protocol, 2 or 3",
                remedy: "remove or mend it",
            });
        }
        seen.push(name);
    }
    let database = url.path().trim_matches('/');
    if !is_socket && !database.is_empty() && !is_database(database) {
        return flaw(
            Some("another path"),
            "a database number from 0 to 255 as the path, or none",
            "redis://host/1",
        );
    }
    None
}

/// Tells whether this is a number that `redis.db` could be as well; no sign, and nothing else.
fn is_database(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u8>().is_ok()
}

fn shown(name: &str) -> String {
    match KNOWN_ELSEWHERE.iter().find(|known| **known == name) {
        Some(known) => format!("the parameter {known}"),
        None => "a parameter with another name".to_owned(),
    }
}
