//! `rl:{limit}:{scope}:{id}`: sliding windows, and leases of one.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{RedisLink, millis, script::OneKeyScript};
use crate::{
    config::RateLimit,
    rate_limit::{
        Occupancy, WindowKey,
        ledger::{Grant, PARTS, Unused},
    },
    store::{StoreError, Windows},
};

/// [`Windows`] in Redis's sorted sets. One key for each script: Redis Cluster works.
#[derive(Debug)]
pub struct RedisWindows {
    link: Arc<RedisLink>,
    hit: OneKeyScript,
    lease: OneKeyScript,
}

impl RedisWindows {
    /// Builds the windows on a link.
    pub fn new(link: Arc<RedisLink>) -> Self {
        Self {
            link,
            hit: OneKeyScript::new(include_str!("windows.lua")),
            lease: OneKeyScript::new(include_str!("lease.lua")),
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

    async fn lease(
        &self,
        key: &WindowKey,
        quota: RateLimit,
        ask: u32,
        unused: Option<Unused>,
    ) -> Result<Grant, StoreError> {
        let window = millis(quota.window);
        let (back_end, back) = unused.map_or((0, 0), |unused| (unused.ends, unused.units));
        let call = self.lease.on(self.link.key(key.as_str()));
        let call = call
            .arg(quota.count)
            .arg(window)
            .arg(window / u64::from(PARTS))
            .arg(ask)
            .arg(back_end)
            .arg(back);
        let (units, ends, life, wait): (u32, u64, u64, u64) =
            self.link.command(|connection| call.run(connection)).await?;
        Ok(Grant {
            units,
            ends,
            life: Duration::from_millis(life),
            wait: Duration::from_millis(wait),
        })
    }
}
