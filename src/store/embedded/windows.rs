//! Sliding windows, in memory.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

use super::lock;
use crate::{
    clock::{Clock, Monotonic},
    config::RateLimit,
    rate_limit::{
        Occupancy, WindowKey,
        ledger::{Grant, Ledger, Unused},
    },
    store::{StoreError, Windows},
};

/// Windows in memory; shared by whoever holds the same value.
#[derive(Debug)]
pub struct EmbeddedWindows {
    clock: Arc<dyn Clock>,
    hits: Mutex<HashMap<WindowKey, VecDeque<Monotonic>>>,
    ledgers: Mutex<HashMap<WindowKey, Ledger>>,
}

impl EmbeddedWindows {
    /// Builds empty windows whose time is `clock`'s.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            hits: Mutex::default(),
            ledgers: Mutex::default(),
        }
    }
}

#[async_trait]
impl Windows for EmbeddedWindows {
    async fn hit(
        &self,
        key: &WindowKey,
        count: u32,
        window: Duration,
        _member: u64,
    ) -> Result<Occupancy, StoreError> {
        let now = self.clock.monotonic();
        let mut all = lock(&self.hits);
        let hits = all.entry(key.clone()).or_default();
        while hits.front().is_some_and(|at| at.plus(window) <= now) {
            hits.pop_front();
        }
        let used = u32::try_from(hits.len()).unwrap_or(u32::MAX);
        let admitted = used < count;
        if admitted {
            hits.push_back(now);
        }
        let oldest = hits.front().copied().unwrap_or(now);
        Ok(Occupancy {
            admitted,
            used: used + u32::from(admitted),
            oldest_leaves_in: oldest.plus(window).since(now),
        })
    }

    async fn lease(
        &self,
        key: &WindowKey,
        quota: RateLimit,
        ask: u32,
        unused: Option<Unused>,
    ) -> Result<Grant, StoreError> {
        let now = self.clock.monotonic().as_micros();
        let mut all = lock(&self.ledgers);
        let ledger = all.entry(key.clone()).or_default();
        Ok(ledger.lease(now, quota, ask, unused))
    }
}
