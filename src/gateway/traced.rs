//! A request's spans: the request itself, its token check where that left the local map, and the
//! call to the upstream. Names are those of OpenTelemetry's stable semantic conventions for HTTP.

use http::{Method, Version, header, uri::Authority};
use pingora::{Error, ErrorSource, ErrorType, OrErr as _, proxy::Session};

use super::{Ctx, Gateway, local::scheme_of};
use crate::{
    check::{Finding, Verdict},
    clock::{Clock, Monotonic},
    config::Endpoint,
    http::Rejection,
    metrics::Outcome,
    route::CanonicalPath,
    token::{TokenHash, TokenKind},
    trace::{RequestTrace, Span, TraceId},
};

/// The trace that a request is part of, and what is noted for its spans.
#[derive(Debug)]
pub struct Traced {
    place: RequestTrace,
    /// Where it is recorded. Boxed: most requests are not.
    notes: Option<Box<Notes>>,
}

/// What is noted while a request is under way.
#[derive(Debug)]
struct Notes {
    /// When it began, in microseconds since 1970, and by the other clock.
    epoch: u64,
    began: Monotonic,
    check: Option<Checked>,
    /// When the upstream was first turned to.
    upstream: Option<Monotonic>,
}

#[derive(Debug)]
struct Checked {
    began: Monotonic,
    ended: Monotonic,
    /// Who had the answer; `None`: nobody.
    tier: Option<&'static str>,
    result: &'static str,
}

impl Traced {
    /// Returns the trace's name.
    pub const fn id(&self) -> TraceId {
        self.place.trace
    }

    /// Tells the upstream of it.
    pub(super) fn pass_on(&self, headers: &mut http::HeaderMap) -> pingora::Result<()> {
        self.place
            .pass_on(headers)
            .or_err(ErrorType::InternalError, "a traceparent")
    }

    /// Notes that the upstream is turned to; of several attempts the first counts.
    pub(super) fn calls_upstream(&mut self, clock: &dyn Clock) {
        if let Some(notes) = &mut self.notes {
            notes.upstream.get_or_insert_with(|| clock.monotonic());
        }
    }
}

impl Notes {
    /// Returns nanoseconds since 1970.
    fn at(&self, moment: Monotonic) -> u64 {
        let since = u64::try_from(moment.since(self.began).as_micros()).unwrap_or(u64::MAX);
        self.epoch.saturating_add(since).saturating_mul(1_000)
    }
}

impl Gateway {
    /// Finds the request's place in its trace. Nothing where nothing is traced.
    pub(super) fn begin_trace(&self, session: &Session, ctx: &mut Ctx) {
        let Some(tracer) = &self.tracer else { return };
        let headers = &session.req_header().headers;
        let place = tracer.begin(headers, ctx.peer_trusted);
        let notes = place.sampled.then(|| {
            let since = self.clock.monotonic().since(ctx.began);
            let now = u64::try_from(self.clock.now().unix_micros()).unwrap_or_default();
            let since = u64::try_from(since.as_micros()).unwrap_or_default();
            Box::new(Notes {
                epoch: now.saturating_sub(since),
                began: ctx.began,
                check: None,
                upstream: None,
            })
        });
        ctx.trace = Some(Traced { place, notes });
    }

    /// Checks a token that the local map does not know, and notes how long that took.
    pub(super) async fn resolve(
        &self,
        ctx: &mut Ctx,
        kind: TokenKind,
        hash: TokenHash,
    ) -> Result<Verdict, Rejection> {
        let notes = ctx.trace.as_mut().and_then(|trace| trace.notes.as_mut());
        let Some(notes) = notes else {
            return Ok(self.checker.resolve(kind, hash).await?.verdict);
        };
        let began = self.clock.monotonic();
        let found = self.checker.resolve(kind, hash).await;
        notes.check = Some(Checked {
            began,
            ended: self.clock.monotonic(),
            tier: found.as_ref().ok().map(|finding| finding.tier.as_str()),
            result: match &found {
                Ok(Finding {
                    verdict: Verdict::Live(_),
                    ..
                }) => "live",
                Ok(_) => "refused",
                Err(_) => "undecided",
            },
        });
        Ok(found?.verdict)
    }

    /// Hands over the spans of a request that has ended, where it is recorded.
    pub(super) fn finish_trace(&self, session: &Session, error: Option<&Error>, ctx: &Ctx) {
        let (Some(tracer), Some(trace)) = (&self.tracer, &ctx.trace) else {
            return;
        };
        let Some(notes) = &trace.notes else { return };
        let head = session.req_header();
        let path = CanonicalPath::parse(head.raw_path()).ok();
        let route = path.as_ref().and_then(|path| {
            let routing = self.routing.get();
            routing.table.pattern_of(path, &head.method)
        });
        let ended = Ended {
            session,
            error,
            ctx,
            place: &trace.place,
            notes,
            path: path.as_ref().map(CanonicalPath::as_str),
            at: notes.at(self.clock.monotonic()),
        };
        let mut spans = Vec::with_capacity(3);
        spans.extend(ended.check());
        spans.extend(ended.call());
        spans.push(ended.request(route));
        tracer.record(spans);
    }
}

