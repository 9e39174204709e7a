//! The process's own map: the tier that answers without I/O.
//!
//! Live tokens and refusals are kept apart, each bounded, so that garbage cannot push out good
//! tokens. The hasher is keyed per process: nobody outside can aim at one shard or bucket.

use std::{
    hash::RandomState,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use dashmap::{DashMap, Entry as MapEntry};

use super::{
    entry::Entry,
    near::{self, LiveEntry},
};
use crate::{clock::Monotonic, token::TokenHash};

/// Most refusals that are remembered: 65,536 × (32 + 8 bytes, and the table's slack) ≈ 5 MiB.
const REFUSAL_CAPACITY: usize = 65_536;

/// When the map is full, one in this many live entries goes, expired ones apart. Large enough to
/// keep nearly all hot tokens, small enough that a pass pays for thousands of inserts.
const EVICTION_SHARE: u8 = 8;

/// What the map knows about a token.
#[derive(Debug)]
pub enum Hit {
    /// The token is live.
    Live(LiveEntry),
    /// The token is no good.
    Refused,
    /// The map does not know.
    Miss,
}

/// The map. No reference into it is ever held across an await.
#[derive(Debug)]
pub(super) struct LocalCache {
    /// Which map of the process this is, for what threads have at hand.
    id: u64,
    live: Bounded<Arc<Entry>>,
    refused: Bounded<Monotonic>,
}

impl LocalCache {
    /// Builds an empty map for `capacity` live tokens.
    pub(super) fn new(capacity: usize) -> Self {
        static MAPS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: MAPS.fetch_add(1, Ordering::Relaxed),
            live: Bounded::new(capacity),
            refused: Bounded::new(REFUSAL_CAPACITY),
        }
    }

    /// Looks a token up: first in what this thread has at hand, then in the map. Waits for nothing
    /// but the shard's lock, and allocates nothing, but for the pointer by which a thread comes to
    /// hold an entry.
    ///
    /// The deadline is looked at on every hit; it is never later than the token's own end.
    pub(super) fn look_up(&self, hash: &TokenHash, instant: Monotonic) -> Hit {
        if let Some(entry) = near::look_up(self.id, hash, instant) {
            return Hit::Live(entry);
        }
        if let Some(entry) = self.live.map.get(hash) {
            if instant < entry.deadline() {
                return Hit::Live(near::found(self.id, hash, &entry));
            }
            return Hit::Miss;
        }
        match self.refused.map.get(hash) {
            Some(deadline) if instant < *deadline => Hit::Refused,
            _ => Hit::Miss,
        }
    }

    /// Keeps a live token if `still_true`; a full map forgets some others first. An entry that is
    /// not kept has ended, like one that has left.
    ///
    /// The question is asked under the shard's lock: whoever makes it false and then removes the
    /// entry finds it, or finds that it was never put there.
    pub(super) fn insert_live(
        &self,
        hash: TokenHash,
        entry: Arc<Entry>,
        instant: Monotonic,
        still_true: impl FnOnce() -> bool,
    ) {
        let fresh = |entry: &Arc<Entry>| entry.deadline() > instant;
        if self
            .live
            .insert(hash, Arc::clone(&entry), fresh, still_true)
        {
            self.refused.remove(&hash);
        } else {
            entry.end();
        }
    }

    /// Keeps a refusal until `deadline` if `still_true`; the token is no longer live either way.
    pub(super) fn insert_refused(
        &self,
        hash: TokenHash,
        deadline: Monotonic,
        instant: Monotonic,
        still_true: impl FnOnce() -> bool,
    ) {
        self.live.remove(&hash);
        let _ = self
            .refused
            .insert(hash, deadline, |deadline| *deadline > instant, still_true);
    }

    /// Forgets what is known about a token.
    pub(super) fn remove(&self, hash: &TokenHash) {
        self.live.remove(hash);
        self.refused.remove(hash);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.live.retain(|_, _| false);
        self.refused.retain(|_, _| false);
    }

    /// Ends every live entry at `end` at the latest. Refusals stay: they keep nobody in.
    pub(super) fn shorten(&self, end: Monotonic, instant: Monotonic) {
        self.live.retain(|_, entry| {
            entry.shorten(end);
            entry.deadline() > instant
        });
    }

    /// Forgets all that is past its deadline.
    pub(super) fn sweep(&self, instant: Monotonic) {
        self.live.retain(|_, entry| entry.deadline() > instant);
        self.refused.retain(|_, deadline| *deadline > instant);
    }

    /// Returns how many live tokens and how many refusals are held.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.live.len(), self.refused.len())
    }
}

