//! How what is known about a token is written in the shared cache.
//!
//! The values are Dify's (`contract/tokens.md`, "The check"): the literal `invalid`, or a JSON
//! object. Entries of ours carry one member more, `"by": "gateway"`, which Dify ignores.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use uuid::Uuid;

use super::{ClientIds, Subject, TokenContext};
use crate::{clock::Timestamp, dify_json, entropy::Entropy};

/// The value that says "refused".
pub const REFUSED: &[u8] = b"invalid";

/// The mark of entries that this gateway (or another) wrote under a lease.
const OWN_MARK: &str = "gateway";

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
    subject_email: Cow<'a, str>,
    subject_issuer: Option<Cow<'a, str>>,
    account_id: Option<Cow<'a, str>>,
    #[serde(default)]
    client_id: Option<Cow<'a, str>>,
    token_id: Cow<'a, str>,
    expires_at: Option<Cow<'a, str>>,
    /// Empty in what we write.
    #[serde(default, serialize_with = "empty_object")]
    verified_tenants: Option<Verdicts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<Cow<'a, str>>,
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
