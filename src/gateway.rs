//! The proxy: pingora's phases, each a few lines, calling into the layers below.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::http::ServerSession,
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};

use crate::{
    activity::Activity,
    audit::AuditEvent,
    check::{Hit, TokenChecker, Verdict},
    clock::Clock,
    config::Config,
    current::Current,
    endpoints::Endpoints,
    http::{Malformed, Rejection, Reply, client_ip::TrustedProxies, cors::CorsPolicy},
    jws::Keys,
    listener::BodyRate,
    metrics::{Metrics, Outcome},
    rate_limit::bearer::BearerLimiter,
    route::{BearerRule, CanonicalPath, Decision, LocalEndpoint},
    telemetry::shortened,
    token::{self, BearerToken},
    trace::Tracer,
};

mod access;
mod body;
mod ctx;
mod failure;
pub(crate) mod forward;
pub(crate) mod framing;
mod heads;
mod http1;
mod http2;
mod local;
mod respond;
mod routing;
mod server;
mod traced;
mod upstream;

pub use access::AccessLines;
pub use ctx::{Ctx, RequestId, RequestIds};
pub use heads::Heads;
pub use http2::limits as http2_limits;
pub use routing::Routing;
pub use server::Server;
pub use traced::Traced;
pub use upstream::{Backend, Backends, reach};

/// The gateway's settings that requests look at.
#[derive(Clone, Debug)]
pub struct Settings {
    tokens_enabled: bool,
    max_header_bytes: usize,
    /// Whole seconds, as pingora counts them.
    idle_seconds: u64,
    body_rate: Option<BodyRate>,
    forward: crate::config::ForwardConfig,
    cors: CorsPolicy,
}

impl Settings {
    /// Takes what is needed from the configuration.
    pub fn from_config(config: &Config) -> Self {
        Self {
            tokens_enabled: config.tokens.enabled,
            max_header_bytes: config.server.max_header_bytes,
            idle_seconds: config.server.idle_timeout.as_secs().max(1),
            body_rate: config.server.min_body_rate.map(|bytes| BodyRate {
                bytes,
                slack: config.server.request_header_timeout,
            }),
            forward: config.forward.clone(),
            cors: CorsPolicy::new(config.server.cors_allow_origins.clone()),
        }
    }
}

/// The proxy's collaborators.
#[derive(Debug)]
pub struct Gateway {
    /// Settings.
    pub settings: Settings,
    /// Which rule applies, and where to.
    pub routing: Arc<Current<Routing>>,
    /// Who may pass.
    pub checker: Arc<TokenChecker>,
    /// What is answered here.
    pub endpoints: Endpoints,
    /// How often one token may ask.
    pub bearer_limit: Arc<BearerLimiter>,
    /// When tokens were last used.
    pub activity: Arc<Activity>,
    /// Whose word is taken.
    pub trusted_proxies: TrustedProxies,
    /// What identities are signed with.
    pub keys: Arc<Current<Keys>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which requests are logged.
    pub access: AccessLines,
    /// What requests are called.
    pub request_ids: Arc<RequestIds>,
    /// Who traces them; `None`: nobody, and what clients say of traces passes untouched.
    pub tracer: Option<Arc<Tracer>>,
}

/// A gateway that several proxies share, one for each thread.
#[derive(Clone, Debug)]
pub struct SharedGateway(pub Arc<Gateway>);

impl std::ops::Deref for SharedGateway {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.0
    }
}

/// What becomes of a request.
enum Next {
    /// It goes on to the upstream.
    Forward,
    /// The gateway answers.
    Answer(Reply),
    /// A local endpoint answers; its canonical path says under which name, and may hold an id.
    Serve(LocalEndpoint, String),
}

