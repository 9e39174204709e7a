//! The path as the upstream's router will see it.
//!
//! A WSGI server percent-decodes the path once and Werkzeug collapses repeated slashes. What has
//! more than one reading (a dot segment, an encoded slash, a second layer of encoding) is refused
//! rather than interpreted: the guard must see exactly what is routed.

use std::borrow::Cow;

/// Why a request target has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// It does not begin with a slash: absolute-form, authority-form or `*` (RFC 9112 section
    /// 3.2).
    #[error("the request target must be a path (origin-form)")]
    NotOriginForm,
    /// It has a fragment, which never belongs in a request.
    #[error("the request target must have no fragment")]
    Fragment,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("the path has a malformed percent-encoding")]
    Encoding,
    /// A slash, backslash, control or NUL under percent-encoding, or a literal backslash or
    /// control.
    #[error("the path must not contain backslashes, control characters or encoded slashes")]
    Forbidden,
    /// A `.` or `..` segment, encoded or not, or one that hides behind a parameter.
    #[error("the path must not contain dot segments")]
    DotSegment,
    /// Bytes that are not UTF-8 once decoded.
    #[error("the path must be UTF-8")]
    NotUtf8,
    /// A `;` or a second layer of encoding that would change which rule applies.
    #[error("the path can be read in two ways")]
    Ambiguous,
}

/// A path in the one form that rules are matched against: decoded once, slashes collapsed, no dot
/// segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a>(Cow<'a, str>);

impl<'a> CanonicalPath<'a> {
    /// Parses a request target; the query is cut off first.
    ///
    /// A target that is canonical already is borrowed, not copied.
    ///
    /// # Errors
    ///
    /// [`NotCanonical`] says which rule it breaks.
    pub fn parse(target: &'a [u8]) -> Result<Self, NotCanonical> {
        if target.first() != Some(&b'/') {
            return Err(NotCanonical::NotOriginForm);
        }
        let mut plain = true;
        let mut end = target.len();
        let mut previous = 0;
        for (at, byte) in target.iter().copied().enumerate() {
            match byte {
                b'?' => {
                    end = at;
                    break;
                }
                b'#' => return Err(NotCanonical::Fragment),
                b'\\' | 0..=b' ' | 0x7f => return Err(NotCanonical::Forbidden),
                b'%' | b';' | 0x80.. => plain = false,
                b'/' if previous == b'/' => plain = false,
                b'.' if previous == b'/' => plain = false,
                _ => {}
            }
            previous = byte;
        }
        // A fragment after the query is no better.
        if target[end..].contains(&b'#') {
            return Err(NotCanonical::Fragment);
        }
        let path = &target[..end];
        if plain && let Ok(path) = str::from_utf8(path) {
            return Ok(Self(Cow::Borrowed(path)));
        }
        let decoded = decode_once(path)?;
        canonicalise(&decoded).map(|path| Self(Cow::Owned(path.into_owned())))
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path that another decoding would give, where there is something left to decode.
    ///
    /// # Errors
    ///
    /// [`NotCanonical`] when that reading would be refused.
    pub fn second_reading(&self) -> Option<Result<CanonicalPath<'static>, NotCanonical>> {
        let path = self.0.as_bytes();
        let encoded = path
            .windows(3)
            .any(|w| w[0] == b'%' && w[1].is_ascii_hexdigit() && w[2].is_ascii_hexdigit());
        encoded.then(|| {
            let decoded = decode_leniently(path)?;
            let read = canonicalise(&decoded)?;
            Ok(CanonicalPath(Cow::Owned(read.into_owned())))
        })
    }

    /// Returns the path without its `;` parameters, where there are any.
    pub fn without_parameters(&self) -> Option<CanonicalPath<'static>> {
        self.0.contains(';').then(|| {
            let stripped: Vec<&str> = self
                .0
                .split('/')
                .map(|segment| segment.split(';').next().unwrap_or_default())
                .collect();
            CanonicalPath(Cow::Owned(collapse(&stripped.join("/")).into_owned()))
        })
    }
}

fn canonicalise(decoded: &[u8]) -> Result<Cow<'_, str>, NotCanonical> {
    let path = str::from_utf8(decoded).map_err(|_| NotCanonical::NotUtf8)?;
    let hidden_dots = path
        .split('/')
        .filter_map(|segment| segment.split(';').next())
        .any(|segment| matches!(segment, "." | ".."));
    if hidden_dots {
        return Err(NotCanonical::DotSegment);
    }
    Ok(collapse(path))
}

/// Decodes every `%XX`; what decodes to a delimiter or a control is refused.
fn decode_once(path: &[u8]) -> Result<Vec<u8>, NotCanonical> {
    decode(path, |_| Err(NotCanonical::Encoding))
}

/// As [`decode_once`], but a lone `%` stands for itself, as it would to a second decoder.
fn decode_leniently(path: &[u8]) -> Result<Vec<u8>, NotCanonical> {
    decode(path, Ok)
}

