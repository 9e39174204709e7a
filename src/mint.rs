//! Tokens come and go: minting, rotating in place, listing, revoking.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    check::{
        TokenChecker,
        entry::{ACCOUNT_ISSUER, Subject},
    },
    clock::{Clock, Timestamp},
    entropy::Entropy,
    store::{NewToken, Session, SessionOwner, SessionStore, StoreError, Unsure},
    token::{BearerToken, TokenHash, TokenKind},
};

/// Longest e-mail and issuer, in characters: the columns' width. An assertion may have more.
const MAX_SUBJECT: usize = 255;

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// A plaintext token that has just been made: it goes to the device and is then forgotten.
pub struct Plaintext(String);

impl Plaintext {
    fn draw(kind: TokenKind, entropy: &dyn Entropy) -> Self {
        let mut secret = [0; TOKEN_BYTES];
        entropy.fill(&mut secret);
        Self(format!(
            "{}{}",
            kind.prefix(),
            URL_SAFE_NO_PAD.encode(secret)
        ))
    }

    /// Returns the token.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plaintext(…)")
    }
}

/// A token that has been made and written.
#[derive(Debug)]
pub struct Minted {
    /// The token itself.
    pub token: Plaintext,
    /// Its row.
    pub id: Uuid,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whether it took an older token's place.
    pub rotated: bool,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum NotMinted {
    /// The subject may not have a token of this kind: the registry has no such entry.
    #[error("the mint policy has no such entry")]
    Policy,
    /// A store could not say whether everything was done.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// Makes and unmakes tokens.
#[derive(Debug)]
pub struct Mint {
    /// The rows.
    pub sessions: Arc<dyn SessionStore>,
    /// What is known of tokens here and in Redis.
    pub checker: Arc<TokenChecker>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where tokens come from.
    pub entropy: Arc<dyn Entropy>,
    /// Life of a new token.
    pub life: Duration,
}

impl Mint {
    /// Makes a token for `subject` on one of its devices; an older one of the same device ends.
    ///
    /// # Errors
    ///
    /// [`NotMinted`]. After [`NotMinted::Unavailable`] the row may have been written; another try
    /// rotates it.
    pub async fn mint(
        &self,
        kind: TokenKind,
        subject: &Subject,
        client_id: &str,
        device_label: &str,
    ) -> Result<Minted, NotMinted> {
        let fits = |text: &str| text.chars().count() <= MAX_SUBJECT;
        if subject.kind() != kind
            || subject.issuer().trim().is_empty()
            // It would take the row of that person's own device.
            || (kind == TokenKind::ExternalSso && subject.issuer() == ACCOUNT_ISSUER)
            || !fits(subject.email())
            || !fits(subject.issuer())
        {
            return Err(NotMinted::Policy);
        }
        let token = Plaintext::draw(kind, &*self.entropy);
        let hash = BearerToken::parse(token.expose().as_bytes())
            .map_err(|_| NotMinted::Policy)?
            .hash();
        let now = self.clock.now();
        let expires_at = now.plus(self.life);
        let written = self
            .sessions
            .write(&NewToken {
                id: self.new_id(now),
                prefix: kind.prefix(),
                subject_email: subject.email().to_owned(),
                subject_issuer: subject.issuer().to_owned(),
                account_id: subject.account_id(),
                client_id: client_id.to_owned(),
                device_label: device_label.to_owned(),
                hash,
                expires_at,
            })
            .await
            .map_err(|unsure| self.doubt(unsure))?;
        if let Some(old) = written.replaced.as_ref().and_then(|replaced| replaced.hash) {
            self.checker.end(&old).await?;
        }
        Ok(Minted {
            token,
            id: written.id,
            expires_at,
            rotated: written.replaced.is_some(),
        })
    }

    /// Lists one page of an owner's live sessions, and how many there are in all.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn sessions(
        &self,
        owner: &SessionOwner,
        page: u32,
        limit: u32,
    ) -> Result<(Vec<Session>, u64), StoreError> {
        let offset = u64::from(page.saturating_sub(1)) * u64::from(limit);
        self.sessions.sessions(owner, offset, limit).await
    }

    /// Revokes an owner's session; `false` when they have no such one.
    ///
    /// Success means that the row is revoked and the cache entry is gone.
    ///
    /// # Errors
    ///
    /// When a store could not say whether everything was done.
    pub async fn revoke(&self, owner: &SessionOwner, id: Uuid) -> Result<bool, StoreError> {
        let revoked = self.sessions.revoke(owner, id).await;
        let Some(hash) = revoked.map_err(|unsure| self.doubt(unsure))? else {
            return Ok(false);
        };
        if let Some(hash) = hash {
            self.checker.end(&hash).await?;
        }
        Ok(true)
    }

    /// Revokes the session of the token that was shown; `false` when it is none of the owner's.
    ///
    /// A token whose row has ended already, perhaps by this very request when it was sent before and
    /// its answer was lost, ends in the caches as well, which is a success like the first one.
    ///
    /// # Errors
    ///
    /// As [`Mint::revoke`].
    pub async fn revoke_shown(
        &self,
        owner: &SessionOwner,
        id: Uuid,
        shown: &TokenHash,
    ) -> Result<bool, StoreError> {
        Ok(self.revoke(owner, id).await? || self.checker.end_if_gone(shown).await?)
    }

    /// Has a token that may have ended looked at until that is known.
    fn doubt(&self, unsure: Unsure) -> StoreError {
        if let Some(hash) = &unsure.ended {
            self.checker.doubt(hash);
        }
        unsure.error
    }

    /// Makes a UUIDv7: ordered by time, as Dify's own ids are.
    fn new_id(&self, now: Timestamp) -> Uuid {
        let mut random = [0; 10];
        self.entropy.fill(&mut random);
        let millis = u64::try_from(now.unix_micros() / 1_000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}
