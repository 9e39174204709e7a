//! `sso_assertion_nonce:{…}` and `device_approval_grant_nonce:{…}`: what has been used.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{RedisLink, millis};
use crate::store::{Nonce, Nonces, StoreError};

/// [`Nonces`] in Redis. One key for each command: Redis Cluster works.
#[derive(Debug)]
pub struct RedisNonces {
    link: Arc<RedisLink>,
}

impl RedisNonces {
    /// Builds the store on a link.
    pub const fn new(link: Arc<RedisLink>) -> Self {
        Self { link }
    }
}

#[async_trait]
impl Nonces for RedisNonces {
    async fn claim(&self, nonce: &Nonce, ttl: Duration) -> Result<bool, StoreError> {
        let mut set = redis::cmd("SET");
        set.arg(self.link.key(&nonce.key()))
            .arg("1")
            .arg("NX")
            .arg("PX")
            .arg(millis(ttl));
        let answer: Option<String> = self
            .link
            .command(|mut connection| async move { set.query_async(&mut connection).await })
            .await?;
        Ok(answer.is_some())
    }
}
