//! `rl:{limit}:{scope}:{id}`: sliding windows.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{RedisLink, script::OneKeyScript};
use crate::{
    rate_limit::{Occupancy, WindowKey},
    store::{StoreError, Windows},
};

/// [`Windows`] in Redis's sorted sets. One key for each script: Redis Cluster works.
#[derive(Debug)]
pub struct RedisWindows {
    link: Arc<RedisLink>,
    hit: OneKeyScript,
}

impl RedisWindows {
    /// Builds the windows on a link.
    pub fn new(link: Arc<RedisLink>) -> Self {
        Self {
            link,
            hit: OneKeyScript::new(include_str!("windows.lua")),
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
        let call = self.hit.on(self.link.key(key.as_str()));
        let call = call
            .arg(count)
            .arg(window.as_secs_f64())
            .arg(format!("{member:016x}"));
        let (admitted, used, leaves_in): (bool, u32, u64) =
            self.link.command(|connection| call.run(connection)).await?;
        Ok(Occupancy {
            admitted,
            used,
            oldest_leaves_in: Duration::from_millis(leaves_in),
        })
    }
}
