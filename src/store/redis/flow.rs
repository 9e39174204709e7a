//! `device_code:{…}` and `user_code:{…}`: logins under way.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{RedisLink, millis, script::OneKeyScript};
use crate::{
    device::{DeviceCode, UserCode},
    store::{FlowStore, FlowValue, StoreError},
};

/// [`FlowStore`] in Redis. One key for each script: Redis Cluster works.
#[derive(Debug)]
pub struct RedisFlowStore {
    link: Arc<RedisLink>,
    swap: OneKeyScript,
    take: OneKeyScript,
    note: OneKeyScript,
}

impl RedisFlowStore {
    /// Builds the store on a link.
    pub fn new(link: Arc<RedisLink>) -> Self {
        Self {
            link,
            swap: OneKeyScript::new(include_str!("swap.lua")),
            take: OneKeyScript::new(include_str!("take.lua")),
            note: OneKeyScript::new(include_str!("note.lua")),
        }
    }

    fn state_key(&self, code: &DeviceCode) -> String {
        self.link.key(&format!("device_code:{}", code.as_str()))
    }

    fn poll_key(&self, code: &DeviceCode) -> String {
        self.link
            .key(&format!("device_code:{}:last_poll", code.as_str()))
    }

    fn guard_key(&self, code: &DeviceCode) -> String {
        self.link
            .key(&format!("device_code:{}:approving", code.as_str()))
    }

    fn user_key(&self, code: &UserCode) -> String {
        self.link.key(&format!("user_code:{}", code.to_text()))
    }

    async fn set_if_absent(
        &self,
        key: String,
        value: &str,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let mut set = redis::cmd("SET");
        set.arg(key).arg(value).arg("NX").arg("PX").arg(millis(ttl));
        let answer: Option<String> = self
            .link
            .command(|mut connection| async move { set.query_async(&mut connection).await })
            .await?;
        Ok(answer.is_some())
    }

    /// Removes the value under `key` if it is exactly `expected`.
    async fn take(&self, key: String, expected: &[u8]) -> Result<bool, StoreError> {
        let call = self.take.on(key).arg(expected);
        self.link.command(|connection| call.run(connection)).await
    }
}

#[async_trait]
impl FlowStore for RedisFlowStore {
    async fn claim_user_code(
        &self,
        user_code: &UserCode,
        device_code: &DeviceCode,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.set_if_absent(self.user_key(user_code), device_code.as_str(), ttl)
            .await
    }

    async fn device_code_of(&self, user_code: &UserCode) -> Result<Option<DeviceCode>, StoreError> {
        let mut get = redis::cmd("GET");
        get.arg(self.user_key(user_code));
        let found: Option<String> = self
            .link
            .command(|mut connection| async move { get.query_async(&mut connection).await })
            .await?;
        Ok(found.as_deref().and_then(DeviceCode::parse))
    }

    async fn put(
        &self,
        device_code: &DeviceCode,
        state: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let mut set = redis::cmd("SET");
        set.arg(self.state_key(device_code))
            .arg(state)
            .arg("PX")
            .arg(millis(ttl));
        self.link
            .command(|mut connection| async move { set.query_async(&mut connection).await })
            .await
    }

    async fn state(&self, device_code: &DeviceCode) -> Result<Option<FlowValue>, StoreError> {
        let value = self.link.value_and_ttl(self.state_key(device_code)).await?;
        Ok(value.map(|(bytes, ttl)| FlowValue {
            bytes,
            remaining: ttl.unwrap_or_default(),
        }))
    }

    async fn decide(
        &self,
        device_code: &DeviceCode,
        expected: &[u8],
        state: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let call = self.swap.on(self.state_key(device_code));
        let call = call.arg(expected).arg(state).arg(millis(ttl));
        self.link.command(|connection| call.run(connection)).await
    }

    async fn consume(&self, device_code: &DeviceCode, expected: &[u8]) -> Result<bool, StoreError> {
        self.take(self.state_key(device_code), expected).await
    }

    async fn note_poll(
        &self,
        device_code: &DeviceCode,
        now: f64,
        ttl: Duration,
    ) -> Result<Option<f64>, StoreError> {
        let call = self.note.on(self.poll_key(device_code));
        let call = call.arg(format!("{now:.6}")).arg(millis(ttl));
        let before: Option<String> = self.link.command(|connection| call.run(connection)).await?;
        Ok(before.and_then(|before| before.parse().ok()))
    }

    async fn begin_approving(
        &self,
        device_code: &DeviceCode,
        owner: &str,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.set_if_absent(self.guard_key(device_code), owner, ttl)
            .await
    }

    async fn end_approving(&self, device_code: &DeviceCode, owner: &str) -> Result<(), StoreError> {
        self.take(self.guard_key(device_code), owner.as_bytes())
            .await
            .map(drop)
    }

    async fn tidy(
        &self,
        device_code: &DeviceCode,
        user_code: Option<&UserCode>,
    ) -> Result<(), StoreError> {
        // One command for each key: in a cluster they live in different slots.
        let keys = [
            Some(self.poll_key(device_code)),
            user_code.map(|code| self.user_key(code)),
        ];
        for key in keys.into_iter().flatten() {
            let mut delete = redis::cmd("DEL");
            delete.arg(key);
            let () = self
                .link
                .command(|mut connection| async move { delete.query_async(&mut connection).await })
                .await?;
        }
        Ok(())
    }
}
