//! Which headers of a client's must not pass, under whatever spelling.
//!
//! A WSGI server folds `-`, `_` and case together (`X_Dify-Subject.Type` and
//! `x-dify-subject-type` become one variable), some fold `.` too. Names are therefore compared in
//! folded form, and none with a `_` passes at all.

/// What a header name means to the gateway, in any spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Says who a request speaks for; only the gateway may.
    Identity,
    /// Says where a request came from; only trusted proxies may.
    Forwarding,
    /// Names the request.
    RequestId,
    /// Says which path was asked for; nobody may, since the request line does.
    Path,
    /// A name that to some server is another one.
    Shadow,
    /// Nothing.
    Other,
}

/// The identity headers: everything that `forward.identity` can send.
pub const IDENTITY: [&str; 8] = [
    "x-dify-subject-type",
    "x-dify-subject-email",
    "x-dify-subject-issuer",
    "x-dify-account-id",
    "x-dify-client-id",
    "x-dify-token-id",
    "x-dify-scopes",
    "x-dify-identity",
];

/// How headers begin that say where a request came from, by what way, or whose it is.
const FORWARDED: &str = "x-forwarded-";

/// Others that say so, and those by which a proxy tells an application where it is mounted.
const FORWARDING: [&str; 7] = [
    "x-real-ip",
    "cf-connecting-ip",
    "forwarded",
    "x-script-name",
    "x-original-url",
    "x-rewrite-url",
    "remote-user",
];

/// Variables of a server's own (RFC 3875 section 4.1) that gunicorn, for one, takes from headers of
/// that name: `SCRIPT_NAME` cuts a prefix off the path that was judged.
const PATH: [&str; 2] = ["script-name", "path-info"];

/// Headers of HTTP and of Dify that must not be shadowed by another spelling.
const SHADOWABLE: [&str; 7] = [
    "content-length",
    "content-type",
    "transfer-encoding",
    "proxy-authorization",
    "x-csrf-token",
    "x-app-code",
    "x-app-passport",
];

/// Headers that a `Connection` header must not be able to take away.
const KEPT: [&str; 8] = [
    "authorization",
    "cookie",
    "host",
    "content-length",
    "content-type",
    "x-csrf-token",
    "x-app-code",
    "x-app-passport",
];

/// Headers of framing, routing and representation, which are none in a trailer section.
const NEVER_TRAILING: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-range",
    "expect",
    "proxy-authorization",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The longest name in any of the tables; of what is longer, the beginning alone can mean anything.
const LONGEST: usize = 24;

/// Returns what `name` means. `name` is in lower case, as header maps keep it.
///
/// A name with a `_` always means something: WSGI and CGI cannot tell it from the one with a `-`,
/// servers have variables of their own under such names, and which ones can be configured. nginx
/// drops them all unless told otherwise, and so does what is done with [`Meaning::Shadow`].
pub fn meaning_of(name: &str) -> Meaning {
    let meaning = match name.as_bytes() {
        // The common case costs one look at one byte: no table has names that begin otherwise.
        [b'x' | b'f' | b'c' | b't' | b'p', ..] | [b's', b'c', ..] | [b'r', b'e', b'm', ..] => {
            folded_meaning(name)
        }
        _ => Meaning::Other,
    };
    if meaning == Meaning::Other && memchr::memchr(b'_', name.as_bytes()).is_some() {
        return Meaning::Shadow;
    }
    meaning
}

/// Returns what one of the tables says of a name, in whatever spelling.
fn folded_meaning(name: &str) -> Meaning {
    let mut buffer = [0; LONGEST];
    let folded = fold(name, &mut buffer);
    if folded.starts_with(FORWARDED) {
        Meaning::Forwarding
    } else if name.len() > LONGEST {
        Meaning::Other
    } else if IDENTITY.contains(&folded) {
        Meaning::Identity
    } else if FORWARDING.contains(&folded) {
        Meaning::Forwarding
    } else if PATH.contains(&folded) {
        Meaning::Path
    } else if folded == "x-request-id" {
        Meaning::RequestId
    } else if folded != name && SHADOWABLE.contains(&folded) {
        Meaning::Shadow
    } else {
        Meaning::Other
    }
}

/// Tells whether a field may stand in a trailer section. `name` is in lower case.
///
/// Those that frame, route or authenticate a request may not (RFC 9110 section 6.5.1), nor those
/// that only the gateway or a proxy may send, in any spelling.
pub fn may_trail(name: &str) -> bool {
    meaning_of(name) == Meaning::Other && !KEPT.contains(&name) && !NEVER_TRAILING.contains(&name)
}

