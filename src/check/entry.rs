//! What is known about one token.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use uuid::Uuid;

mod cached;

pub use cached::{Cached, REFUSED};

use crate::{
    clock::{Monotonic, Timestamp},
    jws::SignedIdentity,
    store::{AccountStatus, TokenRecord},
    token::TokenKind,
};

/// The issuer that stands for "a Dify account".
pub const ACCOUNT_ISSUER: &str = "dify:account";

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
