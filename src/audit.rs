//! Audit events: what an auditor asks about later, under `target = "audit"`.
//!
//! No token, hash, code, cookie or secret is ever part of one.

use uuid::Uuid;

use crate::token::TokenKind;

/// Something worth remembering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditEvent<'a> {
    /// A token was revoked because its time is over. Said once, by whoever revoked it.
    TokenExpired {
        /// The token's row.
        token_id: Uuid,
    },
    /// A live token was shown where tokens of its kind are not accepted.
    WrongSurfaceDenied {
        /// The token's row.
        token_id: Uuid,
        /// Its kind.
        kind: TokenKind,
        /// The OAuth client it belongs to, where known.
        client_id: Option<&'a str>,
        /// The request's method.
        method: &'a str,
        /// The canonical path, without the query.
        path: &'a str,
        /// The request's id, as in the access log.
        request_id: &'a str,
    },
}

impl AuditEvent<'_> {
    /// Returns the event's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TokenExpired { .. } => "oauth.token_expired",
            Self::WrongSurfaceDenied { .. } => "openapi.wrong_surface_denied",
        }
    }

    /// Writes the event to the audit stream.
    pub fn emit(&self) {
        let event = self.name();
        match self {
            Self::TokenExpired { token_id } => {
                tracing::info!(target: "audit", event, %token_id, reason = "ttl", "{event}");
            }
            Self::WrongSurfaceDenied {
                token_id,
                kind,
                client_id,
                method,
                path,
                request_id,
            } => {
                tracing::info!(
                    target: "audit",
                    event,
                    %token_id,
                    subject_type = kind.subject_type(),
                    client_id,
                    method,
                    path,
                    request_id,
                    "{event}"
                );
            }
        }
    }
}