impl Gateway {
    /// Judges a request by its header section.
    async fn judge(&self, session: &Session, ctx: &mut Ctx) -> Result<Next, Rejection> {
        framing::check(session, self.settings.max_header_bytes)?;
        let head = session.req_header();
        let path = CanonicalPath::parse(head.raw_path())?;
        // The request goes on with this one, whatever becomes of the rules.
        let routing = self.routing.borrow();
        match routing.table.decide(&path, &head.method)? {
            // What does not exist at this moment has no methods either.
            Decision::LocalOptions(endpoint) | Decision::MethodNotAllowed(endpoint)
                if !self.endpoints.serves(endpoint) =>
            {
                ctx.local = true;
                Err(Rejection::NotFound)
            }
            Decision::Local(endpoint) => {
                ctx.local = true;
                ctx.for_other_origins = endpoint.is_for_other_origins();
                Ok(Next::Serve(endpoint, path.as_str().to_owned()))
            }
            Decision::LocalOptions(endpoint) => {
                ctx.local = true;
                ctx.for_other_origins = endpoint.is_for_other_origins();
                ctx.preflight = Some(endpoint.allow());
                Ok(Next::Answer(options(endpoint)))
            }
            Decision::MethodNotAllowed(endpoint) => {
                ctx.local = true;
                Err(Rejection::MethodNotAllowed(endpoint))
            }
            Decision::Deny => Err(Rejection::NotFound),
            Decision::Pass {
                upstream,
                refuse_user_level,
            } => {
                let authorization = one_authorization(head)?;
                if refuse_user_level && authorization.is_some_and(token::is_user_level) {
                    return Err(Rejection::InvalidToken);
                }
                ctx.backend = Some(Arc::clone(routing.backends.of(upstream)));
                Ok(Next::Forward)
            }
            Decision::Bearer(rule) => {
                ctx.for_other_origins = true;
                let (kind, hash) = {
                    let value = one_authorization(head)?.ok_or(Rejection::BearerRequired)?;
                    let token = BearerToken::from_authorization(value)?;
                    (token.kind(), token.hash())
                };
                if !self.settings.tokens_enabled {
                    return Err(Rejection::BearerDisabled);
                }
                let entry = match self.checker.look_up(&hash) {
                    Hit::Live(entry) => entry,
                    Hit::Refused => return Err(Rejection::InvalidToken),
                    // Boxed, like all that is rare: it would make every request's future larger.
                    Hit::Miss => match Box::pin(self.resolve(ctx, kind, hash)).await? {
                        Verdict::Live(entry) => entry,
                        Verdict::Refused => return Err(Rejection::InvalidToken),
                    },
                };
                if entry.context.subject.kind() != kind {
                    return Err(Rejection::InvalidToken);
                }
                // What is refused below counts as well, as it does with Dify.
                self.bearer_limit.admit(entry.context.token_id).await?;
                if let Err(refusal) = authorize(rule, kind) {
                    if refusal == Rejection::WrongSurface {
                        AuditEvent::WrongSurfaceDenied {
                            token_id: entry.context.token_id,
                            kind,
                            client_id: entry.context.client_id.as_deref(),
                            method: shortened(head.method.as_str()),
                            path: shortened(path.as_str()),
                            request_id: ctx.request_id(),
                        }
                        .emit();
                    }
                    return Err(refusal);
                }
                self.activity.note(&entry);
                ctx.principal = Some(entry);
                ctx.guarded = true;
                ctx.backend = Some(Arc::clone(routing.backends.of(&rule.upstream)));
                Ok(Next::Forward)
            }
        }
    }
}

/// Checks a token's kind and scope against a rule; done at every request, cached or not.
fn authorize(rule: &BearerRule, kind: token::TokenKind) -> Result<(), Rejection> {
    if !rule.accept.contains(&kind) {
        return Err(Rejection::WrongSurface);
    }
    match rule.scope {
        Some(scope) if !kind.permits(scope) => Err(Rejection::InsufficientScope(scope)),
        _ => Ok(()),
    }
}

/// Returns the one `Authorization` value there may be.
fn one_authorization(head: &RequestHeader) -> Result<Option<&[u8]>, Rejection> {
    let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Rejection::Malformed(Malformed::SeveralAuthorization));
    }
    Ok(first.map(header::HeaderValue::as_bytes))
}

fn options(endpoint: LocalEndpoint) -> Reply {
    Reply::empty(http::StatusCode::OK).with(header::ALLOW, endpoint.allow())
}

