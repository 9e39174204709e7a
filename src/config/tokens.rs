//! `[token_cache]`, `[tokens]` and `[rate_limits]`: how long tokens live and are remembered,
//! and how often one caller may ask.

use std::time::Duration;

use super::parse::{Parsed, boolean, choice, duration, integer, seconds, unless_off};
use super::reader::Reader;
use super::units;
use super::value::{Mismatch, Value};

const COHERENCES: &[(&str, Coherence)] =
    &[("tracking", Coherence::Tracking), ("ttl", Coherence::Ttl)];

/// Longest a check may be remembered: Dify's own limit, hence the bound on a revocation.
const MAX_TTL: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(86_400);

/// The gateway's own memory of token checks.
#[derive(Debug, Clone)]
pub struct TokenCacheConfig {
    /// Tokens remembered at most, 1 to 100 000 000; a few hundred bytes each.
    pub capacity: usize,
    /// How long a good token is remembered; whole seconds, 1 to 60.
    pub positive_ttl: Duration,
    /// How long a bad token is remembered; whole seconds, 1 to 60.
    pub negative_ttl: Duration,
    /// How the gateway hears of a revocation elsewhere.
    pub coherence: Coherence,
    /// How long an entry is believed while Redis does not report changes; 0 to 60 seconds.
    pub untracked_ttl: Duration,
}

/// How local entries follow those in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coherence {
    /// Redis reports changed keys.
    Tracking,
    /// It does not: entries live `untracked_ttl` at most.
    Ttl,
}

/// The life of tokens.
#[derive(Debug, Clone)]
pub struct TokensConfig {
    /// Whether tokens are accepted at all; off answers 503.
    pub enabled: bool,
    /// Life of a new token in days, 1 to 365; out of range is clamped.
    pub ttl_days: u16,
    /// Whether dead rows are deleted once a day.
    pub prune: bool,
    /// Days a dead row is kept, 1 to 3650.
    pub retention_days: u16,
}

/// A number of requests per window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per window, 1 to 1 000 000.
    pub count: u32,
    /// Length of the window, 1 second to 1 day.
    pub window: Duration,
}

/// Limits per caller; what a caller is differs by endpoint.
#[derive(Debug, Clone)]
pub struct RateLimitsConfig {
    /// Device codes handed out, per address.
    pub device_code: RateLimit,
    /// User codes looked up, per address.
    pub lookup: RateLimit,
    /// SSO sign-ins begun, per address.
    pub sso_initiate: RateLimit,
    /// Approvals and denials by an account.
    pub approve: RateLimit,
    /// Approvals after a sign-in by SSO, per e-mail.
    pub approve_external: RateLimit,
    /// Reads of the account, per account or e-mail.
    pub account: RateLimit,
    /// Checked requests, per token; `None`: left to Dify's own limit.
    pub bearer: Option<RateLimit>,
}

impl TokenCacheConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let ttl = Duration::from_secs(1)..=MAX_TTL;
        Self {
            capacity: reader.value("token_cache.capacity", integer(1..=100_000_000)),
            positive_ttl: reader.value("token_cache.positive_ttl", seconds(ttl.clone())),
            negative_ttl: reader.value("token_cache.negative_ttl", seconds(ttl)),
            coherence: reader.value("token_cache.coherence", choice(COHERENCES)),
            untracked_ttl: reader.value(
                "token_cache.untracked_ttl",
                duration(Duration::ZERO..=MAX_TTL),
            ),
        }
    }
}

impl TokensConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            enabled: reader.value("tokens.enabled", boolean),
            ttl_days: ttl_days(reader),
            prune: reader.value("tokens.prune", boolean),
            retention_days: reader.value("tokens.retention_days", integer(1..=3_650)),
        }
    }
}

impl RateLimitsConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            device_code: reader.value("rate_limits.device_code", rate),
            lookup: reader.value("rate_limits.lookup", rate),
            sso_initiate: reader.value("rate_limits.sso_initiate", rate),
            approve: reader.value("rate_limits.approve", rate),
            approve_external: reader.value("rate_limits.approve_external", rate),
            account: reader.value("rate_limits.account", rate),
            bearer: reader.value("rate_limits.bearer", unless_off(rate)),
        }
    }
}

/// Dify clamps the same way, so a `.env` that it takes must not stop the gateway.
fn ttl_days(reader: &mut Reader<'_>) -> u16 {
    let days = reader.value("tokens.ttl_days", |value| {
        let need = "a whole number of days from 1 to 365";
        value
            .integer()
            .ok_or_else(|| Mismatch::showing(value, need))
    });
    let clamped = days.clamp(1, 365);
    if clamped != days {
        let text = format!("{days} days is outside 1 to 365, using {clamped}");
        reader.warn("tokens.ttl_days", &text);
    }
    // In range after the clamp, so the fallback is never taken.
    u16::try_from(clamped).unwrap_or(u16::MAX)
}

fn rate(value: &Value) -> Parsed<RateLimit> {
    let rate = value.text().and_then(units::rate);
    match rate {
        Some((count, window))
            if (1..=1_000_000).contains(&count)
                && (Duration::from_secs(1)..=DAY).contains(&window) =>
        {
            Ok(RateLimit { count, window })
        }
        _ => Err(Mismatch::showing(
            value,
            "a count per window, such as \"60/1h\", 1 to 1000000 per 1s to 1d",
        )),
    }
}
