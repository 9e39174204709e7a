//! Logins under way and sliding windows, as the domain needs them.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use super::StoreError;
use crate::{
    config::RateLimit,
    device::{DeviceCode, UserCode},
    rate_limit::{
        Occupancy, WindowKey,
        ledger::{Grant, Unused},
    },
};

/// A value of the login store and the time it has left.
#[derive(Clone, PartialEq, Eq)]
pub struct FlowValue {
    /// The bytes, as whoever wrote them left them.
    pub bytes: Vec<u8>,
    /// How long the value will stay.
    pub remaining: Duration,
}

impl fmt::Debug for FlowValue {
    /// Leaves the bytes out: they may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowValue")
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

/// Logins under way: Redis, in production. Every change is one atomic step on one key.
#[async_trait]
pub trait FlowStore: Send + Sync + fmt::Debug {
    /// Takes a user code for a device code; `false` if it is taken.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn claim_user_code(
        &self,
        user_code: &UserCode,
        device_code: &DeviceCode,
        ttl: Duration,
    ) -> Result<bool, StoreError>;

    /// Finds the device code of a user code.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    async fn device_code_of(&self, user_code: &UserCode) -> Result<Option<DeviceCode>, StoreError>;

    /// Puts a login's first state.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn put(
        &self,
        device_code: &DeviceCode,
        state: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError>;

    /// Reads a login's state.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    async fn state(&self, device_code: &DeviceCode) -> Result<Option<FlowValue>, StoreError>;

    /// Replaces exactly `expected` by `state`; `true` if it did.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn decide(
        &self,
        device_code: &DeviceCode,
        expected: &[u8],
        state: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError>;

    /// Removes exactly `expected`; `true` for the one caller that did.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn consume(&self, device_code: &DeviceCode, expected: &[u8]) -> Result<bool, StoreError>;

    /// Notes a poll at `now`, in unix seconds with a fraction; returns when the one before was.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn note_poll(
        &self,
        device_code: &DeviceCode,
        now: f64,
        ttl: Duration,
    ) -> Result<Option<f64>, StoreError>;

    /// Takes the right to approve for `ttl`; `false` if somebody has it.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn begin_approving(
        &self,
        device_code: &DeviceCode,
        owner: &str,
        ttl: Duration,
    ) -> Result<bool, StoreError>;

    /// Gives the right to approve back, if it is still `owner`'s.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn end_approving(&self, device_code: &DeviceCode, owner: &str) -> Result<(), StoreError>;

    /// Removes what a login leaves beside its state: the user code and the note of polls.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn tidy(
        &self,
        device_code: &DeviceCode,
        user_code: Option<&UserCode>,
    ) -> Result<(), StoreError>;
}

/// Sliding windows: Redis, in production.
#[async_trait]
pub trait Windows: Send + Sync + fmt::Debug {
    /// Counts a hit under `key` if fewer than `count` are in the last `window`. One atomic step.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn hit(
        &self,
        key: &WindowKey,
        count: u32,
        window: Duration,
        member: u64,
    ) -> Result<Occupancy, StoreError>;

    /// Leases up to `ask` of a quota's requests from the ledger under `key`, after what is `unused`
    /// of an earlier lease has been taken back: what [`crate::rate_limit::ledger`] says. One atomic
    /// step; no ledger is a window too.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn lease(
        &self,
        key: &WindowKey,
        quota: RateLimit,
        ask: u32,
        unused: Option<Unused>,
    ) -> Result<Grant, StoreError>;
}