/// What has to be told that it has left its map.
trait Leaves {
    fn leave(&self);
}

impl Leaves for Arc<Entry> {
    fn leave(&self) {
        self.end();
    }
}

/// A refusal is only ever found in the map.
impl Leaves for Monotonic {
    fn leave(&self) {}
}

/// A map that never grows past its capacity (but for inserts that race the last free place).
#[derive(Debug)]
struct Bounded<V> {
    map: DashMap<TokenHash, V, RandomState>,
    /// Kept beside the map, since asking the map would take every shard's lock.
    len: AtomicUsize,
    capacity: usize,
    evicting: AtomicBool,
    /// Which share goes next.
    turn: AtomicUsize,
}

impl<V: Leaves> Bounded<V> {
    fn new(capacity: usize) -> Self {
        Self {
            map: DashMap::with_hasher(RandomState::new()),
            len: AtomicUsize::new(0),
            capacity,
            evicting: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
        }
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Returns whether the value was kept.
    fn insert(
        &self,
        hash: TokenHash,
        value: V,
        fresh: impl Fn(&V) -> bool,
        still_true: impl FnOnce() -> bool,
    ) -> bool {
        if self.len() >= self.capacity && !self.map.contains_key(&hash) {
            self.make_room(fresh);
            if self.len() >= self.capacity {
                // Somebody else is making room, or all is taken: not caching is always safe.
                return false;
            }
        }
        let place = self.map.entry(hash);
        if !still_true() {
            return false;
        }
        match place {
            MapEntry::Occupied(mut place) => {
                place.insert(value).leave();
            }
            MapEntry::Vacant(place) => {
                place.insert(value);
                self.len.fetch_add(1, Ordering::Relaxed);
            }
        }
        true
    }

    fn remove(&self, hash: &TokenHash) {
        // Under the shard's lock: who finds nothing here may be sure that nobody has it at hand.
        let removed = self.map.remove_if(hash, |_, value| {
            value.leave();
            true
        });
        if removed.is_some() {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Drops what is stale and a share of the rest; one thread at a time, the others go on.
    fn make_room(&self, fresh: impl Fn(&V) -> bool) {
        if self.evicting.swap(true, Ordering::Acquire) {
            return;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // A hash is uniform, so any of its bytes draws a fair sample. A map of a few entries may
        // draw none of them in one turn; then all shares go.
        let share = (turn % usize::from(EVICTION_SHARE)) as u8;
        self.retain(|hash, value| fresh(value) && hash.as_bytes()[0] % EVICTION_SHARE != share);
        if self.len() >= self.capacity {
            self.retain(|hash, _| hash.as_bytes()[1] % 2 != share % 2);
        }
        self.evicting.store(false, Ordering::Release);
    }

    fn retain(&self, keep: impl Fn(&TokenHash, &V) -> bool) {
        let mut dropped = 0;
        self.map.retain(|hash, value| {
            let kept = keep(hash, value);
            if !kept {
                value.leave();
                dropped += 1;
            }
            kept
        });
        if dropped > 0 {
            self.len.fetch_sub(dropped, Ordering::Relaxed);
            // A flood that has passed gives its memory back.
            if self.map.capacity() > 8 * (self.len() + 1024) {
                self.map.shrink_to_fit();
            }
        }
    }
}

#[cfg(test)]
mod tests;
