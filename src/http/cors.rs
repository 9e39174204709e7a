//! Cross-origin requests (Fetch standard, "CORS protocol"; `contract/surfaces.md`).
//!
//! Only for what is asked for with a bearer token or with nothing: what cookies decide about is
//! for pages of the same origin. Credentials are never allowed, so that no page of another origin
//! acts for whoever is logged in.

use http::{HeaderMap, HeaderValue, header};

use super::Reply;

/// How long a browser may remember a preflight's answer, in seconds: Dify's own.
const MAX_AGE: &str = "600";

/// Headers that a page may send.
const ALLOWED: &str = "Authorization, Content-Type";

/// Headers of answers that a page may read, beside the few that it always may.
const EXPOSED: &str = "RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-Id";

/// Whose pages may ask: `server.cors_allow_origins`.
#[derive(Clone, Debug, Default)]
pub struct CorsPolicy {
    origins: Vec<String>,
}

impl CorsPolicy {
    /// Allows these origins, as browsers spell them; `*` is all.
    pub const fn new(origins: Vec<String>) -> Self {
        Self { origins }
    }

    /// Adds to an answer what lets a page of another origin read it. `methods` are those of a
    /// local endpoint that OPTIONS was sent to: then the request may be a preflight.
    ///
    /// With nobody allowed there is no such header at all.
    #[must_use]
    pub fn apply(&self, reply: Reply, request: &HeaderMap, methods: Option<&'static str>) -> Reply {
        if self.origins.is_empty() {
            return reply;
        }
        // Another origin's answer must not come out of a cache.
        let reply = reply.with(header::VARY, "Origin");
        let Some(origin) = self.allowed(request.get(header::ORIGIN)) else {
            return reply;
        };
        let reply = reply.with(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.to_owned());
        let asks = request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        match methods.filter(|_| asks) {
            Some(methods) => reply
                .with(header::ACCESS_CONTROL_ALLOW_METHODS, methods)
                .with(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED)
                .with(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            None => reply.with(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
        }
    }

    /// Tells whether a request names an origin whose pages may ask.
    pub fn allows(&self, request: &HeaderMap) -> bool {
        self.allowed(request.get(header::ORIGIN)).is_some()
    }

    /// Returns the origin as it was sent, if it is allowed.
    fn allowed<'a>(&self, origin: Option<&'a HeaderValue>) -> Option<&'a str> {
        let origin = origin?.to_str().ok()?;
        let named = |allowed: &String| allowed == "*" || allowed == origin;
        self.origins.iter().any(named).then_some(origin)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn answer(
        allowed: &[&str],
        sent: &[(&'static str, &'static str)],
        methods: Option<&'static str>,
    ) -> Vec<String> {
        let policy = CorsPolicy::new(allowed.iter().map(|origin| (*origin).to_owned()).collect());
        let headers = sent
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        policy
            .apply(Reply::empty(StatusCode::OK), &headers, methods)
            .headers()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect()
    }

    const APP: &str = "https://app.example.com";

    #[test]
    fn with_nobody_allowed_nothing_is_said() {
        assert!(answer(&[], &[("origin", APP)], Some("GET")).is_empty());
    }

    #[test]
    fn another_origin_is_told_nothing() {
        let other = [("origin", "https://app.example.com.evil.example")];
        assert_eq!(answer(&[APP], &other, None), ["vary: Origin"]);
        assert_eq!(answer(&[APP], &[], None), ["vary: Origin"]);
    }

    #[test]
    fn an_allowed_origin_may_read_the_answer() {
        for allowed in [APP, "*"] {
            let told = answer(&[allowed], &[("origin", APP)], None);
            assert_eq!(told[1], format!("access-control-allow-origin: {APP}"));
            assert!(told[2].starts_with("access-control-expose-headers: "));
            assert!(!told.concat().contains("Credentials"));
        }
    }

    #[test]
    fn a_preflight_is_told_methods_and_headers() {
        let sent = [("origin", APP), ("access-control-request-method", "GET")];
        let told = answer(&[APP], &sent, Some("GET, HEAD, OPTIONS"));
        assert_eq!(told[2], "access-control-allow-methods: GET, HEAD, OPTIONS");
        assert_eq!(told[4], "access-control-max-age: 600");
        assert!(!told.concat().contains("Credentials"));
    }
}
