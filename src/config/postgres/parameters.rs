//! Connection parameters as libpq names them, in a URL or beside the parts of an address.
//!
//! Those about TLS are understood here, in one place, because the client library knows less of
//! them than libpq does; the others are handed on.

use std::path::Path;

use super::wishes::{Wish, wish};
use super::{PostgresTls, SslMode, names};
use crate::tls::{Authorities, ClientTls, Identity, Unusable};

/// What TLS is about; no others are understood here.
pub(super) const OF_TLS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];

/// What is handed on, and has to go with TLS.
const BOTH: [&str; 2] = ["channel_binding", "sslnegotiation"];

/// Values of `sslmode` that others know, or that are nearly right: a message may repeat them. Any other
/// may have a password in it that was to be a parameter of its own.
const KNOWN_ELSEWHERE: [&str; 12] = [
    "1",
    "allow",
    "enable",
    "no-verify",
    "on",
    "preferred",
    "required",
    "true",
    "verify",
    "verify_ca",
    "verify_full",
    "verify_identity",
];

/// Names and values, in order.
pub(super) type Pairs = Vec<(String, String)>;

/// Parts a URL from its parameters about TLS; the others stay in it.
pub(super) fn take_from(url: &str) -> (String, Pairs) {
    // As the client library has it: credentials end at the first `@`, whatever is in them.
    let host = url.find('@').unwrap_or(0);
    let Some(query) = url[host..].find('?').map(|at| host + at) else {
        return (url.to_owned(), Pairs::new());
    };
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let (mut kept, mut taken) = (Vec::new(), Pairs::new());
    for pair in url[query + 1..].split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name), decoded(value));
        let is_wish = wish(&name, &value).is_some();
        let for_both = BOTH.contains(&name.as_str());
        if !(is_wish || is_of_tls(&name)) || for_both {
            kept.push(pair);
        }
        if is_wish || is_of_tls(&name) || for_both {
            taken.push((name, value));
        }
    }
    let mut rest = url[..query].to_owned();
    if !kept.is_empty() {
        rest = format!("{rest}?{}", kept.join("&"));
    }
    (rest, taken)
}

/// Tells whether a parameter is one of those that TLS is about.
pub(super) fn is_of_tls(name: &str) -> bool {
    OF_TLS.contains(&name)
}

/// Understands the parameters about TLS among `pairs`.
///
/// # Errors
///
/// What is wrong and what is needed, in that order. Nothing that would be weaker than what the
/// parameters seem to ask for is accepted.
pub(super) fn tls(pairs: &Pairs) -> Result<PostgresTls, (String, &'static str)> {
    let shows_none = !pairs
        .iter()
        .any(|(name, value)| name == "sslcert" && !value.is_empty());
    let unmet = |(name, value): &&(String, String)| {
        // Who has no certificate shows none.
        let asks_nothing = name == "sslcertmode" && value == "disable" && shows_none;
        wish(name, value) == Some(Wish::Unmet) && !asks_nothing
    };
    if let Some((name, _)) = pairs.iter().find(unmet) {
        return Err((
            names::shown(name),
            "sslmode, sslrootcert, sslcert, sslkey or sslnegotiation: the gateway cannot do what \
             others ask for",
        ));
    }
    let find = |wanted: &str| {
        let mut values = pairs.iter().rev().filter(|(name, _)| name == wanted);
        values.next().map(|(_, value)| value.as_str())
    };
    let mode = match find("sslmode") {
        None | Some("disable") => SslMode::Disable,
        Some("prefer") => SslMode::Prefer,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(other) => {
            let known = KNOWN_ELSEWHERE.iter().find(|known| **known == other);
            return Err((
                known.map_or_else(
                    || "another sslmode".to_owned(),
                    |it| format!("sslmode={it}"),
                ),
                "sslmode disable, prefer, require, verify-ca or verify-full",
            ));
        }
    };
    let root = find("sslrootcert");
    // As in libpq: an authority that is named is asked.
    let mode = match (mode, root) {
        (SslMode::Disable | SslMode::Prefer, Some(_)) => {
            return Err((
                "sslrootcert where nothing is verified".to_owned(),
                "sslmode verify-full (or require, or verify-ca) beside sslrootcert",
            ));
        }
        (SslMode::Require | SslMode::VerifyCa, Some("system")) | (SslMode::VerifyCa, None) => {
            return Err((
                "any authority of the system for any name".to_owned(),
                "sslmode verify-full, or the authority's certificate in sslrootcert",
            ));
        }
        (SslMode::Require, Some(_)) => SslMode::VerifyCa,
        (mode, _) => mode,
    };
    if mode == SslMode::Disable {
        if find("sslcert").or_else(|| find("sslkey")).is_some() {
            return Err((
                "sslcert without TLS".to_owned(),
                "an sslmode other than disable",
            ));
        }
        if find("channel_binding") == Some("require") {
            return Err((
                "channel_binding=require without TLS".to_owned(),
                "an sslmode other than disable",
            ));
        }
    }
    let direct = find("sslnegotiation") == Some("direct");
    if direct && matches!(mode, SslMode::Disable | SslMode::Prefer) {
        return Err((
            "sslnegotiation=direct where TLS is not required".to_owned(),
            "sslmode require, verify-ca or verify-full beside it",
        ));
    }
    let need_file = "a PEM file that can be read and used";
    let authorities = match root {
        None | Some("system") => None,
        Some(path) => Some(
            Authorities::read(Path::new(path))
                .map_err(|error| (unusable("sslrootcert", &[path], &error), need_file))?,
        ),
    };
    let identity = match (find("sslcert"), find("sslkey")) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(
            Identity::read(Path::new(cert), Path::new(key))
                .map_err(|error| (unusable("sslcert", &[cert, key], &error), need_file))?,
        ),
        _ => return Err(("one of sslcert and sslkey".to_owned(), "both, or neither")),
    };
    Ok(PostgresTls {
        mode,
        client: ClientTls {
            authorities,
            identity,
        },
    })
}