/// A request that has ended.
struct Ended<'a> {
    session: &'a Session,
    error: Option<&'a Error>,
    ctx: &'a Ctx,
    place: &'a RequestTrace,
    notes: &'a Notes,
    /// What has no canonical form may hold anything, and is in the access line alone.
    path: Option<&'a str>,
    /// When it ended, in nanoseconds since 1970.
    at: u64,
}

impl Ended<'_> {
    /// Builds the span of the request itself.
    fn request(&self, route: Option<String>) -> Span {
        let (session, ctx) = (self.session, self.ctx);
        let method = method_of(session);
        let name = match &route {
            Some(route) => format!("{method} {route}"),
            None => method.to_owned(),
        };
        let server = session.req_header().headers.get(header::HOST);
        let server = server.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let host = server.as_ref().map(|server| {
            let host = server.host();
            host.trim_matches(['[', ']']).to_owned()
        });
        self.place
            .request(name, (self.notes.at(self.notes.began), self.at))
            .with("http.request.method", method)
            .with_some("http.route", route)
            .with_some("url.path", self.path.map(ToOwned::to_owned))
            .with("url.scheme", scheme_of(session, ctx))
            .with_some("http.response.status_code", self.status())
            .with_some("client.address", ctx.client.map(|ip| ip.to_string()))
            .with_some("server.address", host)
            .with_some("server.port", server.and_then(|server| server.port_u16()))
            .with_some("network.protocol.version", version_of(session))
            .with_some("error.type", self.failure(500))
            .with("difygate.request_id", ctx.request_id().to_owned())
            .with_some("difygate.outcome", ctx.outcome.map(Outcome::as_str))
            .failed_if(ctx.status >= 500 || self.broke_off() && !self.client_left())
    }

    /// Builds the span of the token check, where there was one.
    fn check(&self) -> Option<Span> {
        let check = self.notes.check.as_ref()?;
        let time = (self.notes.at(check.began), self.notes.at(check.ended));
        let undecided = check.tier.is_none();
        let span = self
            .place
            .check(time)
            .with_some("difygate.tier", check.tier)
            .with("difygate.result", check.result)
            .with_some("error.type", undecided.then_some("undecided"))
            .failed_if(undecided);
        Some(span)
    }

    /// Builds the span of the call to the upstream, where there was one.
    fn call(&self) -> Option<Span> {
        let began = self.notes.at(self.notes.upstream?);
        let target = self.ctx.backend.as_ref()?.endpoint();
        let method = method_of(self.session);
        // What was sent instead of the upstream's answer is no status of its own.
        let refused = self.ctx.outcome == Some(Outcome::Rejected);
        let status = self.status().filter(|_| !refused);
        let failure = self.failure(400).filter(|_| !self.client_left());
        let failed = failure.is_some();
        let (address, port) = match target {
            Endpoint::Tcp { host, port, .. } => (host.clone(), Some(*port)),
            Endpoint::Unix(path) => (path.display().to_string(), None),
        };
        // A path on a Unix socket has no URL.
        let path = self.path.filter(|_| port.is_some());
        let full = path.map(|path| format!("{target}{path}"));
        let span = self
            .place
            .upstream(method, (began, self.at))
            .with("http.request.method", method)
            .with_some("url.full", full)
            .with("server.address", address)
            .with_some("server.port", port)
            .with_some("http.response.status_code", status)
            .with_some("error.type", failure)
            .failed_if(failed);
        Some(span)
    }

    fn status(&self) -> Option<u16> {
        Some(self.ctx.status).filter(|status| *status > 0)
    }

    fn broke_off(&self) -> bool {
        self.ctx.outcome == Some(Outcome::Aborted)
    }

    /// Tells whether the request broke off on the client's side, which is nobody else's failure.
    fn client_left(&self) -> bool {
        let source = self.error.map(|error| error.esource());
        self.broke_off() && matches!(source, None | Some(ErrorSource::Downstream))
    }

    /// Says what went wrong: why the gateway refused, the kind of a failure alone, since pingora's
    /// full text may quote what a client sent, or the status where that is `least` or more.
    fn failure(&self, least: u16) -> Option<String> {
        match (self.ctx.outcome, self.ctx.reason, self.error) {
            (Some(Outcome::Rejected), Some(reason), _) => Some(reason.to_owned()),
            (Some(Outcome::Aborted), _, Some(error)) => Some(error.etype().as_str().to_owned()),
            (Some(Outcome::Aborted), _, None) => Some("aborted".to_owned()),
            _ => self
                .status()
                .filter(|status| *status >= least)
                .map(|status| status.to_string()),
        }
    }
}

/// Returns the method, or `_OTHER` for what HTTP does not know: clients can make up any.
fn method_of(session: &Session) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    let method: &Method = &session.req_header().method;
    let known = KNOWN.into_iter().find(|known| method.as_str() == *known);
    known.unwrap_or("_OTHER")
}

fn version_of(session: &Session) -> Option<&'static str> {
    match session.req_header().version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}
