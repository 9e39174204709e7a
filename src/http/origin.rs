//! Where a browser says that a request comes from (RFC 6454).

use url::Url;

/// Longest host with its port, in bytes: a name (RFC 1035 section 2.3.4), a dot at its end, a port.
/// Names in Punycode cost more than their length to read, and heads may be long.
const LONGEST_AUTHORITY: usize = 253 + ".:65535".len();

/// Scheme, host and port of a page, in the one spelling that browsers send (RFC 6454 section 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Reads an `Origin` field: scheme, host and port of one page on the web, and nothing else.
    /// `null` is nobody's.
    pub fn parse(field: &str) -> Option<Self> {
        let (origin, rest) = Self::split(field)?;
        rest.is_empty().then_some(origin)
    }

    /// Reads the origin of the page that a `Referer` field names.
    pub fn of_page(url: &str) -> Option<Self> {
        let (origin, rest) = Self::split(url)?;
        (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(origin)
    }

    /// Returns the origin of whoever is asked by this scheme under this `Host`.
    pub fn of_host(scheme: &str, host: &str) -> Option<Self> {
        Self::new(scheme, host)
    }

    /// Returns the origin of a URL's pages; those of a scheme that is not the web's have none.
    pub fn of_url(url: &Url) -> Option<Self> {
        let is_web = matches!(url.scheme(), "http" | "https");
        is_web.then(|| Self(url.origin().ascii_serialization()))
    }

    /// Returns it as browsers write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parts a URL behind host and port, of which nothing else may be a part: whoever reads user
    /// information, escapes or a backslash there in another way would see another host.
    fn split(url: &str) -> Option<(Self, &str)> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(|it: char| !is_of_authority(it));
        let (authority, rest) = rest.split_at(end.unwrap_or(rest.len()));
        Some((Self::new(scheme, authority)?, rest))
    }

    fn new(scheme: &str, authority: &str) -> Option<Self> {
        let is_web = ["http", "https"]
            .iter()
            .any(|it| scheme.eq_ignore_ascii_case(it));
        let fits = (1..=LONGEST_AUTHORITY).contains(&authority.len());
        if !is_web || !fits || !authority.chars().all(is_of_authority) {
            return None;
        }
        // What is one spelling of a host (letters, Punycode, addresses) is the URL standard's to say.
        Self::of_url(&Url::parse(&format!("{scheme}://{authority}")).ok()?)
    }
}

/// What hosts that browsers send are made of, with their ports.
const fn is_of_authority(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | ':' | '[' | ']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(field: &str) -> Option<String> {
        Origin::parse(field).map(|origin| origin.as_str().to_owned())
    }

    #[test]
    fn an_origin_has_one_spelling() {
        for (field, origin) in [
            ("https://console.example", "https://console.example"),
            ("HTTPS://Console.Example:443", "https://console.example"),
            ("http://console.example:8080", "http://console.example:8080"),
            ("http://[2001:DB8::0:1]:80", "http://[2001:db8::1]"),
            ("http://under_score.internal", "http://under_score.internal"),
            (
                "http://xn--bcher-kva.example",
                "http://xn--bcher-kva.example",
            ),
        ] {
            assert_eq!(parsed(field).as_deref(), Some(origin), "{field}");
        }
    }

    #[test]
    fn what_is_more_than_scheme_host_and_port_is_no_origin() {
        let long = format!("https://{}example", "a.".repeat(150));
        for field in [
            "",
            "null",
            "console.example",
            "https://",
            "https://console.example/",
            "https://console.example?a",
            "https://console.example https://console.example",
            "https://console.example, https://console.example",
            "https://somebody@console.example",
            "https://console.example@evil.example",
            "https://console.example\\@evil.example",
            "https://console.example\\.evil.example",
            "https://%63onsole.example",
            "https://b\u{fc}cher.example",
            "https:/console.example",
            "https:\\\\console.example",
            " https://console.example",
            "https://console.example:",
            "https://console.example:65536",
            "ftp://console.example",
            "blob:https://console.example",
            "blob:https://console.example/b1d",
            &long,
        ] {
            let found = parsed(field);
            // A port that is left out behind its colon is the scheme's own.
            let expected =
                (field == "https://console.example:").then_some("https://console.example");
            assert_eq!(found.as_deref(), expected, "{field}");
        }
    }

    #[test]
    fn a_page_is_of_the_origin_before_its_path() {
        let device =
            "https://console.example/device?user_code=ABCD-EFGH&x=https://evil.example#@evil";
        let origin = Origin::parse("https://console.example");
        assert_eq!(Origin::of_page(device), origin);
        assert_eq!(Origin::of_page("https://console.example"), origin);
        for stranger in [
            "https://console.example@evil.example/",
            "https://console.example\\@evil.example/",
            "https://console.example%40evil.example/",
            "https://console.example;evil.example/",
            "blob:https://console.example/b1d",
            "//console.example/",
        ] {
            assert_eq!(Origin::of_page(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn what_is_asked_is_of_its_own_origin() {
        let own = Origin::of_host("https", "Gateway.Example:443");
        assert_eq!(own, Origin::parse("https://gateway.example"));
        assert_ne!(own, Origin::parse("http://gateway.example"));
        assert_eq!(Origin::of_host("https", "gateway.example/x"), None);
        assert_eq!(Origin::of_host("https", "a@gateway.example"), None);
    }
}
