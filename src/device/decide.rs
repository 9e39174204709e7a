//! Approving and denying: a person says what becomes of a login.

use std::time::Duration;

use uuid::Uuid;

use super::{Approval, Approver, DeviceCode, DeviceFlow, FlowState, FlowStatus, UserCode};
use crate::{
    audit::{AuditEvent, Outcome},
    console::ConsoleSession,
    mint::NotMinted,
    store::StoreError,
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
        self.approve_by(&Approver::Account(person), &code, &state)
            .await
    }

    /// Approves a login for a person whom an identity provider has verified; who that is, and that
    /// they may, is the caller's to know. Like [`DeviceFlow::approve`] in all else.
    ///
    /// # Errors
    ///
    /// [`NotDecided`].
    pub async fn approve_external(
        &self,
        user_code: &UserCode,
        email: &str,
        issuer: &str,
    ) -> Result<(), NotDecided> {
        let found = self.find_code(user_code).await?;
        let (code, _, state) = found.ok_or(NotDecided::Lost)?;
        self.approve_by(&Approver::External { email, issuer }, &code, &state)
            .await
    }

    async fn approve_by(
        &self,
        approver: &Approver<'_>,
        code: &DeviceCode,
        state: &FlowState,
    ) -> Result<(), NotDecided> {
        if state.status != FlowStatus::Pending {
            return Err(NotDecided::Resolved);
        }
        let owner = self.nonce();
        let guarded = self
            .flows
            .begin_approving(code, &owner, APPROVING_LIFE)
            .await?;
        if !guarded {
            return Err(NotDecided::InProgress);
        }
        let outcome = self.approve_guarded(approver, code).await;
        // Left to its own end where it cannot be given back.
        if let Err(error) = self.flows.end_approving(code, &owner).await {
            tracing::debug!(%error, "an approval's guard is left to time out");
        }
        outcome
    }

    async fn approve_guarded(
        &self,
        approver: &Approver<'_>,
        code: &DeviceCode,
    ) -> Result<(), NotDecided> {
        // Again, now that nobody else can approve: a double click must not rotate the token that
        // the first click has just made.
        let (value, mut state) = self.read(code).await?.ok_or(NotDecided::Lost)?;
        if state.status != FlowStatus::Pending {
            return Err(NotDecided::Resolved);
        }
        let subject = approver.subject();
        let kind = subject.kind();
        let minted = self
            .mint
            .mint(kind, &subject, &state.client_id, &state.device_label)
            .await
            .map_err(|error| match error {
                NotMinted::Policy => NotDecided::Policy,
                NotMinted::Unavailable(error) => NotDecided::Unavailable(error),
            })?;
        state.status = FlowStatus::Approved(Box::new(Approval {
            subject_email: subject.email().to_owned(),
            account_id: subject.account_id(),
            subject_issuer: Some(subject.issuer().to_owned()),
            token_id: minted.id,
            poll_payload: approver.poll_payload(&minted),
        }));
        let ttl = value.remaining.max(APPROVED_LIFE);
        let flipped = self
            .flows
            .decide(code, &value.bytes, &state.to_bytes(), ttl)
            .await;
        let Some(outcome) = outcome_of(&flipped) else {
            return Err(NotDecided::Lost);
        };
        AuditEvent::DeviceFlowApproved {
            token_id: minted.id,
            kind,
            subject_email: subject.email(),
            account_id: subject.account_id(),
            tenant_id: approver.tenant(),
            client_id: &state.client_id,
            device_label: &state.device_label,
            rotated: minted.rotated,
            expires_at: minted.expires_at,
            outcome,
        }
        .emit_patiently()
        .await;
        flipped.map(drop).map_err(NotDecided::Unavailable)
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
            .await;
        let Some(outcome) = outcome_of(&flipped) else {
            // Somebody approved it at the same moment, or its time is over.
            return Err(match self.read(&code).await? {
                Some(_) => NotDecided::Resolved,
                None => NotDecided::Lost,
            });
        };
        AuditEvent::DeviceFlowDenied {
            client_id: &state.client_id,
            device_label: &state.device_label,
            subject_email: &person.email,
            outcome,
        }
        .emit_patiently()
        .await;
        flipped.map(drop).map_err(NotDecided::Unavailable)
    }

    fn nonce(&self) -> String {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        Uuid::from_bytes(bytes).simple().to_string()
    }
}

/// What an auditor is told of a decision that was sent; nothing where it did not come to pass. One
/// without an answer may have: it has its line, whatever its person is told.
const fn outcome_of(flipped: &Result<bool, StoreError>) -> Option<Outcome> {
    match flipped {
        Ok(true) => Some(Outcome::Done),
        Ok(false) => None,
        Err(_) => Some(Outcome::Unknown),
    }
}
