//! What is known about one token, and how that is written in the shared cache.
//!
//! The values are Dify's (`contract/tokens.md`, "The check"): the literal `invalid`, or a JSON
//! object. Entries of ours carry one member more, `"by": "gateway"`, which Dify ignores.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use uuid::Uuid;

use crate::{
    clock::{Monotonic, Timestamp},
    dify_json,
    entropy::Entropy,
    jws::SignedIdentity,
    store::{AccountStatus, TokenRecord},
    token::TokenKind,
};

/// The issuer that stands for "a Dify account".
pub const ACCOUNT_ISSUER: &str = "dify:account";

/// The value that says "refused".
pub const REFUSED: &[u8] = b"invalid";

/// The mark of entries that this gateway (or another) wrote under a lease.
const OWN_MARK: &str = "gateway";

/// The last of this many parts of an entry's life is when a hit has it refreshed
/// (`design/coherence.md`, rule 8).
const REFRESH_SHARE: u32 = 10;

/// A token as a row or a cache entry describes it; whether it is live is the reader's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenContext {
    /// The row's id; safe to log.
    pub token_id: Uuid,
    /// Who the token speaks for.
    pub subject: Subject,
    /// The OAuth client that the token was issued to; absent in entries of older writers.
    pub client_id: Option<Arc<str>>,
    /// When the token ends; absent in entries of older writers.
    pub expires_at: Option<Timestamp>,
}

impl TokenContext {
    /// Tells whether the token itself is past its end.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Who a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A Dify account.
    Account {
        /// The account's id.
        id: Uuid,
        /// Its e-mail.
        email: Box<str>,
    },
    /// A person whom an identity provider has verified.
    ExternalSso {
        /// The verified e-mail.
        email: Box<str>,
        /// The provider's issuer, never blank.
        issuer: Box<str>,
    },
}

impl Subject {
    /// Returns the kind of token that can speak for this subject.
    pub const fn kind(&self) -> TokenKind {
        match self {
            Self::Account { .. } => TokenKind::Account,
            Self::ExternalSso { .. } => TokenKind::ExternalSso,
        }
    }

    /// Returns the e-mail.
    pub const fn email(&self) -> &str {
        match self {
            Self::Account { email, .. } | Self::ExternalSso { email, .. } => email,
        }
    }

    /// Returns the issuer.
    pub const fn issuer(&self) -> &str {
        match self {
            Self::Account { .. } => ACCOUNT_ISSUER,
            Self::ExternalSso { issuer, .. } => issuer,
        }
    }

    /// Returns the account, where there is one.
    pub const fn account_id(&self) -> Option<Uuid> {
        match self {
            Self::Account { id, .. } => Some(*id),
            Self::ExternalSso { .. } => None,
        }
    }

    /// Puts the three columns together, or `None` where they contradict each other: no account
    /// and no issuer either, or an account with somebody else's issuer.
    fn assemble(account: Option<Uuid>, email: &str, issuer: Option<&str>) -> Option<Self> {
        let email = Box::from(email);
        match (account, issuer.filter(|issuer| !issuer.trim().is_empty())) {
            (Some(id), None | Some(ACCOUNT_ISSUER)) => Some(Self::Account { id, email }),
            (None, Some(issuer)) if issuer != ACCOUNT_ISSUER => Some(Self::ExternalSso {
                email,
                issuer: issuer.into(),
            }),
            _ => None,
        }
    }
}

/// What a row of the token table says about a token that was presented.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The token is live.
    Live(TokenContext),
    /// The row is unrevoked but its time is over.
    Expired,
    /// The account may not act.
    Blocked,
    /// The row contradicts itself, or the token that led to it.
    Inconsistent,
}

