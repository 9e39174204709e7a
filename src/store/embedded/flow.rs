//! Logins under way, in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

use super::lock;
use crate::{
    clock::{Clock, Monotonic},
    device::{DeviceCode, UserCode},
    store::{FlowStore, FlowValue, StoreError},
};

/// Logins in memory; shared by whoever holds the same value.
#[derive(Debug)]
pub struct EmbeddedFlows {
    clock: Arc<dyn Clock>,
    values: Mutex<HashMap<Key, (Value, Monotonic)>>,
}

/// The four keys that a login may have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(UserCode),
    State(DeviceCode),
    LastPoll(DeviceCode),
    Approving(DeviceCode),
}

/// What stands under a key; never printed, it may hold a token.
struct Value(Vec<u8>);

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Value(…)")
    }
}

/// What an atomic step leaves under its key.
enum Step {
    Keep,
    Put(Vec<u8>, Duration),
    Remove,
}

impl EmbeddedFlows {
    /// Builds an empty store whose time is `clock`'s.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            values: Mutex::default(),
        }
    }

    /// Looks at the value under `key` and changes it, in one atomic step.
    fn step<T>(&self, key: Key, decide: impl FnOnce(Option<(&[u8], Duration)>) -> (T, Step)) -> T {
        let now = self.clock.monotonic();
        let mut values = lock(&self.values);
        // Nobody else ever looks at what has ended.
        values.retain(|_, (_, until)| *until > now);
        let present = values
            .get(&key)
            .map(|(value, until)| (value.0.as_slice(), until.since(now)));
        let (answer, step) = decide(present);
        match step {
            Step::Keep => {}
            Step::Put(value, ttl) => {
                values.insert(key, (Value(value), now.plus(ttl)));
            }
            Step::Remove => {
                values.remove(&key);
            }
        }
        answer
    }

    fn put_if_absent(&self, key: Key, value: &str, ttl: Duration) -> bool {
        self.step(key, |present| match present {
            Some(_) => (false, Step::Keep),
            None => (true, Step::Put(value.into(), ttl)),
        })
    }

    fn take(&self, key: Key, expected: &[u8]) -> bool {
        self.step(key, |present| match present {
            Some((value, _)) if value == expected => (true, Step::Remove),
            _ => (false, Step::Keep),
        })
    }

    fn read(&self, key: Key) -> Option<FlowValue> {
        self.step(key, |present| {
            let found = present.map(|(value, remaining)| FlowValue {
                bytes: value.to_vec(),
                remaining,
            });
            (found, Step::Keep)
        })
    }
}

#[async_trait]
impl FlowStore for EmbeddedFlows {
    async fn claim_user_code(
        &self,
        user_code: &UserCode,
        device_code: &DeviceCode,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let key = Key::User(user_code.clone());
        Ok(self.put_if_absent(key, device_code.as_str(), ttl))
    }

    async fn device_code_of(&self, user_code: &UserCode) -> Result<Option<DeviceCode>, StoreError> {
        let found = self.read(Key::User(user_code.clone()));
        Ok(found.and_then(|value| DeviceCode::parse(str::from_utf8(&value.bytes).ok()?)))
    }

    async fn put(
        &self,
        device_code: &DeviceCode,
        state: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.step(Key::State(device_code.clone()), |_| {
            ((), Step::Put(state.to_vec(), ttl))
        });
        Ok(())
    }

    async fn state(&self, device_code: &DeviceCode) -> Result<Option<FlowValue>, StoreError> {
        Ok(self.read(Key::State(device_code.clone())))
    }

    async fn decide(
        &self,
        device_code: &DeviceCode,
        expected: &[u8],
        state: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let key = Key::State(device_code.clone());
        Ok(self.step(key, |present| match present {
            Some((value, _)) if value == expected => (true, Step::Put(state.to_vec(), ttl)),
            _ => (false, Step::Keep),
        }))
    }

    async fn consume(&self, device_code: &DeviceCode, expected: &[u8]) -> Result<bool, StoreError> {
        Ok(self.take(Key::State(device_code.clone()), expected))
    }

    async fn note_poll(
        &self,
        device_code: &DeviceCode,
        now: f64,
        ttl: Duration,
    ) -> Result<Option<f64>, StoreError> {
        let key = Key::LastPoll(device_code.clone());
        Ok(self.step(key, |present| {
            let before = present.and_then(|(value, _)| str::from_utf8(value).ok()?.parse().ok());
            (before, Step::Put(format!("{now:.6}").into(), ttl))
        }))
    }

    async fn begin_approving(
        &self,
        device_code: &DeviceCode,
        owner: &str,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        Ok(self.put_if_absent(Key::Approving(device_code.clone()), owner, ttl))
    }

    async fn end_approving(&self, device_code: &DeviceCode, owner: &str) -> Result<(), StoreError> {
        self.take(Key::Approving(device_code.clone()), owner.as_bytes());
        Ok(())
    }

    async fn tidy(
        &self,
        device_code: &DeviceCode,
        user_code: Option<&UserCode>,
    ) -> Result<(), StoreError> {
        let keys = [
            Some(Key::LastPoll(device_code.clone())),
            user_code.cloned().map(Key::User),
        ];
        for key in keys.into_iter().flatten() {
            self.step(key, |_| ((), Step::Remove));
        }
        Ok(())
    }
}
