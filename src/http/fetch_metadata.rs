//! Where a browser says that a request comes from (W3C "Fetch Metadata Request Headers").

use http::{HeaderMap, HeaderName, Method};

/// How close the page that asks is to who is asked.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What kind of request it is.
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What the answer is for.
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Tells whether a page of another site makes a browser ask. What is no browser says nothing of the
/// kind, and a page cannot make a browser say otherwise: such names are forbidden to scripts.
pub fn is_from_another_site(headers: &HeaderMap) -> bool {
    says(headers, &SITE, "cross-site")
}

/// Tells whether a person goes there, in a window of its own and by following a link: that is
/// allowed from everywhere, where a place is made for it.
pub fn is_visit(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::GET && says(headers, &MODE, "navigate") && says(headers, &DEST, "document")
}

fn says(headers: &HeaderMap, name: &HeaderName, what: &str) -> bool {
    headers.get_all(name).iter().any(|said| said == what)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(said: &[(&'static str, &'static str)]) -> HeaderMap {
        said.iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_another_site_is_another_site() {
        assert!(!is_from_another_site(&headers(&[])));
        for site in ["same-origin", "same-site", "none", ""] {
            assert!(!is_from_another_site(&headers(&[("sec-fetch-site", site)])));
        }
        let cross = [("sec-fetch-site", "cross-site")];
        assert!(is_from_another_site(&headers(&cross)));
    }

    #[test]
    fn a_frame_a_form_and_a_script_are_no_visits() {
        let visit = [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert!(is_visit(&Method::GET, &headers(&visit)));
        assert!(!is_visit(&Method::POST, &headers(&visit)));
        assert!(!is_visit(&Method::GET, &headers(&visit[..1])));
        let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        assert!(!is_visit(&Method::GET, &headers(&frame)));
        let script = [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")];
        assert!(!is_visit(&Method::GET, &headers(&script)));
    }
}
