//! A request's spans: the request itself, its token check where that left the local map, and the
//! call to the upstream. Names are those of OpenTelemetry's stable semantic conventions for HTTP.

use http::{Method, Version, header, uri::Authority};
use pingora::{Error, ErrorType, OrErr as _, proxy::Session};

use super::{Ctx, Gateway, local::scheme_of};
use crate::{
    check::{Finding, Verdict},
    clock::{Clock, Monotonic},
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
        let ended = notes.at(self.clock.monotonic());
        let failure = failure(ctx, error);
        let mut spans = Vec::with_capacity(3);
        if let Some(check) = &notes.check {
            let time = (notes.at(check.began), notes.at(check.ended));
            let undecided = check.tier.is_none();
            let span = trace
                .place
                .check(time)
                .with_some("difygate.tier", check.tier)
                .with("difygate.result", check.result)
                .with_some("error.type", undecided.then_some("undecided"))
                .failed_if(undecided);
            spans.push(span);
        }
        let path = CanonicalPath::parse(session.req_header().raw_path()).ok();
        if let (Some(began), Some(backend)) = (notes.upstream, &ctx.backend) {
            let time = (notes.at(began), ended);
            let target = backend.endpoint();
            let url = path
                .as_ref()
                .map(|path| format!("{target}{}", path.as_str()));
            let method = method_of(session);
            // What was sent instead of an answer of the upstream's is no status of its own.
            let answered = (ctx.outcome != Some(Outcome::Rejected)).then_some(ctx.status);
            let failed = failure.is_some() || ctx.status >= 400;
            let span = trace
                .place
                .upstream(method, time)
                .with("http.request.method", method)
                .with_some("url.full", url)
                .with("server.address", target.host.clone())
                .with("server.port", target.port)
                .with_some("http.response.status_code", answered.filter(|it| *it > 0))
                .with_some(
                    "error.type",
                    failure.or_else(|| failed.then(|| ctx.status.to_string())),
                )
                .failed_if(failed);
            spans.push(span);
        }
        let route = path
            .as_ref()
            .and_then(|path| self.routes.pattern_of(path, &session.req_header().method));
        let time = (notes.at(notes.began), ended);
        spans.push(request_span(
            session,
            error,
            ctx,
            &trace.place,
            (path, route),
            time,
        ));
        tracer.record(spans);
    }
}

/// Builds the span of the request itself.
fn request_span(
    session: &Session,
    error: Option<&Error>,
    ctx: &Ctx,
    place: &RequestTrace,
    (path, route): (Option<CanonicalPath<'_>>, Option<String>),
    time: (u64, u64),
) -> Span {
    let method = method_of(session);
    let name = match &route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    let server = session.req_header().headers.get(header::HOST);
    let server = server.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let host = server.as_ref().map(|it| {
        let host = it.host();
        host.trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned()
    });
    let failure = failure(ctx, error);
    let fault = ctx.status >= 500 || ctx.status == 0;
    place
        .request(name, time)
        .with("http.request.method", method)
        .with_some("http.route", route)
        // What has no canonical form may hold anything; the access line has it.
        .with_some("url.path", path.map(|path| path.as_str().to_owned()))
        .with("url.scheme", scheme_of(session, ctx))
        .with_some(
            "http.response.status_code",
            (ctx.status > 0).then_some(ctx.status),
        )
        .with_some("client.address", ctx.client.map(|ip| ip.to_string()))
        .with_some("server.address", host)
        .with_some("server.port", server.and_then(|it| it.port_u16()))
        .with_some("network.protocol.version", version_of(session))
        .with_some(
            "error.type",
            failure.or_else(|| fault.then(|| ctx.status.to_string())),
        )
        .with("difygate.request_id", ctx.request_id().to_owned())
        .with_some("difygate.outcome", ctx.outcome.map(Outcome::as_str))
        .failed_if(fault || ctx.outcome == Some(Outcome::Aborted))
}

/// Says what went wrong between the client, the gateway and the upstream: why the gateway refused,
/// or the kind of a failure alone, since pingora's full text may quote what a client sent.
fn failure(ctx: &Ctx, error: Option<&Error>) -> Option<String> {
    match (ctx.outcome, ctx.reason, error) {
        (Some(Outcome::Rejected), Some(reason), _) => Some(reason.to_owned()),
        (Some(Outcome::Aborted), _, Some(error)) => Some(error.etype().as_str().to_owned()),
        (Some(Outcome::Aborted), _, None) => Some("aborted".to_owned()),
        _ => None,
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