fn decode(
    path: &[u8],
    lone_percent: impl Fn(u8) -> Result<u8, NotCanonical>,
) -> Result<Vec<u8>, NotCanonical> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let digits = match tail {
            [high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        let Some((high, low)) = digits else {
            decoded.push(lone_percent(*byte)?);
            continue;
        };
        rest = &tail[2..];
        match high << 4 | low {
            b'/' | b'\\' | 0..=0x1f | 0x7f => return Err(NotCanonical::Forbidden),
            byte => decoded.push(byte),
        }
    }
    Ok(decoded)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn collapse(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut collapsed = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !collapsed.ends_with('/') {
            collapsed.push(character);
        }
    }
    Cow::Owned(collapsed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(target: &str) -> Result<String, NotCanonical> {
        CanonicalPath::parse(target.as_bytes()).map(|path| path.as_str().to_owned())
    }

    #[test]
    fn plain_paths_are_borrowed() {
        for target in [
            "/",
            "/openapi/v1/apps",
            "/v1/files/a.b_c-d~e",
            "/a/.well-known",
        ] {
            assert_eq!(parse(target).as_deref(), Ok(target), "{target}");
        }
        let path = CanonicalPath::parse(b"/openapi/v1/apps?x=/../%2f").unwrap();
        assert!(matches!(path.0, Cow::Borrowed("/openapi/v1/apps")));
    }

    #[test]
    fn one_decoding_and_single_slashes() {
        for (target, path) in [
            ("/openapi/v1/%61pps", "/openapi/v1/apps"),
            ("//openapi///v1/apps", "/openapi/v1/apps"),
            ("/a%20b", "/a b"),
            ("/%e2%82%ac", "/€"),
            ("/files/100%25", "/files/100%"),
            ("/files/100%2525", "/files/100%25"),
            ("/a;b=c", "/a;b=c"),
            ("/..a/b..", "/..a/b.."),
        ] {
            assert_eq!(parse(target).as_deref(), Ok(path), "{target}");
        }
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        use NotCanonical::{DotSegment, Encoding, Forbidden, Fragment, NotOriginForm, NotUtf8};
        for (target, reason) in [
            ("", NotOriginForm),
            ("*", NotOriginForm),
            ("http://dify/openapi/v1/apps", NotOriginForm),
            ("example.com:443", NotOriginForm),
            ("/a/../b", DotSegment),
            ("/a/.", DotSegment),
            ("/..", DotSegment),
            ("/a/%2e%2E/b", DotSegment),
            ("/a/.%2e/b", DotSegment),
            ("/a/..;x/b", DotSegment),
            ("/a/%2e;/b", DotSegment),
            ("/a%2fb", Forbidden),
            ("/a%2Fb", Forbidden),
            ("/a%5cb", Forbidden),
            ("/a\\b", Forbidden),
            ("/a%00", Forbidden),
            ("/a%0d%0ab", Forbidden),
            ("/a%7f", Forbidden),
            ("/a\tb", Forbidden),
            ("/a b", Forbidden),
            ("/a%", Encoding),
            ("/a%2", Encoding),
            ("/a%zz", Encoding),
            ("/a#b", Fragment),
            ("/a?b#c", Fragment),
            ("/%c0%af", NotUtf8),
            ("/%ff", NotUtf8),
        ] {
            assert_eq!(parse(target), Err(reason), "{target}");
        }
    }

    #[test]
    fn a_second_layer_shows_its_other_reading() {
        let second = |target: &str| {
            CanonicalPath::parse(target.as_bytes())
                .unwrap()
                .second_reading()
                .map(|read| read.map(|path| path.as_str().to_owned()))
        };
        assert_eq!(second("/files/100%25"), None);
        assert_eq!(second("/%256fpenapi"), Some(Ok("/openapi".into())));
        assert_eq!(
            second("/a/%252e%252e/b"),
            Some(Err(NotCanonical::DotSegment))
        );
        assert_eq!(second("/a%252fb"), Some(Err(NotCanonical::Forbidden)));
    }

    proptest! {
        #[test]
        fn no_target_panics_and_what_parses_is_canonical(
            target in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Ok(path) = CanonicalPath::parse(&target) {
                prop_assert!(path.as_str().starts_with('/'));
                prop_assert!(!path.as_str().contains("//"));
                prop_assert!(!path.as_str().contains('\\'));
                prop_assert!(!path.as_str().split('/').any(|s| s == "." || s == ".."));
            }
        }

        #[test]
        fn encoding_any_character_changes_nothing(path in "(/[a-z0-9_~-]{1,8}){1,4}", at in 0..32_usize) {
            let bytes = path.as_bytes();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != b'/');
            let encoded = format!("{}%{:02X}{}", &path[..at], bytes[at], &path[at + 1..]);
            prop_assert_eq!(parse(&encoded), Ok(path));
        }
    }
}
