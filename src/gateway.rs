//! The proxy: pingora's phases, each a few lines, calling into the layers below.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
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
    check::TokenChecker,
    clock::Clock,
    config::Config,
    current::Current,
    endpoints::Endpoints,
    http::{client_ip::TrustedProxies, cors::CorsPolicy},
    jws::Keys,
    listener::BodyRate,
    metrics::{Metrics, Outcome},
    rate_limit::bearer::BearerLimiter,
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
mod judge;
mod local;
mod respond;
mod response;
mod routing;
mod server;
mod streams;
mod traced;
mod upstream;
mod websocket;

use self::{judge::Next, websocket::Handshake};

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
    streams: Arc<streams::ExtraStreams>,
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
            streams: streams::ExtraStreams::new(config.server.max_extra_streams),
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
        let judged = self.judge(session, ctx).await;
        let placed = judged.and_then(|next| self.placed(session, ctx, next));
        let answered = match placed {
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

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
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
        ctx.handshake = Handshake::of(session.req_header()).filter(|_| !ctx.guarded);
        backend.peer(upstream::Terms {
            may_upgrade: ctx.handshake.is_some(),
            is_second_try: ctx.tried_again,
        })
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
        ctx: &mut Ctx,
    ) -> Result<()> {
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            websocket::check(ctx.handshake.as_ref(), response)?;
            body::is_upgraded(session);
        }
        response::receive(response)?;
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

    /// A connection that was kept may have been given up by the upstream just as the request was
    /// sent. What may be said twice (RFC 9110 section 9.2.2) is said once more, on a connection of its
    /// own; pingora would go on through all that it keeps.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Ctx,
        was_kept: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("Peer: {peer}"));
        let is_whole = !session.as_ref().retry_buffer_truncated();
        if ctx.tried_again || !is_whole || !session.req_header().method.is_idempotent() {
            error.set_retry(false);
        } else {
            error.retry.decide_reuse(was_kept);
            ctx.tried_again = error.retry();
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
