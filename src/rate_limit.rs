//! Sliding-window limits, shared by every replica: one atomic step and one bucket each. The limit
//! per token is leased in batches ([`bearer`]).

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{
    config::{RateLimit, RateLimitsConfig},
    current::Current,
    entropy::Entropy,
    store::{StoreError, Windows},
};

pub mod bearer;
pub mod ledger;
mod share;

/// What is limited. Each has a bucket of its own: one limit's window never trims another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Beginning a login, per address.
    DeviceCode,
    /// Looking a user code up, per address.
    Lookup,
    /// Beginning a sign-in by SSO, per address.
    SsoInitiate,
    /// Approving or denying, per account.
    Approve,
    /// Approving after a sign-in by SSO, per e-mail.
    ApproveExternal,
    /// Reading one's account, per account or e-mail.
    Account,
}

impl Limit {
    /// The name of the limit per token in headers; [`bearer`] counts it.
    pub const BEARER: &'static str = "bearer";

    /// Returns the name in keys and headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeviceCode => "device_code",
            Self::Lookup => "lookup",
            Self::SsoInitiate => "sso_initiate",
            Self::Approve => "approve",
            Self::ApproveExternal => "approve_external",
            Self::Account => "account",
        }
    }
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller<'a> {
    /// An address; IPv6 by its /64, since one subscriber has all of it.
    Address(IpAddr),
    /// An account.
    Account(Uuid),
    /// An e-mail without an account.
    Email(&'a str),
}

/// The key of one bucket: `rl:{limit}:{scope}:{id}`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WindowKey(String);

impl WindowKey {
    /// Builds the key of `limit`'s bucket for `caller`.
    pub fn new(limit: Limit, caller: Caller<'_>) -> Self {
        let name = limit.as_str();
        Self(match caller {
            Caller::Address(address) => format!("rl:{name}:ip:{}", network_of(address)),
            Caller::Account(id) => format!("rl:{name}:account:{id}"),
            Caller::Email(email) => format!("rl:{name}:email:{}", email.to_lowercase()),
        })
    }

    /// Returns the bucket in which all guesses of user codes are counted.
    pub fn of_guesses() -> Self {
        Self("rl:user_code_guesses:global:all".to_owned())
    }

    /// Returns the ledger in which the requests of the token with this row are leased. Dify counts
    /// its own limit under `rl:bearer:token:…`, in members of another form.
    pub fn of_lease(token: Uuid) -> Self {
        Self(format!("rl:bearer:lease:{token}"))
    }

    /// Returns a bucket of nobody's, for trying Redis out.
    pub fn of_trial() -> Self {
        Self("rl:trial:global:all".to_owned())
    }

    /// Returns the key, without `redis.key_prefix`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WindowKey {
    /// Leaves the caller out: it may be a person's e-mail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindowKey(…)")
    }
}

fn network_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// What a bucket says after a request has been counted, or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Whether the request was counted; a refused one is not.
    pub admitted: bool,
    /// How many requests the window holds.
    pub used: u32,
    /// Time until the window's oldest request leaves it.
    pub oldest_leaves_in: Duration,
}

/// Where a caller stands with a limit; what the `RateLimit` headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The limit's name in headers.
    pub limit: &'static str,
    /// Requests that a window admits.
    pub quota: RateLimit,
    /// Requests left in the present window.
    pub remaining: u32,
    /// Time until one more is admitted, or the window's oldest leaves.
    pub reset: Duration,
}

/// Why a request was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// The window is full.
    #[error("too many requests")]
    Limited(Standing),
    /// Nobody can say.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// The limits in force.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    windows: Arc<dyn Windows>,
    entropy: Arc<dyn Entropy>,
    limits: Arc<Current<RateLimitsConfig>>,
}

impl RateLimiter {
    /// Builds the limiter.
    pub fn new(
        windows: Arc<dyn Windows>,
        entropy: Arc<dyn Entropy>,
        limits: Arc<Current<RateLimitsConfig>>,
    ) -> Self {
        Self {
            windows,
            entropy,
            limits,
        }
    }

    /// Counts a request, in one atomic step.
    ///
    /// # Errors
    ///
    /// [`NotAdmitted`]; a request that is not admitted is not counted.
    pub async fn admit(&self, limit: Limit, caller: Caller<'_>) -> Result<Standing, NotAdmitted> {
        let limits = self.limits.get();
        let quota = match limit {
            Limit::DeviceCode => limits.device_code,
            Limit::Lookup => limits.lookup,
            Limit::SsoInitiate => limits.sso_initiate,
            Limit::Approve => limits.approve,
            Limit::ApproveExternal => limits.approve_external,
            Limit::Account => limits.account,
        };
        let occupancy = self.hit(&WindowKey::new(limit, caller), quota).await?;
        let standing = Standing {
            limit: limit.as_str(),
            quota,
            remaining: quota.count.saturating_sub(occupancy.used),
            reset: occupancy.oldest_leaves_in,
        };
        if occupancy.admitted {
            Ok(standing)
        } else {
            Err(NotAdmitted::Limited(standing))
        }
    }

    /// Counts a guess of a user code that does not exist; `true` while the budget of all guesses
    /// together is not used up.
    ///
    /// # Errors
    ///
    /// When nobody can say.
    pub async fn count_guess(&self, budget: RateLimit) -> Result<bool, StoreError> {
        let occupancy = self.hit(&WindowKey::of_guesses(), budget).await?;
        Ok(occupancy.admitted)
    }

    async fn hit(&self, key: &WindowKey, quota: RateLimit) -> Result<Occupancy, StoreError> {
        let mut member = [0; 8];
        self.entropy.fill(&mut member);
        self.windows
            .hit(key, quota.count, quota.window, u64::from_be_bytes(member))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(limit: Limit, address: &str) -> String {
        let caller = Caller::Address(address.parse().unwrap());
        WindowKey::new(limit, caller).as_str().to_owned()
    }

    #[test]
    fn every_limit_has_its_own_bucket_and_ipv6_counts_by_64() {
        assert_eq!(
            key(Limit::DeviceCode, "203.0.113.7"),
            "rl:device_code:ip:203.0.113.7"
        );
        assert_eq!(
            key(Limit::Lookup, "203.0.113.7"),
            "rl:lookup:ip:203.0.113.7"
        );
        let (one, other) = ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9");
        assert_eq!(key(Limit::Lookup, one), "rl:lookup:ip:2001:db8:1:2::/64");
        assert_eq!(key(Limit::Lookup, one), key(Limit::Lookup, other));
        assert_ne!(
            key(Limit::Lookup, one),
            key(Limit::Lookup, "2001:db8:1:3::1")
        );
        assert_eq!(
            key(Limit::Lookup, "::ffff:203.0.113.7"),
            key(Limit::Lookup, "203.0.113.7")
        );
    }
}
