//! The enterprise branch: a person without a Dify account, verified by the company's identity
//! provider, approves a login (`contract/sso.md`).
//!
//! Three envelopes, each used once, carry the person from step to step: the state to the
//! enterprise service, its assertion back, and the grant in the browser's cookie. Nothing is kept
//! here between the steps but the nonces of what has been used.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use url::Url;

use crate::{
    audit::{AuditEvent, Rejected},
    clock::Clock,
    current::Current,
    device::{DeviceFlow, FlowStatus, LOGIN_LIFE, NotDecided, UserCode},
    entropy::Entropy,
    jws::{ApprovalGrant, Jws, Keys, NotSigned, Refused, SsoState, SubjectAssertion, Verified},
    licence::{Licence, LicenceStatus},
    store::{Directory, Nonce, Nonces, StoreError},
};

/// Life of a used nonce: twice that of what it guards, so that clocks that differ open no window
/// for a replay. That of an assertion that holds for longer is longer, up to the life of a login, of
/// which nothing is left then.
const NONCE_LIFE: Duration = Duration::from_secs(600);

/// Random bytes in a nonce and in a CSRF token.
const NONCE_BYTES: usize = 16;

/// What a state is for.
const INTENT: &str = "device_flow";

/// Dify's enterprise service.
///
/// Every call has a deadline of its own; dropping its future gives up on the answer.
#[async_trait]
pub trait EnterpriseService: Send + Sync + fmt::Debug {
    /// Begins a sign-in; returns where the browser goes next, `None` where the service names no
    /// web page.
    ///
    /// # Errors
    ///
    /// When the service gives no answer, or not this one.
    async fn initiate(&self, state: &Jws<SsoState>) -> Result<Option<Url>, EnterpriseError>;

    /// Asks for the licence.
    ///
    /// # Errors
    ///
    /// When the service gives no answer, or not this one.
    async fn licence(&self) -> Result<LicenceStatus, EnterpriseError>;
}

/// Why the enterprise service did not do what it was asked to do.
#[derive(Debug, thiserror::Error)]
#[error("the enterprise service failed")]
pub struct EnterpriseError {
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl EnterpriseError {
    /// Wraps what the client met.
    pub fn new(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            source: Box::new(source),
        }
    }
}

/// Why a sign-in did not begin.
#[derive(Debug, thiserror::Error)]
pub enum NotInitiated {
    /// The code is unknown, or decided.
    #[error("no pending login")]
    NotPending,
    /// The enterprise service failed.
    #[error(transparent)]
    Enterprise(#[from] EnterpriseError),
    /// The enterprise service names no page to go to.
    #[error("the enterprise service names no page")]
    NoUrl,
    /// A store could not say.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
    /// A mistake of ours.
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
}

/// What an assertion leads to.
#[derive(Debug)]
pub enum Completed {
    /// The browser may approve.
    Granted(Jws<ApprovalGrant>),
    /// The e-mail belongs to a Dify account: that person signs in at the console.
    BelongsToAccount,
}

/// Why an assertion leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum NotCompleted {
    /// It is none.
    #[error("the assertion is refused: {0}")]
    Refused(#[from] Refused),
    /// It has been used.
    #[error("the assertion has been used")]
    Replayed,
    /// The login is unknown, or decided.
    #[error("no pending login")]
    NotPending,
    /// A store could not say.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
    /// A mistake of ours.
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
}

/// Why a grant approved nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotApproved {
    /// The e-mail belongs to a Dify account by now.
    #[error("the e-mail belongs to an account")]
    BelongsToAccount,
    /// The grant has been used.
    #[error("the grant has been used")]
    Consumed,
    /// The login could not be approved.
    #[error(transparent)]
    NotDecided(#[from] NotDecided),
}

impl From<StoreError> for NotApproved {
    fn from(error: StoreError) -> Self {
        Self::NotDecided(error.into())
    }
}

/// The branch.
#[derive(Debug)]
pub struct Sso {
    /// The logins.
    pub device: Arc<DeviceFlow>,
    /// Who has an account.
    pub directory: Arc<dyn Directory>,
    /// What has been used.
    pub nonces: Arc<dyn Nonces>,
    /// Who sends people to their identity provider.
    pub enterprise: Arc<dyn EnterpriseService>,
    /// Whether the branch exists at all.
    pub licence: Arc<Licence>,
    /// What envelopes are signed with.
    pub keys: Arc<Current<Keys>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where nonces come from.
    pub entropy: Arc<dyn Entropy>,
    /// Who grants: the console's API.
    pub issuer: String,
}

impl Sso {
    /// Begins a sign-in for a login; returns where the browser goes.
    ///
    /// # Errors
    ///
    /// [`NotInitiated`]; nothing is stored either way.
    pub async fn initiate(&self, typed: &str, callback: &str) -> Result<Url, NotInitiated> {
        let login = self.device.login_typed(typed).await?;
        let login = login.filter(|login| login.status == FlowStatus::Pending);
        let login = login.ok_or(NotInitiated::NotPending)?;
        let state = SsoState {
            redirect_url: String::new(),
            app_code: String::new(),
            intent: INTENT.to_owned(),
            user_code: login.user_code.to_text(),
            nonce: self.nonce(),
            return_to: String::new(),
            idp_callback_url: callback.to_owned(),
        };
        let state = self.keys.get().envelopes.sign(&state, self.clock.now())?;
        let url = self.enterprise.initiate(&state).await?;
        url.ok_or(NotInitiated::NoUrl)
    }

