//! The device flow (RFC 8628): begin, poll, look up, approve, deny (`contract/device-flow.md`).
//!
//! Every transition is one atomic step on one key; of many who try, one succeeds:
//! pending → approved | denied by compare-and-set, approved | denied → consumed by
//! compare-and-delete.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};

use crate::{
    audit::AuditEvent,
    clock::Clock,
    complaints::Complaints,
    config::RateLimit,
    current::Current,
    entropy::Entropy,
    metrics::Metrics,
    mint::Mint,
    rate_limit::RateLimiter,
    store::{FlowStore, FlowValue, StoreError},
    token::BearerToken,
};

mod approver;
mod code;
mod decide;
mod inspect;
mod state;

use approver::Approver;
pub use code::{DeviceCode, UserCode};
pub use decide::NotDecided;
pub use inspect::{Inspection, Lookup, PendingLogin};
pub use state::{Approval, FlowState, FlowStatus};

/// Life of a login (RFC 8628 section 3.2, `expires_in`).
pub const LOGIN_LIFE: Duration = Duration::from_secs(900);

/// Least time between two polls (RFC 8628 section 3.2, `interval`).
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// How often a user code is drawn anew because it is taken. One in 10^9 is, with 600 logins under
/// way; five in a row mean that something else is wrong.
const USER_CODE_TRIES: usize = 5;

/// How long a poll that came too soon waits to see whether another one, at this very moment, takes
/// the decision away; and how often it looks.
const TAKEN_WAIT: (usize, Duration) = (20, Duration::from_millis(25));

/// Guesses of user codes, all callers together, above which the alarm is raised. People mistype a
/// few; 8 characters of 30 leave a guesser who has this many in five minutes a chance of 10^-6 an
/// hour with a thousand logins under way (RFC 8628 section 5.1).
const GUESS_BUDGET: RateLimit = RateLimit {
    count: 500,
    window: Duration::from_secs(300),
};

/// What a device gets at the beginning.
#[derive(Debug)]
pub struct Begun {
    /// The device's own code.
    pub device_code: DeviceCode,
    /// The person's.
    pub user_code: UserCode,
}

/// Why a login did not begin.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// The client is not in `device_flow.known_client_ids`.
    #[error("unsupported client")]
    UnsupportedClient,
    /// No free user code was found.
    #[error("no free user code")]
    Exhausted,
    /// The store could not say.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// Why a poll gets no token (RFC 8628 section 3.5).
#[derive(Debug, thiserror::Error)]
pub enum NoTokenYet {
    /// The last poll was less than the interval ago.
    #[error("slow down")]
    SlowDown,
    /// Nothing has been decided.
    #[error("authorization pending")]
    Pending,
    /// There will be no token.
    #[error("access denied")]
    Denied,
    /// Unknown, consumed, corrupt or timed out.
    #[error("expired token")]
    Expired,
    /// The login is another client's.
    #[error("invalid grant")]
    OtherClient,
    /// A store could not say.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// The device flow.
#[derive(Debug)]
pub struct DeviceFlow {
    /// Logins under way.
    pub flows: Arc<dyn FlowStore>,
    /// Where tokens are made.
    pub mint: Arc<Mint>,
    /// Where guesses are counted.
    pub limiter: RateLimiter,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where codes come from.
    pub entropy: Arc<dyn Entropy>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How often the alarm is said.
    pub complaints: Complaints,
    /// Who may begin a login.
    pub known_client_ids: Arc<Current<Vec<String>>>,
}

impl DeviceFlow {
    /// Begins a login.
    ///
    /// # Errors
    ///
    /// [`NotBegun`]; nothing is left but, at most, a user code that leads nowhere.
    pub async fn begin(
        &self,
        client_id: &str,
        device_label: &str,
        from: &str,
    ) -> Result<Begun, NotBegun> {
        if !self
            .known_client_ids
            .get()
            .iter()
            .any(|known| known == client_id)
        {
            return Err(NotBegun::UnsupportedClient);
        }
        let device_code = DeviceCode::draw(&*self.entropy);
        for _ in 0..USER_CODE_TRIES {
            let user_code = UserCode::draw(&*self.entropy);
            let claimed = self
                .flows
                .claim_user_code(&user_code, &device_code, LOGIN_LIFE)
                .await?;
            if claimed {
                let state = FlowState::begin(
                    user_code.clone(),
                    client_id.to_owned(),
                    device_label.to_owned(),
                    from.to_owned(),
                    self.clock.now(),
                );
                self.flows
                    .put(&device_code, &state.to_bytes(), LOGIN_LIFE)
                    .await?;
                return Ok(Begun {
                    device_code,
                    user_code,
                });
            }
        }
        Err(NotBegun::Exhausted)
    }

