//! Which rule a request falls under, and whether its token passes.

use std::sync::Arc;

use http::header;
use pingora::proxy::Session;

use super::{Ctx, Gateway, framing};
use crate::{
    audit::AuditEvent,
    check::{Hit, Verdict},
    http::{Rejection, Reply},
    route::{BearerRule, CanonicalPath, Decision, LocalEndpoint},
    telemetry::shortened,
    token::{self, BearerToken},
};

/// What becomes of a request.
pub(super) enum Next {
    /// It goes on to the upstream.
    Forward,
    /// The gateway answers.
    Answer(Reply),
    /// A local endpoint answers; its canonical path says under which name, and may hold an id.
    Serve(LocalEndpoint, String),
}

impl Gateway {
    /// Judges a request by its header section.
    pub(super) async fn judge(&self, session: &Session, ctx: &mut Ctx) -> Result<Next, Rejection> {
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
                let authorization = framing::one_authorization(head)?;
                if refuse_user_level && authorization.is_some_and(token::is_user_level) {
                    return Err(Rejection::InvalidToken);
                }
                ctx.backend = Some(Arc::clone(routing.backends.of(upstream)));
                Ok(Next::Forward)
            }
            Decision::BearerOptions(rule) => {
                framing::one_authorization(head)?;
                ctx.guarded = true;
                ctx.backend = Some(Arc::clone(routing.backends.of(&rule.upstream)));
                Ok(Next::Forward)
            }
            Decision::Bearer(rule) => {
                ctx.for_other_origins = true;
                let (kind, hash) = {
                    let value =
                        framing::one_authorization(head)?.ok_or(Rejection::BearerRequired)?;
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

fn options(endpoint: LocalEndpoint) -> Reply {
    Reply::empty(http::StatusCode::OK).with(header::ALLOW, endpoint.allow())
}
