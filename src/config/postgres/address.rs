//! What names the servers: `postgres.host`, and what is left of `postgres.url`.

use super::{HANDED_ON, names};
use crate::config::parse::{Parsed, word};
use crate::config::value::{Mismatch, Value};

/// What a URL may hold besides the parameters of `postgres.parameters`, as the client library has it.
const OF_URLS: [&str; 8] = [
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "password",
    "port",
    "tcp_user_timeout",
    "user",
];

/// Reads one host or several; as in libpq, each is tried in turn.
pub(super) fn hosts(value: &Value) -> Parsed<String> {
    let hosts = word(value)?;
    if hosts.split(',').all(|host| !host.is_empty()) {
        Ok(hosts)
    } else {
        Err(Mismatch::showing(
            value,
            "a host, or several with commas between them and none empty",
        ))
    }
}

/// Finds a parameter that the client library does not know, or that names servers which the URL names
/// already: to libpq the last word replaces the others, to the library it is one more server, to
/// which the password would be offered as well. What is wrong and what is needed, in that order.
pub(super) fn flaw(url: &str) -> Option<(String, String)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    // As the library has it: credentials end at the first `@`.
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    let (address, query) = rest.split_once('?')?;
    let authority = address.split('/').next().unwrap_or_default();
    let mut named = Vec::new();
    if !authority.is_empty() {
        named.extend(["host".to_owned(), "port".to_owned()]);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .map_or((pair, None), |(name, value)| (name, Some(value)));
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let is_known = OF_URLS.contains(&&*name) || HANDED_ON.contains(&&*name);
        if value.is_none() || !is_known {
            let known = [&OF_URLS[..], &HANDED_ON].concat().join(", ");
            return Some((
                names::shown(&name),
                format!("sslmode, sslrootcert, sslcert, sslkey, {known}, each with = and a value"),
            ));
        }
        if ["host", "hostaddr", "port"].contains(&&*name) {
            if named.iter().any(|one| *one == name) {
                return Some((
                    format!("{name} in more than one place"),
                    "it in one place, several with commas between them".to_owned(),
                ));
            }
            named.push(name.into_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_in_one_place() {
        for url in [
            "postgres://u:pw@localhost/d?host=db.internal",
            "postgres://u:pw@/d?host=a&host=b",
            "postgres://h:1/d?port=2",
            "postgres://h/d?hostaddr=10.0.0.1&hostaddr=10.0.0.2",
            "postgres://h/d?h%6fst=other",
        ] {
            let (got, _) = flaw(url).expect(url);
            assert!(got.ends_with("in more than one place"), "{url}: {got}");
        }
        for url in [
            "postgres://u:p?host=x@h/d",
            "postgres://u:pw@/d?host=/run/postgresql&port=5433",
            "postgres://h1,h2:5/d?hostaddr=10.0.0.1,10.0.0.2&connect_timeout=2",
            "postgres://h/d?",
        ] {
            assert!(flaw(url).is_none(), "{url}");
        }
    }

    #[test]
    fn a_parameter_that_the_library_does_not_know_is_named_if_libpq_knows_it() {
        let got = |query: &str| flaw(&format!("postgres://h/d?{query}")).unwrap().0;

        assert_eq!(got("service=dify"), "the parameter service");
        assert_eq!(got("hunter2=1"), "a parameter with another name");
        assert_eq!(got("hunter2"), "a parameter with another name");
    }
}
