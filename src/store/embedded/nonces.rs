//! What has been used, in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

use super::lock;
use crate::{
    clock::{Clock, Monotonic},
    store::{Nonce, Nonces, StoreError},
};

/// Nonces in memory; shared by whoever holds the same value.
#[derive(Debug)]
pub struct EmbeddedNonces {
    clock: Arc<dyn Clock>,
    used: Mutex<HashMap<Nonce, Monotonic>>,
}

impl EmbeddedNonces {
    /// Builds an empty store whose time is `clock`'s.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            used: Mutex::default(),
        }
    }
}

#[async_trait]
impl Nonces for EmbeddedNonces {
    async fn claim(&self, nonce: &Nonce, ttl: Duration) -> Result<bool, StoreError> {
        let now = self.clock.monotonic();
        let mut used = lock(&self.used);
        used.retain(|_, until| *until > now);
        let first = !used.contains_key(nonce);
        if first {
            used.insert(nonce.clone(), now.plus(ttl));
        }
        Ok(first)
    }
}