/// Says what is wrong with a file, whose name is told if it is no more than that: a password may
/// have been written into it in place of a parameter of its own.
fn unusable(name: &str, paths: &[&str], error: &Unusable) -> String {
    let is_plain = |path: &&str| !path.contains(['=', ';', '@', ',', '&', '?', ' ']);
    if paths.iter().all(is_plain) {
        format!("{name}: {error}")
    } else {
        format!("{name}: a file of another name, which cannot be used")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> Result<SslMode, String> {
        let (_, pairs) = take_from(url);
        tls(&pairs).map(|tls| tls.mode).map_err(|(got, _)| got)
    }

    #[test]
    fn only_what_tls_is_about_leaves_the_url() {
        let url =
            "postgres://a:p?w@h1,h2:5/d?sslmode=verify%2Dfull&target_session_attrs=read-write";
        let (rest, pairs) = take_from(url);

        assert_eq!(
            rest,
            "postgres://a:p?w@h1,h2:5/d?target_session_attrs=read-write"
        );
        assert_eq!(pairs, [("sslmode".to_owned(), "verify-full".to_owned())]);
        assert_eq!(
            take_from("postgres://h/d?sslmode=require").0,
            "postgres://h/d"
        );
        assert_eq!(take_from("postgres://h/d").0, "postgres://h/d");
    }

    #[test]
    fn modes_are_libpqs() {
        assert_eq!(mode("postgres://h/d"), Ok(SslMode::Disable));
        assert_eq!(mode("postgres://h/d?sslmode=prefer"), Ok(SslMode::Prefer));
        assert_eq!(mode("postgres://h/d?sslmode=require"), Ok(SslMode::Require));
        assert_eq!(
            mode("postgres://h/d?sslmode=verify-full&sslrootcert=system"),
            Ok(SslMode::VerifyFull)
        );
    }

    #[test]
    fn nothing_weaker_than_asked_for_is_accepted() {
        for query in [
            "sslmode=allow",
            "sslmode=verify",
            "sslmode=verify-ca",
            "sslmode=verify-ca&sslrootcert=system",
            "sslmode=require&sslrootcert=system",
            "sslrootcert=/nowhere/ca.pem",
            "sslmode=prefer&sslrootcert=/nowhere/ca.pem",
            "sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
            "sslmode=require&sslcert=/nowhere/own.pem",
            "sslcert=/a&sslkey=/b",
            "channel_binding=require",
            "sslmode=verify-full&sslcrl=/crl.pem",
            "sslmode=verify-full&ssl_min_protocol_version=TLSv1.3",
            "sslmode=verify-full&sslcertmode=require",
            "sslmode=require&sslcert=/a&sslkey=/b&sslcertmode=disable",
            "sslmode=verify-full&ssl_max_protocol_version=TLSv1.2",
            "sslnegotiation=direct",
            "sslmode=prefer&sslnegotiation=direct",
            "gssencmode=require",
            "require_auth=scram-sha-256",
            "requirepeer=postgres",
            "requiressl=1",
            "sslanything=1",
        ] {
            assert!(mode(&format!("postgres://h/d?{query}")).is_err(), "{query}");
        }
        for query in [
            "gssencmode=disable&sslsni=1&sslcompression=0&sslcrl=",
            "ssl_min_protocol_version=TLSv1.2&sslmode=disable",
            "sslcertmode=disable&ssl_max_protocol_version=TLSv1.3",
        ] {
            let url = format!("postgres://h/d?{query}&options=-c");
            assert_eq!(mode(&url), Ok(SslMode::Disable), "{query}");
            assert_eq!(take_from(&url).0, "postgres://h/d?options=-c");
        }
    }
}
