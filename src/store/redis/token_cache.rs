//! `auth:token:{hash}`: what every gateway and every Dify process knows about a token.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    RedisLink, is_refusal, millis, ping,
    script::{Call, OneKeyScript},
};
use crate::{
    store::{CacheConnection, CachedValue, StoreError, TokenCache},
    token::TokenHash,
};

/// [`TokenCache`] in Redis. One key for each token, one key for each script: Redis Cluster works.
#[derive(Debug)]
pub struct RedisTokenCache {
    link: Arc<RedisLink>,
    swap: OneKeyScript,
}

impl RedisTokenCache {
    /// Builds the cache on a link.
    pub fn new(link: Arc<RedisLink>) -> Self {
        Self {
            link,
            swap: OneKeyScript::new(include_str!("swap.lua")),
        }
    }

    fn key_of(&self, hash: &TokenHash) -> String {
        let mut key = prefix(&self.link);
        key.push_str(hash.to_hex().as_str());
        key
    }

    /// Puts `value` where exactly `expected` is, in one step inside Redis.
    fn swap(&self, hash: &TokenHash, expected: &[u8], value: &[u8], ttl: Duration) -> Call<'_> {
        let call = self.swap.on(self.key_of(hash));
        call.arg(expected).arg(value).arg(millis(ttl))
    }
}

/// Returns what every key of the cache begins with.
pub(super) fn prefix(link: &RedisLink) -> String {
    link.key("auth:token:")
}

#[async_trait]
impl TokenCache for RedisTokenCache {
    async fn read(&self, hash: &TokenHash) -> Result<Option<CachedValue>, StoreError> {
        let value = self.link.value_and_ttl(self.key_of(hash)).await?;
        Ok(value.map(|(bytes, remaining)| CachedValue { bytes, remaining }))
    }

    async fn claim(
        &self,
        hash: &TokenHash,
        expected: Option<&[u8]>,
        lease: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        if let Some(expected) = expected {
            let call = self.swap(hash, expected, lease, ttl);
            return self.link.command(|connection| call.run(connection)).await;
        }
        let mut set = redis::cmd("SET");
        set.arg(self.key_of(hash))
            .arg(lease)
            .arg("NX")
            .arg("PX")
            .arg(millis(ttl));
        let answer: Option<String> = self
            .link
            .command(|mut connection| async move { set.query_async(&mut connection).await })
            .await?;
        Ok(answer.is_some())
    }

    fn connection(&self) -> CacheConnection {
        CacheConnection(self.link.epoch())
    }

    async fn settle(
        &self,
        hash: &TokenHash,
        lease: &[u8],
        value: &[u8],
        ttl: Duration,
        on: CacheConnection,
    ) -> Result<bool, StoreError> {
        let call = self.swap(hash, lease, value, ttl);
        let put = |connection| call.run(connection);
        self.link.command_in(on.0, put).await
    }

    async fn overwrite(
        &self,
        hash: &TokenHash,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let key = self.key_of(hash);
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(value).arg("PX").arg(millis(ttl));
        let mut del = redis::cmd("DEL");
        del.arg(&key);
        // Both within the time of one command.
        let overwrite = |mut connection| async move {
            match set.query_async::<()>(&mut connection).await {
                // A Redis that is full takes no value, and gives up the one that it has.
                Err(error) if is_refusal(&error) => {
                    let () = del.query_async(&mut connection).await?;
                    Ok(false)
                }
                written => written.map(|()| true),
            }
        };
        self.link.command(overwrite).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.link.command(ping).await
    }
}
