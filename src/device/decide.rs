//! Approving and denying: a person says what becomes of a login.

use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Approval, DeviceCode, DeviceFlow, FlowStatus};
use crate::{
    audit::AuditEvent, check::entry::Subject, clock::Timestamp, console::ConsoleSession,
    mint::NotMinted, store::StoreError, token::TokenKind,
};

/// Least time that an approved login stays for its device to fetch.
const APPROVED_LIFE: Duration = Duration::from_secs(60);

/// Least time that a denied login stays for its device to hear of.
const DENIED_LIFE: Duration = Duration::from_secs(1);

/// Life of the guard of an approval: longer than minting may take.
const APPROVING_LIFE: Duration = Duration::from_secs(10);

/// Why a login was not decided.
#[derive(Debug, thiserror::Error)]
pub enum NotDecided {
    /// There is no such login.
    #[error("expired or unknown")]
    Unknown,
    /// It has been decided.
    #[error("already resolved")]
    Resolved,
    /// It is being approved.
    #[error("approve in progress")]
    InProgress,
    /// It vanished, or somebody else decided it at the same moment.
    #[error("state lost")]
    Lost,
    /// The mint has no such entry.
    #[error("mint policy violation")]
    Policy,
    /// A store could not say.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

impl DeviceFlow {
    /// Approves a login for the person of a console session.
    ///
    /// The row is written before the state flips: a process that dies in between leaves a session
    /// that its owner sees and can revoke, and a login that can be approved again.
    ///
    /// # Errors
    ///
    /// [`NotDecided`].
    pub async fn approve(
        &self,
        user_code: &str,
        person: &ConsoleSession,
    ) -> Result<(), NotDecided> {
        let (code, _, state) = self.find(user_code).await?.ok_or(NotDecided::Unknown)?;
        if state.status != FlowStatus::Pending {
            return Err(NotDecided::Resolved);
        }
        let owner = self.nonce();
        let guarded = self
            .flows
            .begin_approving(&code, &owner, APPROVING_LIFE)
            .await?;
        if !guarded {
            return Err(NotDecided::InProgress);
        }
        let outcome = self.approve_guarded(&code, person).await;
        // Left to its own end where it cannot be given back.
        if let Err(error) = self.flows.end_approving(&code, &owner).await {
            tracing::debug!(%error, "an approval's guard is left to time out");
        }
        outcome
    }

    async fn approve_guarded(
        &self,
        code: &DeviceCode,
        person: &ConsoleSession,
    ) -> Result<(), NotDecided> {
        // Again, now that nobody else can approve: a double click must not rotate the token that
        // the first click has just made.
        let (value, mut state) = self.read(code).await?.ok_or(NotDecided::Lost)?;
        if state.status != FlowStatus::Pending {
            return Err(NotDecided::Resolved);
        }
        let subject = Subject::Account {
            id: person.account,
            email: person.email.as_str().into(),
        };
        let kind = TokenKind::Account;
        let minted = self
            .mint
            .mint(kind, &subject, &state.client_id, &state.device_label)
            .await
            .map_err(|error| match error {
                NotMinted::Policy => NotDecided::Policy,
                NotMinted::Unavailable(error) => NotDecided::Unavailable(error),
            })?;
        let payload = account_payload(minted.token.expose(), minted.id, minted.expires_at, person);
        state.status = FlowStatus::Approved(Box::new(Approval {
            subject_email: person.email.clone(),
            account_id: Some(person.account),
            subject_issuer: Some(subject.issuer().to_owned()),
            token_id: minted.id,
            poll_payload: payload,
        }));
        let ttl = value.remaining.max(APPROVED_LIFE);
        let flipped = self
            .flows
            .decide(code, &value.bytes, &state.to_bytes(), ttl)
            .await?;
        if !flipped {
            return Err(NotDecided::Lost);
        }
        AuditEvent::DeviceFlowApproved {
            token_id: minted.id,
            kind,
            subject_email: &person.email,
            account_id: Some(person.account),
            tenant_id: Some(person.tenant),
            client_id: &state.client_id,
            device_label: &state.device_label,
            rotated: minted.rotated,
            expires_at: minted.expires_at,
        }
        .emit();
        Ok(())
    }

    /// Denies a login.
    ///
    /// # Errors
    ///
    /// [`NotDecided`].
    pub async fn deny(&self, user_code: &str, person: &ConsoleSession) -> Result<(), NotDecided> {
        let (code, value, mut state) = self.find(user_code).await?.ok_or(NotDecided::Unknown)?;
        if state.status != FlowStatus::Pending {
            return Err(NotDecided::Resolved);
        }
        state.status = FlowStatus::Denied;
        let ttl = value.remaining.max(DENIED_LIFE);
        let flipped = self
            .flows
            .decide(&code, &value.bytes, &state.to_bytes(), ttl)
            .await?;
        if !flipped {
            // Somebody approved it at the same moment, or its time is over.
            return Err(match self.read(&code).await? {
                Some(_) => NotDecided::Resolved,
                None => NotDecided::Lost,
            });
        }
        AuditEvent::DeviceFlowDenied {
            client_id: &state.client_id,
            device_label: &state.device_label,
            subject_email: &person.email,
        }
        .emit();
        Ok(())
    }

    fn nonce(&self) -> String {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        Uuid::from_bytes(bytes).simple().to_string()
    }
}

/// What the device will get, in Dify's order.
fn account_payload(
    token: &str,
    token_id: Uuid,
    expires_at: Timestamp,
    person: &ConsoleSession,
) -> Map<String, Value> {
    let workspaces: Vec<Value> = person
        .workspaces
        .iter()
        .map(
            |workspace| json!({"id": workspace.id, "name": workspace.name, "role": workspace.role}),
        )
        .collect();
    let members = [
        ("token", json!(token)),
        ("expires_at", json!(expires_at.to_iso8601())),
        ("subject_type", json!(TokenKind::Account.subject_type())),
        (
            "account",
            json!({"id": person.account, "email": person.email, "name": person.name}),
        ),
        ("workspaces", Value::Array(workspaces)),
        ("default_workspace_id", json!(person.tenant)),
        ("token_id", json!(token_id)),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
