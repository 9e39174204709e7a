//! Audit events: what an auditor asks about later, under `target = "audit"`.
//!
//! No token, hash, code, cookie or secret is ever part of one.

use uuid::Uuid;

use crate::{clock::Timestamp, telemetry, token::TokenKind};

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
        /// The request's method, shortened.
        method: &'a str,
        /// The canonical path, without the query, shortened.
        path: &'a str,
        /// The request's id, as in the access log.
        request_id: &'a str,
    },
    /// A person approved a login.
    DeviceFlowApproved {
        /// The token's row.
        token_id: Uuid,
        /// The token's kind, which says its scopes.
        kind: TokenKind,
        /// Who approved.
        subject_email: &'a str,
        /// Their account, where they have one.
        account_id: Option<Uuid>,
        /// The workspace they were in, where they have an account.
        tenant_id: Option<Uuid>,
        /// The OAuth client.
        client_id: &'a str,
        /// What the device calls itself.
        device_label: &'a str,
        /// Whether the token took an older one's place.
        rotated: bool,
        /// When the token ends.
        expires_at: Timestamp,
        /// Whether it is known to have come to pass.
        outcome: Outcome,
    },
    /// A person denied a login.
    DeviceFlowDenied {
        /// The OAuth client.
        client_id: &'a str,
        /// What the device calls itself.
        device_label: &'a str,
        /// Who denied.
        subject_email: &'a str,
        /// Whether it is known to have come to pass.
        outcome: Outcome,
    },
    /// A person whom an identity provider has verified was turned away.
    DeviceFlowRejected {
        /// Why.
        reason: Rejected,
        /// Who.
        subject_email: &'a str,
        /// The identity provider.
        subject_issuer: &'a str,
        /// The OAuth client.
        client_id: &'a str,
        /// What the device calls itself.
        device_label: &'a str,
    },
    /// A token was fetched from another address than the one that the login began at.
    CrossIpPoll {
        /// The token's row.
        token_id: Uuid,
        /// The OAuth client.
        client_id: &'a str,
        /// Where the login began.
        created_ip: &'a str,
        /// Where the token was fetched.
        poll_ip: &'a str,
    },
}

/// What is known of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Done,
    /// It was sent, and no answer came: it may hold.
    Unknown,
}

impl Outcome {
    /// Returns the field's value; there is none where all is as it should be.
    const fn as_field(self) -> Option<&'static str> {
        match self {
            Self::Done => None,
            Self::Unknown => Some("unknown"),
        }
    }
}

/// Why a verified person was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The e-mail belongs to a Dify account: that person signs in at the console.
    BelongsToAccount,
}

impl Rejected {
    /// Returns the reason on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BelongsToAccount => "email_belongs_to_dify_account",
        }
    }
}

impl AuditEvent<'_> {
    /// Returns the event's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TokenExpired { .. } => "oauth.token_expired",
            Self::WrongSurfaceDenied { .. } => "openapi.wrong_surface_denied",
            Self::DeviceFlowApproved { .. } => "oauth.device_flow_approved",
            Self::DeviceFlowDenied { .. } => "oauth.device_flow_denied",
            Self::DeviceFlowRejected { .. } => "oauth.device_flow_rejected",
            Self::CrossIpPoll { .. } => "oauth.device_code_cross_ip_poll",
        }
    }

    /// Emits the event, for the token check: it waits for nothing. Where too many events wait to be
    /// written, this one is lost, and counted.
    pub fn emit(&self) {
        if telemetry::take_audit_place() {
            self.write();
        }
    }

    /// Emits the event, for an endpoint: those are rare, and wait for a place, two seconds at most,
    /// before the event is lost, and counted.
    pub async fn emit_patiently(&self) {
        if telemetry::wait_for_audit_place().await {
            self.write();
        }
    }

    /// Writes the event to the audit stream.
    #[expect(
        clippy::too_many_lines,
        reason = "one table of what each event says is easier to check than parts of one"
    )]
    fn write(&self) {
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
            Self::DeviceFlowApproved {
                token_id,
                kind,
                subject_email,
                account_id,
                tenant_id,
                client_id,
                device_label,
                rotated,
                expires_at,
                outcome,
            } => {
                tracing::info!(
                    target: "audit",
                    event,
                    %token_id,
                    subject_type = kind.subject_type(),
                    subject_email,
                    account_id = account_id.map(tracing::field::display),
                    tenant_id = tenant_id.map(tracing::field::display),
                    client_id,
                    device_label,
                    scopes = kind.scopes().iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "),
                    rotated,
                    expires_at = expires_at.to_iso8601(),
                    outcome = outcome.as_field(),
                    "{event}"
                );
            }
            Self::DeviceFlowDenied {
                client_id,
                device_label,
                subject_email,
                outcome,
            } => {
                tracing::info!(
                    target: "audit",
                    event,
                    client_id,
                    device_label,
                    subject_email,
                    outcome = outcome.as_field(),
                    "{event}"
                );
            }
            Self::DeviceFlowRejected {
                reason,
                subject_email,
                subject_issuer,
                client_id,
                device_label,
            } => {
                tracing::info!(
                    target: "audit",
                    event,
                    reason = reason.as_str(),
                    subject_type = TokenKind::ExternalSso.subject_type(),
                    subject_email,
                    subject_issuer,
                    client_id,
                    device_label,
                    "{event}"
                );
            }
            Self::CrossIpPoll {
                token_id,
                client_id,
                created_ip,
                poll_ip,
            } => {
                tracing::info!(
                    target: "audit",
                    event,
                    %token_id,
                    client_id,
                    created_ip,
                    poll_ip,
                    "{event}"
                );
            }
        }
    }
}