    /// Answers a device's poll: the payload that the approval left, once.
    ///
    /// # Errors
    ///
    /// [`NoTokenYet`]. For a code that is unknown or malformed nothing is written.
    pub async fn poll(
        &self,
        device_code: &str,
        client_id: &str,
        from: &str,
    ) -> Result<Map<String, Value>, NoTokenYet> {
        let code = DeviceCode::parse(device_code).ok_or(NoTokenYet::Expired)?;
        let (value, state) = self.read(&code).await?.ok_or(NoTokenYet::Expired)?;
        if state.client_id != client_id {
            return Err(NoTokenYet::OtherClient);
        }
        if self.is_too_soon(&code).await? {
            return Err(self.too_soon(&code, &state).await?);
        }
        let approval = match &state.status {
            FlowStatus::Pending => return Err(NoTokenYet::Pending),
            FlowStatus::Denied => {
                return Err(match self.consume(&code, &value, &state).await? {
                    true => NoTokenYet::Denied,
                    false => NoTokenYet::Expired,
                });
            }
            FlowStatus::Approved(approval) => approval,
        };
        // Whoever revoked the token between approval and poll is obeyed.
        let live = self.is_live(approval).await?;
        if !self.consume(&code, &value, &state).await? {
            return Err(NoTokenYet::Expired);
        }
        if !live {
            return Err(NoTokenYet::Denied);
        }
        if state.created_ip != from {
            AuditEvent::CrossIpPoll {
                token_id: approval.token_id,
                client_id: &state.client_id,
                created_ip: &state.created_ip,
                poll_ip: from,
            }
            .emit_patiently()
            .await;
        }
        Ok(approval.poll_payload.clone())
    }

    /// Returns the login that a person means by what they have typed; a miss counts as a guess.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn login_typed(&self, typed: &str) -> Result<Option<FlowState>, StoreError> {
        Ok(self.find(typed).await?.map(|(_, _, state)| state))
    }

    /// Returns the login of a code that nobody can have guessed: it was signed.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn login_of(&self, user_code: &UserCode) -> Result<Option<FlowState>, StoreError> {
        Ok(self.find_code(user_code).await?.map(|(_, _, state)| state))
    }

    /// Finds a login by what a person has typed; what leads nowhere counts as a guess.
    async fn find(
        &self,
        typed: &str,
    ) -> Result<Option<(DeviceCode, FlowValue, FlowState)>, StoreError> {
        let found = match UserCode::parse(typed) {
            None => None,
            Some(user_code) => self.find_code(&user_code).await?,
        };
        if found.is_none() {
            self.count_guess().await;
        }
        Ok(found)
    }

    async fn find_code(
        &self,
        user_code: &UserCode,
    ) -> Result<Option<(DeviceCode, FlowValue, FlowState)>, StoreError> {
        let Some(code) = self.flows.device_code_of(user_code).await? else {
            return Ok(None);
        };
        let found = self.read(&code).await?;
        Ok(found.map(|(value, state)| (code, value, state)))
    }

    async fn read(&self, code: &DeviceCode) -> Result<Option<(FlowValue, FlowState)>, StoreError> {
        let value = self.flows.state(code).await?;
        Ok(value.and_then(|value| {
            let state = FlowState::parse(&value.bytes)?;
            Some((value, state))
        }))
    }

    /// Notes the poll; `true` if the one before was less than the interval ago.
    async fn is_too_soon(&self, code: &DeviceCode) -> Result<bool, StoreError> {
        let now = self.clock.now().unix_micros() as f64 / 1e6;
        let before = self.flows.note_poll(code, now, LOGIN_LIFE).await?;
        // A note from the future is another replica's clock, not a poll to come.
        Ok(before.is_some_and(|before| (now - before).abs() < POLL_INTERVAL.as_secs_f64()))
    }

    /// Says what a poll gets that came too soon. Where the login has been decided, another poll may
    /// be taking the decision away at this moment: then nothing is left, for this one, to slow
    /// down for.
    async fn too_soon(
        &self,
        code: &DeviceCode,
        state: &FlowState,
    ) -> Result<NoTokenYet, StoreError> {
        let (looks, pause) = match state.status {
            FlowStatus::Pending => (1, Duration::ZERO),
            FlowStatus::Approved(_) | FlowStatus::Denied => TAKEN_WAIT,
        };
        for _ in 0..looks {
            if self.flows.state(code).await?.is_none() {
                self.flows.tidy(code, None).await?;
                return Ok(NoTokenYet::Expired);
            }
            tokio::time::sleep(pause).await;
        }
        Ok(NoTokenYet::SlowDown)
    }

    async fn is_live(&self, approval: &Approval) -> Result<bool, StoreError> {
        let token = approval.poll_payload.get("token").and_then(Value::as_str);
        let Some(hash) = token
            .and_then(|token| BearerToken::parse(token.as_bytes()).ok())
            .map(|token| token.hash())
        else {
            return Ok(false);
        };
        self.mint.sessions.is_live(approval.token_id, &hash).await
    }

    /// Takes the decision away; `true` for the one poll that did. Nothing of the login is left.
    async fn consume(
        &self,
        code: &DeviceCode,
        value: &FlowValue,
        state: &FlowState,
    ) -> Result<bool, StoreError> {
        let taken = self.flows.consume(code, &value.bytes).await?;
        let user_code = taken.then_some(&state.user_code);
        if let Err(error) = self.flows.tidy(code, user_code).await {
            // They end by themselves; the answer must not be lost for that.
            tracing::debug!(%error, "a login's traces are left to time out");
        }
        Ok(taken)
    }

    async fn count_guess(&self) {
        self.metrics.user_code_guesses.inc();
        match self.limiter.count_guess(GUESS_BUDGET).await {
            Ok(true) | Err(_) => {}
            Ok(false) => {
                self.metrics.user_code_alarms.inc();
                if self.complaints.is_due(self.clock.monotonic()) {
                    tracing::warn!(
                        budget = GUESS_BUDGET.count,
                        window_seconds = GUESS_BUDGET.window.as_secs(),
                        "user codes are being guessed: the budget of all callers is used up"
                    );
                }
            }
        }
    }
}