/// Returns the `Connection` header without the options that would take away what must be kept,
/// or `None` where there are none (RFC 9110 section 7.6.1).
pub fn harmless_connection(value: &str) -> Option<String> {
    // What nearly every client sends, and nothing else costs anything.
    if value.eq_ignore_ascii_case("keep-alive") || value.eq_ignore_ascii_case("close") {
        return None;
    }
    let harmful = |option: &str| {
        let option = option.trim().to_ascii_lowercase();
        KEPT.contains(&option.as_str()) || meaning_of(&option) != Meaning::Other
    };
    value.split(',').any(harmful).then(|| {
        let kept: Vec<&str> = value
            .split(',')
            .map(str::trim)
            .filter(|option| !option.is_empty() && !harmful(option))
            .collect();
        kept.join(", ")
    })
}

/// Folds a name, or as much of it as there is room for. What is no ASCII is in no name, and may be
/// cut in two: it counts as something else.
fn fold<'a>(name: &str, buffer: &'a mut [u8; LONGEST]) -> &'a str {
    let mut length = 0;
    for (to, from) in buffer.iter_mut().zip(name.bytes()) {
        *to = match from {
            b'_' | b'.' => b'-',
            byte if !byte.is_ascii() => b'?',
            byte => byte.to_ascii_lowercase(),
        };
        length += 1;
    }
    str::from_utf8(&buffer[..length]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_table_has_a_name_that_the_quick_look_would_miss() {
        for name in IDENTITY.iter().chain(&FORWARDING).chain(&PATH) {
            assert!(name.len() <= LONGEST);
            assert_ne!(meaning_of(name), Meaning::Other, "{name}");
        }
        for name in SHADOWABLE {
            let shadow = name.replace('-', "_");
            assert_eq!(meaning_of(&shadow), Meaning::Shadow, "{name}");
            assert_eq!(meaning_of(name), Meaning::Other, "{name}");
        }
        assert_eq!(meaning_of("x_request.id"), Meaning::RequestId);
        assert_eq!(meaning_of("x-dify-version"), Meaning::Other);
        assert_eq!(meaning_of("authorization"), Meaning::Other);
        assert_eq!(meaning_of("sec-fetch-mode"), Meaning::Other);
        assert_eq!(meaning_of("referer"), Meaning::Other);
        assert_eq!(
            meaning_of("a-name-longer-than-any-in-a-table"),
            Meaning::Other
        );
    }

    #[test]
    fn every_name_that_begins_as_a_proxys_claims_do_is_one() {
        for name in [
            "x-forwarded-for",
            "x-forwarded-prefix",
            "x-forwarded-ssl",
            "x_forwarded.scheme",
            "x-forwarded-and-longer-than-any-in-a-table",
        ] {
            assert_eq!(meaning_of(name), Meaning::Forwarding, "{name}");
        }
    }

    #[test]
    fn a_name_with_an_underscore_always_means_something() {
        for name in ["script_name", "path_info", "script-name", "path.info"] {
            assert_eq!(meaning_of(name), Meaning::Path, "{name}");
        }
        for name in ["a_b", "_", "http_x", "x_a-name-longer-than-any-in-a-table"] {
            assert_eq!(meaning_of(name), Meaning::Shadow, "{name}");
        }
    }

    #[test]
    fn only_what_means_nothing_there_may_trail() {
        for name in ["x-checksum", "server-timing", "digest", "etag"] {
            assert!(may_trail(name), "{name}");
        }
        for name in [
            "authorization",
            "te",
            "content-length",
            "x_dify.scopes",
            "forwarded",
        ] {
            assert!(!may_trail(name), "{name}");
        }
    }

    #[test]
    fn a_connection_header_cannot_take_away_what_is_kept() {
        assert_eq!(harmless_connection("keep-alive"), None);
        assert_eq!(harmless_connection("upgrade, x-hop"), None);
        assert_eq!(
            harmless_connection("close, Authorization , X-Dify-Identity,x-forwarded-for, x-hop"),
            Some("close, x-hop".into())
        );
        assert_eq!(harmless_connection("x_request_id"), Some(String::new()));
    }

    proptest! {
        #[test]
        fn every_spelling_of_an_identity_header_is_seen(
            index in 0..IDENTITY.len(),
            separators in proptest::collection::vec("[-_.]", 24),
        ) {
            let spelled: String = IDENTITY[index]
                .chars()
                .zip(separators)
                .map(|(character, separator)| if character == '-' {
                    separator
                } else {
                    character.to_string()
                })
                .collect();
            prop_assert_eq!(meaning_of(&spelled), Meaning::Identity);
        }
    }
}
