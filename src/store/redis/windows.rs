//! `rl:{limit}:{scope}:{id}`: sliding windows.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::Script;

use super::RedisLink;
use crate::{
    rate_limit::{Occupancy, WindowKey},
    store::{StoreError, Windows},
};

/// [`Windows`] in Redis's sorted sets. One key for each script: Redis Cluster works.
#[derive(Debug)]
pub struct RedisWindows {
    link: Arc<RedisLink>,
    hit: Script,
}

impl RedisWindows {
    /// Builds the windows on a link.
    pub fn new(link: Arc<RedisLink>) -> Self {
        Self {
            link,
            hit: Script::new(include_str!("windows.lua")),
        }
    }
}

#[async_trait]
impl Windows for RedisWindows {
    async fn hit(
        &self,
        key: &WindowKey,
        count: u32,
        window: Duration,
        member: u64,
    ) -> Result<Occupancy, StoreError> {
        let mut invocation = self.hit.prepare_invoke();
        invocation
            .key(self.link.key(key.as_str()))
            .arg(count)
            .arg(window.as_secs_f64())
            .arg(format!("{member:016x}"));
        let (admitted, used, leaves_in): (bool, u32, u64) = self
            .link
            .command(|mut connection| async move { invocation.invoke_async(&mut connection).await })
            .await?;
        Ok(Occupancy {
            admitted,
            used,
            oldest_leaves_in: Duration::from_millis(leaves_in),
        })
    }
}
