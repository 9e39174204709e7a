//! Where keys of tokens may be, so that changes can be followed there: one server, or every
//! primary of a cluster.

use std::collections::BTreeMap;

use redis::{ConnectionInfo, FromRedisValue as _, Value};

use super::{RedisLink, STORE};
use crate::store::StoreError;

/// Names that are tried for each node until one of them lives there. With a thousand nodes, the
/// chance that one is still without is below 10^-13.
const NAMES_PER_NODE: usize = 32;

/// A server that holds some of the keys.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Where it is; `None`: where the link's endpoint says.
    pub(super) node: Option<ConnectionInfo>,
    /// What follows the prefix in a key that lives there and that only this process writes.
    pub(super) own: Box<str>,
}

/// The primaries of a cluster, with the slots of each; empty for one server.
type Primaries = BTreeMap<(String, u16), Vec<(u16, u16)>>;

impl RedisLink {
    /// Finds every place, and for each a key that begins with `prefix` and `own`.
    pub(super) async fn places(&self, prefix: &str, own: &str) -> Result<Vec<Place>, StoreError> {
        let Some(dialling) = self.endpoint.nodes() else {
            return Ok(vec![Place {
                node: None,
                own: own.into(),
            }]);
        };
        let primaries = self.primaries().await?;
        let mut places = BTreeMap::new();
        let mut slots = Vec::new();
        for number in 0..NAMES_PER_NODE * primaries.len() {
            let own = format!("{own}-{number}");
            let mut ask = redis::cmd("CLUSTER");
            ask.arg("KEYSLOT").arg(format!("{prefix}{own}"));
            let slot: u16 = self
                .command(|mut connection| async move { ask.query_async(&mut connection).await })
                .await?;
            slots.push(slot);
            let owner = primaries.iter().find(|(_, ranges)| holds(ranges, slot));
            if let Some((address, _)) = owner {
                places.entry(address.clone()).or_insert(own);
            }
            if places.len() == primaries.len() {
                break;
            }
        }
        // With braces in `redis.key_prefix` all keys are in one slot, and only its node matters.
        let in_one_slot = slots.windows(2).all(|pair| pair[0] == pair[1]);
        if places.is_empty() || (places.len() < primaries.len() && !in_one_slot) {
            return Err(unclear("a node of the cluster holds none of 32 names"));
        }
        places
            .into_iter()
            .map(|((host, port), own)| {
                let node = dialling.node(&host, port).map_err(super::classify)?;
                Ok(Place {
                    node: Some(node),
                    own: own.into(),
                })
            })
            .collect()
    }

    /// Returns the primaries of the cluster, as one of its nodes has them; none for one server.
    pub(super) async fn primaries(&self) -> Result<Primaries, StoreError> {
        if self.endpoint.is_single() {
            return Ok(Primaries::new());
        }
        let mut ask = redis::cmd("CLUSTER");
        ask.arg("SLOTS");
        let ranges: Vec<Vec<Value>> = self
            .command(|mut connection| async move { ask.query_async(&mut connection).await })
            .await?;
        let mut primaries = Primaries::new();
        for range in ranges {
            let (first, last, address) = read(range)
                .ok_or_else(|| unclear("a node of the cluster does not tell its address"))?;
            primaries.entry(address).or_default().push((first, last));
        }
        Ok(primaries)
    }
}

fn holds(ranges: &[(u16, u16)], slot: u16) -> bool {
    ranges
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&slot))
}

/// Reads a range of slots and its primary, which comes before the replicas.
fn read(range: Vec<Value>) -> Option<(u16, u16, (String, u16))> {
    let mut range = range.into_iter();
    let mut slot = || u16::from_redis_value(range.next()?).ok();
    let (first, last) = (slot()?, slot()?);
    let primary = Vec::<Value>::from_redis_value(range.next()?).ok()?;
    let mut primary = primary.into_iter();
    let host = String::from_redis_value(primary.next()?).ok()?;
    let port = u16::from_redis_value(primary.next()?).ok()?;
    // Nothing or "?" stands for "ask whoever told you", which a random node may have been.
    let known = !host.is_empty() && host != "?";
    known.then_some((first, last, (host, port)))
}

fn unclear(what: &'static str) -> StoreError {
    StoreError::Rejected {
        store: STORE,
        source: what.into(),
    }
}
