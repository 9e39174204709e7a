//! Which headers of a client's must not pass, under whatever spelling.
//!
//! A WSGI server folds `-`, `_` and case together (`X_Dify-Subject.Type` and
//! `x-dify-subject-type` become one variable), some fold `.` too. Names are therefore compared in
//! folded form.

/// What a header name means to the gateway, in any spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Says who a request speaks for; only the gateway may.
    Identity,
    /// Says where a request came from; only trusted proxies may.
    Forwarding,
    /// Names the request.
    RequestId,
    /// A header that matters, under a spelling that shadows the real one.
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

/// Headers that say where a request came from.
const FORWARDING: [&str; 8] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-real-ip",
    "cf-connecting-ip",
    "forwarded",
];

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

/// The longest name in any of the tables; nothing longer can mean anything.
const LONGEST: usize = 24;

/// Returns what `name` means. `name` is in lower case, as header maps keep it.
pub fn meaning_of(name: &str) -> Meaning {
    // The common case costs one look at one byte: no table has names that begin otherwise.
    if !matches!(
        name.as_bytes().first(),
        Some(b'x' | b'f' | b'c' | b't' | b'p')
    ) {
        return Meaning::Other;
    }
    let mut buffer = [0; LONGEST];
    let Some(folded) = fold(name, &mut buffer) else {
        return Meaning::Other;
    };
    if IDENTITY.contains(&folded) {
        Meaning::Identity
    } else if FORWARDING.contains(&folded) {
        Meaning::Forwarding
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

fn fold<'a>(name: &str, buffer: &'a mut [u8; LONGEST]) -> Option<&'a str> {
    let folded = buffer.get_mut(..name.len())?;
    for (to, from) in folded.iter_mut().zip(name.bytes()) {
        *to = match from {
            b'_' | b'.' => b'-',
            byte => byte.to_ascii_lowercase(),
        };
    }
    str::from_utf8(folded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_table_has_a_name_that_the_quick_look_would_miss() {
        for name in IDENTITY.iter().chain(&FORWARDING) {
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