impl Judgement {
    /// Judges a row by which a token of `presented` kind was found.
    pub fn of(record: &TokenRecord, presented: TokenKind, clients: &ClientIds) -> Self {
        let subject = Subject::assemble(
            record.account_id,
            &record.subject_email,
            record.subject_issuer.as_deref(),
        );
        let Some(subject) = subject
            .filter(|subject| subject.kind() == presented && record.prefix == presented.prefix())
        else {
            return Self::Inconsistent;
        };
        if record.expired {
            return Self::Expired;
        }
        if presented == TokenKind::Account && record.account_status != Some(AccountStatus::Usable) {
            return Self::Blocked;
        }
        Self::Live(TokenContext {
            token_id: record.id,
            subject,
            client_id: Some(clients.intern(&record.client_id)),
            expires_at: Some(record.expires_at),
        })
    }
}

/// A value of the shared cache, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Cached {
    /// Somebody found the token to be no good.
    Refused,
    /// Somebody found the token to be live.
    Live {
        /// What it is.
        context: TokenContext,
        /// Whether a gateway wrote it under a lease, and nobody has rewritten it since; Dify's own
        /// writes can lose a race.
        own: bool,
    },
    /// Somebody is filling this key at the moment.
    Leased,
    /// Not a value of Dify's at all.
    Unusable,
}

impl Cached {
    /// Understands a value, whoever wrote it.
    pub fn parse(bytes: &[u8], clients: &ClientIds) -> Self {
        if bytes == REFUSED {
            return Self::Refused;
        }
        // serde_json would take an array for a struct as well; Dify never writes one.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Self::Unusable;
        }
        match serde_json::from_slice::<Wire<'_>>(bytes) {
            Ok(wire) => wire.understand(clients).unwrap_or(Self::Unusable),
            Err(_) if serde_json::from_slice::<Lease>(bytes).is_ok() => Self::Leased,
            Err(_) => Self::Unusable,
        }
    }

    /// Writes a lease: whoever holds it may fill the key. To Dify it is malformed, that is, a
    /// miss.
    pub fn write_lease(entropy: &dyn Entropy) -> Vec<u8> {
        let mut nonce = [0; 16];
        entropy.fill(&mut nonce);
        dify_json::to_vec(&Lease {
            lease: Uuid::from_bytes(nonce).simple().to_string(),
        })
    }

    /// Writes a live entry of ours.
    pub fn write(context: &TokenContext) -> Vec<u8> {
        dify_json::to_vec(&Wire {
            subject_email: context.subject.email().into(),
            subject_issuer: Some(context.subject.issuer().into()),
            account_id: context.subject.account_id().map(|id| id.to_string().into()),
            client_id: context.client_id.as_deref().map(Into::into),
            token_id: context.token_id.to_string().into(),
            expires_at: context.expires_at.map(|at| at.to_iso8601().into()),
            verified_tenants: None,
            by: Some(OWN_MARK.into()),
        })
    }
}

/// The value that stands for "being filled".
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    lease: String,
}

/// Dify's own notes on tenants: whether there are any is all that matters here.
type Verdicts = BTreeMap<String, IgnoredAny>;

/// The members as they stand in Redis, in Dify's order.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    subject_email: std::borrow::Cow<'a, str>,
    subject_issuer: Option<std::borrow::Cow<'a, str>>,
    account_id: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    client_id: Option<std::borrow::Cow<'a, str>>,
    token_id: std::borrow::Cow<'a, str>,
    expires_at: Option<std::borrow::Cow<'a, str>>,
    /// Empty in what we write.
    #[serde(default, serialize_with = "empty_object")]
    verified_tenants: Option<Verdicts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<std::borrow::Cow<'a, str>>,
}

impl Wire<'_> {
    fn understand(self, clients: &ClientIds) -> Option<Cached> {
        let account = match &self.account_id {
            Some(id) => Some(Uuid::parse_str(id).ok()?),
            None => None,
        };
        let own = self.by.as_deref() == Some(OWN_MARK) && !self.has_verdicts();
        let expires_at = match &self.expires_at {
            Some(at) => Some(Timestamp::parse_iso8601(at)?),
            None => None,
        };
        Some(Cached::Live {
            context: TokenContext {
                token_id: Uuid::parse_str(&self.token_id).ok()?,
                subject: Subject::assemble(
                    account,
                    &self.subject_email,
                    self.subject_issuer.as_deref(),
                )?,
                client_id: self.client_id.map(|id| clients.intern(&id)),
                expires_at,
            },
            own,
        })
    }
}

