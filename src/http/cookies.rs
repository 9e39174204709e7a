//! Reading cookies (RFC 6265 section 4.2), and setting one (section 4.1).

use std::time::Duration;

use http::{HeaderMap, header};

/// Returns the value of the cookie `name`; `None` when there is none, or more than one: which of
/// them is meant would be a guess.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // By bytes: others put any into cookies of theirs, which must not hide the one that is meant.
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (key, value) = pair.split_at(at);
            (key.trim_ascii() == name.as_bytes()).then(|| value[1..].trim_ascii())
        });
    let first = found.next()?;
    if found.next().is_some() {
        return None;
    }
    std::str::from_utf8(first).ok().map(unquote)
}

/// A cookie that the gateway sets: for itself alone, out of scripts' reach, and not sent along by
/// other sites' forms.
#[derive(Clone, Copy, Debug)]
pub struct OwnCookie {
    /// Its name.
    pub name: &'static str,
    /// The path below which browsers send it.
    pub path: &'static str,
    /// Whether it is sent over TLS alone.
    pub secure: bool,
}

impl OwnCookie {
    /// Returns the value of `Set-Cookie` that sets it for `life`; zero removes it.
    ///
    /// `value` is base64url and dots, which needs no quotes.
    pub fn set(&self, value: &str, life: Duration) -> String {
        let Self { name, path, secure } = self;
        let secure = if *secure { "; Secure" } else { "" };
        format!(
            "{name}={value}; Path={path}; Max-Age={}; HttpOnly{secure}; SameSite=Lax",
            life.as_secs()
        )
    }

    /// Returns the value of `Set-Cookie` that removes it.
    pub fn clear(&self) -> String {
        self.set("", Duration::ZERO)
    }
}

fn unquote(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str], name: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, line.parse().unwrap());
        }
        cookie(&headers, name).map(str::to_owned)
    }

    #[test]
    fn one_cookie_of_a_name_is_found_wherever_it_stands() {
        assert_eq!(read(&["a=1; b=2"], "b").as_deref(), Some("2"));
        assert_eq!(read(&["a=1", "b=x=y"], "b").as_deref(), Some("x=y"));
        assert_eq!(read(&["b=\"q\""], "b").as_deref(), Some("q"));
        assert_eq!(read(&["ab=1; B=2"], "b"), None);
        assert_eq!(read(&[], "b"), None);
    }

    #[test]
    fn bytes_in_cookies_of_others_hide_none() {
        let mut headers = HeaderMap::new();
        let line = http::HeaderValue::from_bytes("name=张三; b=2".as_bytes()).unwrap();
        headers.append(header::COOKIE, line);
        assert_eq!(cookie(&headers, "b"), Some("2"));
        let twice = http::HeaderValue::from_bytes("x=é; b=3".as_bytes()).unwrap();
        headers.append(header::COOKIE, twice);
        assert_eq!(
            cookie(&headers, "b"),
            None,
            "two are none, wherever they stand"
        );
        // White space beyond ASCII is part of a name.
        let line = http::HeaderValue::from_bytes("\u{2000}c=1".as_bytes()).unwrap();
        headers.append(header::COOKIE, line);
        assert_eq!(cookie(&headers, "c"), None);
    }

    #[test]
    fn an_own_cookie_is_for_its_path_and_no_script() {
        let cookie = |secure| OwnCookie {
            name: "grant",
            path: "/a/b",
            secure,
        };
        assert_eq!(
            cookie(true).set("x.y", Duration::from_secs(300)),
            "grant=x.y; Path=/a/b; Max-Age=300; HttpOnly; Secure; SameSite=Lax"
        );
        assert_eq!(
            cookie(false).clear(),
            "grant=; Path=/a/b; Max-Age=0; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn two_cookies_of_a_name_are_none() {
        assert_eq!(read(&["b=1; b=2"], "b"), None);
        assert_eq!(read(&["b=1", "b=1"], "b"), None);
    }

    proptest! {
        #[test]
        fn no_header_panics(line in "[ -~]{0,80}", name in "[a-z]{0,3}") {
            let _ = read(&[&line], &name);
        }
    }
}