    /// Takes an assertion, once; returns the grant that the browser gets for it.
    ///
    /// # Errors
    ///
    /// [`NotCompleted`]. The assertion is used up as soon as its signature holds.
    pub async fn complete(&self, assertion: &str) -> Result<Completed, NotCompleted> {
        let assertion = Jws::<SubjectAssertion>::presented(assertion);
        let keys = self.keys.get();
        let now = self.clock.now();
        let verified = keys.envelopes.verify(&assertion, now)?;
        let life = now.until(verified.expires_at);
        let person = verified.claims;
        let nonce = Nonce::Assertion(person.nonce);
        let life = life.clamp(NONCE_LIFE, LOGIN_LIFE);
        if !self.nonces.claim(&nonce, life).await? {
            return Err(NotCompleted::Replayed);
        }
        let user_code = UserCode::parse(&person.user_code).ok_or(NotCompleted::NotPending)?;
        let login = self.device.login_of(&user_code).await?;
        let login = login.filter(|login| login.status == FlowStatus::Pending);
        let login = login.ok_or(NotCompleted::NotPending)?;
        if self.directory.has_active_account(&person.email).await? {
            AuditEvent::DeviceFlowRejected {
                reason: Rejected::BelongsToAccount,
                subject_email: &person.email,
                subject_issuer: &person.issuer,
                client_id: &login.client_id,
                device_label: &login.device_label,
            }
            .emit_patiently()
            .await;
            return Ok(Completed::BelongsToAccount);
        }
        let grant = ApprovalGrant {
            iss: self.issuer.clone(),
            subject_email: person.email,
            subject_issuer: person.issuer,
            user_code: user_code.to_text(),
            nonce: self.nonce(),
            csrf_token: self.nonce(),
        };
        let grant = self.keys.get().envelopes.sign(&grant, self.clock.now())?;
        Ok(Completed::Granted(grant))
    }

    /// Reads a grant; it is not used up by that.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn read_grant(&self, cookie: &str) -> Result<Verified<ApprovalGrant>, Refused> {
        let cookie = Jws::presented(cookie);
        self.keys.get().envelopes.verify(&cookie, self.clock.now())
    }

    /// Approves the login of a grant, once.
    ///
    /// # Errors
    ///
    /// [`NotApproved`], in the order of `contract/sso.md`. The grant is used up only where the
    /// login could have been approved.
    pub async fn approve(&self, grant: &ApprovalGrant) -> Result<(), NotApproved> {
        let user_code = UserCode::parse(&grant.user_code).ok_or(NotDecided::Unknown)?;
        let login = self.device.login_of(&user_code).await?;
        let login = login.ok_or(NotDecided::Unknown)?;
        if login.status != FlowStatus::Pending {
            return Err(NotDecided::Resolved.into());
        }
        // They may have got an account since the assertion.
        if self
            .directory
            .has_active_account(&grant.subject_email)
            .await?
        {
            AuditEvent::DeviceFlowRejected {
                reason: Rejected::BelongsToAccount,
                subject_email: &grant.subject_email,
                subject_issuer: &grant.subject_issuer,
                client_id: &login.client_id,
                device_label: &login.device_label,
            }
            .emit_patiently()
            .await;
            return Err(NotApproved::BelongsToAccount);
        }
        let nonce = Nonce::Grant(grant.nonce.clone());
        if !self.nonces.claim(&nonce, NONCE_LIFE).await? {
            return Err(NotApproved::Consumed);
        }
        let approved =
            self.device
                .approve_external(&user_code, &grant.subject_email, &grant.subject_issuer);
        Ok(approved.await?)
    }

    fn nonce(&self) -> String {
        let mut bytes = [0; NONCE_BYTES];
        self.entropy.fill(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}
