//! Reading cookies (RFC 6265 section 4.2), and setting one (section 4.1).

use std::time::Duration;

use http::{HeaderMap, header};

/// Returns the value of the cookie `name`; `None` when there is none, or more than one: which of
/// them is meant would be a guess.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| key.trim() == name)
        .map(|(_, value)| unquote(value.trim()));
    let first = found.next()?;
    found.next().is_none().then_some(first)
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