#[async_trait]
impl ProxyHttp for SharedGateway {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::begin(
            self.request_ids.next(),
            self.clock.monotonic(),
            &self.metrics,
        )
    }

    /// pingora would compress responses on request; here they pass as they are.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        http1::begin(session);
        keep_alive(session, self.settings.idle_seconds);
        http2::settle(session, Duration::from_secs(self.settings.idle_seconds));
        ctx.client = self.identify(session, ctx);
        self.begin_trace(session, ctx);
        let answered = match self.judge(session, ctx).await {
            Ok(Next::Forward) => {
                forward::disarm_connection(session);
                return Ok(false);
            }
            Ok(Next::Answer(reply)) => Ok(reply),
            Ok(Next::Serve(endpoint, path)) => {
                // Boxed: most requests are forwarded.
                Box::pin(self.serve(session, ctx, endpoint, &path)).await
            }
            Err(rejection) => Err(rejection),
        };
        let reply = match answered {
            Ok(reply) => {
                ctx.outcome = Some(Outcome::Local);
                reply
            }
            Err(rejection) => {
                ctx.reject(&rejection, &self.metrics);
                if rejection.closes_connection() {
                    session.set_keepalive(None);
                }
                rejection.reply()
            }
        };
        let reply = if ctx.for_other_origins {
            let headers = &session.req_header().headers;
            self.settings.cors.apply(reply, headers, ctx.preflight)
        } else {
            reply
        };
        Box::pin(respond::send(session, ctx, reply)).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        let backend = ctx.backend.as_ref().ok_or_else(|| {
            Error::explain(
                ErrorType::InternalError,
                "a forwarded request has a backend",
            )
        })?;
        if let Some(trace) = &mut ctx.trace {
            trace.calls_upstream(&*self.clock);
        }
        // Upgrades belong to the pass rows; a bearer row speaks plain HTTP.
        backend.peer(ctx.guarded)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        self.watch_body(session);
        self.rewrite(session, upstream, ctx)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        _: &mut Option<Bytes>,
        is_over: bool,
        _: &mut Ctx,
    ) -> Result<()> {
        if is_over {
            body::is_over(session);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Ctx,
    ) -> Result<()> {
        http1::settle(session, response)
    }

    /// Nothing has been sent yet: another address of the same upstream may be tried with any
    /// request.
    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Ctx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        ctx.failed_connects += 1;
        if let Some(backend) = &ctx.backend {
            backend.suspect();
            error.set_retry(ctx.failed_connects < backend.addresses());
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Ctx,
    ) -> FailToProxy {
        let rejection = failure::rejection_of(error).filter(|_| respond::begun(session).is_none());
        let Some(rejection) = rejection else {
            ctx.outcome = Some(Outcome::Aborted);
            return FailToProxy {
                error_code: 0,
                can_reuse_downstream: false,
            };
        };
        ctx.reject(&rejection, &self.metrics);
        session.set_keepalive(None);
        let reply = rejection.reply();
        let error_code = reply.status().as_u16();
        if let Err(error) = respond::send(session, ctx, reply).await {
            tracing::debug!(%error, "the client was gone before it could be answered");
        }
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
        let took = self.clock.monotonic().since(ctx.began);
        let written = respond::begun(session);
        ctx.status = written.map_or(0, |response| response.status.as_u16());
        let outcome = ctx.outcome.unwrap_or(match written {
            Some(_) => Outcome::Forwarded,
            None => Outcome::Aborted,
        });
        ctx.outcome = Some(outcome);
        self.metrics.request(outcome, ctx.status);
        self.metrics.request_duration.observe(took.as_secs_f64());
        self.finish_trace(session, error, ctx);
        access::log(&self.access, session, error, ctx, took);
        http1::end(session);
    }

    /// Failures are logged once, in the access line, by [`ProxyHttp::logging`].
    fn suppress_error_log(&self, _: &Session, _: &Ctx, _: &Error) -> bool {
        true
    }

    /// The query stays out of every log: codes and assertions travel in it.
    fn request_summary(&self, session: &Session, ctx: &Ctx) -> String {
        format!("{} {}", session.req_header().method, ctx.request_id())
    }
}

/// Gives an idle connection an end.
///
/// pingora would keep it for ever (`Some(0)`), once a request has been read. Where it has switched
/// keep-alive off, by `None`, it has a reason that must stand.
fn keep_alive(session: &mut ServerSession, idle_seconds: u64) {
    if session.get_keepalive() == Some(0) {
        session.set_keepalive(Some(idle_seconds));
    }
}