impl Wire<'_> {
    /// Tells whether Dify has put a verdict on a tenant into the value.
    ///
    /// It reads the value, adds the verdict and writes it back, with every member that it does not
    /// know: ours, the mark included. A revocation can delete the key in between.
    fn has_verdicts(&self) -> bool {
        self.verified_tenants
            .as_ref()
            .is_some_and(|verdicts| !verdicts.is_empty())
    }
}

fn empty_object<S: serde::Serializer>(
    _: &Option<Verdicts>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap as _;
    serializer.serialize_map(Some(0))?.end()
}

/// Client ids, each kept once: there are few of them and many tokens.
#[derive(Debug, Default)]
pub struct ClientIds(std::sync::RwLock<std::collections::HashSet<Arc<str>>>);

impl ClientIds {
    /// Most ids that are shared. Far more than any deployment has clients; past that, a corrupt
    /// table costs each entry its own copy instead of the process its memory.
    const LIMIT: usize = 256;

    /// Returns the shared copy of `id`.
    pub fn intern(&self, id: &str) -> Arc<str> {
        use std::sync::PoisonError;
        if let Some(known) = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
        {
            return Arc::clone(known);
        }
        let id: Arc<str> = id.into();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < Self::LIMIT {
            known.insert(Arc::clone(&id));
        }
        id
    }
}

/// A live token in the local map.
#[derive(Debug)]
pub struct Entry {
    /// What the token is.
    pub context: TokenContext,
    /// Until when the entry may be used, in microseconds; only ever brought forward.
    deadline: AtomicU64,
    /// From when on a hit asks for a successor, so that nobody has to wait for one.
    refresh_at: Monotonic,
    /// The signed identity for the upstream, made at first use.
    pub identity: OnceLock<Box<SignedIdentity>>,
    used: AtomicBool,
    refreshed: AtomicBool,
}

impl Entry {
    /// Builds an entry that may be used until `deadline`, however long the token lives.
    pub const fn new(context: TokenContext, deadline: Monotonic) -> Self {
        Self {
            context,
            deadline: AtomicU64::new(deadline.as_micros()),
            refresh_at: deadline,
            identity: OnceLock::new(),
            used: AtomicBool::new(false),
            refreshed: AtomicBool::new(false),
        }
    }

    /// Prepares the entry for the map: brings its deadline forward to the token's own end, so that
    /// a hit has one thing to compare, and says when a successor is due.
    ///
    /// Both ends are then on the clock that only goes forward: a step of the wall clock, in the
    /// minute that an entry lives at most, neither kills a token nor revives one.
    #[must_use]
    pub fn for_keeping(mut self, now: Timestamp, instant: Monotonic) -> Self {
        let deadline = self.deadline();
        let life = deadline.since(instant);
        self.refresh_at = instant.plus(life - life / REFRESH_SHARE);
        if let Some(end) = self.context.expires_at {
            let end = instant.plus(now.until(end));
            if end <= deadline {
                self.shorten(end);
                // There is no successor.
                self.refresh_at = end;
            }
        }
        self
    }

    /// Returns until when the entry may be used.
    pub fn deadline(&self) -> Monotonic {
        Monotonic::from_micros(self.deadline.load(Ordering::Relaxed))
    }

    /// Ends the entry at `end` at the latest.
    pub fn shorten(&self, end: Monotonic) {
        self.deadline.fetch_min(end.as_micros(), Ordering::Relaxed);
    }

    /// Ends the entry now: it has left the map, and whoever still holds it must ask there again.
    pub fn end(&self) {
        self.shorten(Monotonic::default());
    }

    /// Tells, once, that the entry is near its end and a successor should be looked for.
    pub fn is_refresh_due(&self, instant: Monotonic) -> bool {
        instant >= self.refresh_at && !self.refreshed.swap(true, Ordering::Relaxed)
    }

    /// Tells whether this is the first time that the entry lets a request through. A hit only
    /// loads: many threads at once write nothing.
    pub fn is_first_use(&self) -> bool {
        !self.used.load(Ordering::Relaxed) && !self.used.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
