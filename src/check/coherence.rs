//! What this process knows about changes in Redis: generations, and whether it is told at all.
//!
//! A reader calls [`Coherence::ask`] before it asks Redis and [`Coherence::stands`] when it
//! inserts. Whoever learns that a key changed moves its slice's generation on, even where there is
//! no entry: the reader that is still under way then keeps its answer to itself
//! (`design/coherence.md`, rules 2 and 4; `tests/model` checks them exhaustively).

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use crate::{clock::Monotonic, token::TokenHash};

/// How many slices the hash space has: one for each value of a hash's first byte. A fill that is
/// turned away by a neighbour's invalidation only costs one more read.
const SLICES: usize = 256;

/// Longest life of an entry in Redis, whoever wrote it (`contract/tokens.md`), and so of a local
/// one.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(60);

/// How long a fill that has been sent can still be put in place: what it replaces is a lease
/// (5 s), or an entry that is renewed in the last eighth of its life.
const LATEST_FILL: Duration = Duration::from_millis(7_500);

/// What is known about changes.
#[derive(Debug)]
pub(super) struct Coherence {
    generations: [AtomicU64; SLICES],
    /// Whether every change is reported as it happens.
    followed: AtomicBool,
    /// When it was last proven that nothing had been missed, in microseconds.
    proven: AtomicU64,
    /// When Redis was last connected to anew, in microseconds; 0: never since the first time.
    reconnected: AtomicU64,
}

/// Tells one connection to Redis from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionId(u64);

/// What held when Redis was asked for a hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When.
    pub(super) at: Monotonic,
    generation: u64,
    followed: bool,
}

impl Asked {
    /// Returns until when an answer may be kept that stays in Redis for `remaining`: as long as
    /// its key where every change is reported, else at most `untracked_ttl`.
    pub(super) fn until(&self, remaining: Duration, untracked_ttl: Duration) -> Monotonic {
        let longest = if self.followed {
            LONGEST_LIFE
        } else {
            untracked_ttl
        };
        self.at.plus(remaining.min(longest))
    }

    /// Returns until when an answer may be kept behind which there is no key to watch.
    pub(super) fn until_unwatched(
        &self,
        remaining: Duration,
        untracked_ttl: Duration,
    ) -> Monotonic {
        self.at.plus(remaining.min(untracked_ttl))
    }
}

impl Coherence {
    /// Returns which connection to Redis is in use.
    pub(super) fn connection(&self) -> ConnectionId {
        ConnectionId(self.reconnected.load(Ordering::Acquire))
    }

    /// Notes what holds now, before Redis is asked for `hash`.
    pub(super) fn ask(&self, hash: &TokenHash, at: Monotonic) -> Asked {
        // The generation first: if changes stop being reported after this line, the generation
        // moves on after it as well, and `stands` says no.
        let generation = self.slice(hash).load(Ordering::Acquire);
        Asked {
            at,
            generation,
            followed: self.followed.load(Ordering::Acquire),
        }
    }

    /// Tells whether nothing is known to have changed since `asked`. To be called under the lock
    /// that whoever removes the entry will take.
    pub(super) fn stands(&self, hash: &TokenHash, asked: &Asked) -> bool {
        self.slice(hash).load(Ordering::Acquire) == asked.generation
    }

    /// Tells whether an entry that Redis was `asked` for, and that will stay for `remaining`, may be
    /// older than the present connection to Redis.
    ///
    /// What answers after a lost connection may be another server, or the same one with an older
    /// state: a successor lacks the last writes of its predecessor, a restart those since the last
    /// save. An entry from before may have been deleted there by a revocation. So may one from
    /// shortly after: a fill that was sent over the lost connection can arrive when the present
    /// one is up already, for as long as what it replaces still stands.
    ///
    /// To be called after the answer has come: it may have come over a connection that is younger
    /// than the question.
    pub(super) fn doubts(&self, asked: &Asked, remaining: Duration) -> bool {
        let reconnected = self.reconnected.load(Ordering::Acquire);
        if reconnected == 0 {
            return false;
        }
        let reconnected = Monotonic::from_micros(reconnected);
        let age_at_most = LONGEST_LIFE.saturating_sub(remaining);
        asked.at <= reconnected || asked.at.since(reconnected) < age_at_most + LATEST_FILL
    }

    /// Notes that the value under `hash` has changed.
    pub(super) fn changed(&self, hash: &TokenHash) {
        self.slice(hash).fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that any value may have changed.
    pub(super) fn all_changed(&self) {
        for slice in &self.generations {
            slice.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Notes that everything that had changed at `at` has been reported. Returns whether changes
    /// were not followed until now.
    pub(super) fn proven(&self, at: Monotonic) -> bool {
        self.proven.store(at.as_micros(), Ordering::Release);
        !self.followed.swap(true, Ordering::AcqRel)
    }

    /// Notes that changes are no longer reported. Returns since when none can be vouched for, or
    /// `None` where they were not followed anyway.
    pub(super) fn lost(&self) -> Option<Monotonic> {
        let followed = self.followed.swap(false, Ordering::AcqRel);
        self.all_changed();
        followed.then(|| Monotonic::from_micros(self.proven.load(Ordering::Acquire)))
    }

    /// Notes that another connection to Redis is about to be used.
    pub(super) fn reconnected(&self, at: Monotonic) {
        // Never the same twice: it tells connections apart as well. There is one caller at a time.
        let before = self.reconnected.load(Ordering::Acquire);
        self.reconnected
            .store(at.as_micros().max(before + 1), Ordering::Release);
    }

    fn slice(&self, hash: &TokenHash) -> &AtomicU64 {
        &self.generations[usize::from(hash.as_bytes()[0])]
    }
}

impl Default for Coherence {
    fn default() -> Self {
        Self {
            generations: [const { AtomicU64::new(0) }; SLICES],
            followed: AtomicBool::new(false),
            proven: AtomicU64::new(0),
            reconnected: AtomicU64::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: TokenHash = TokenHash::from_digest([7; 32]);
    const SHORT: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn an_answer_lives_as_long_as_its_key_only_where_changes_are_followed() {
        let coherence = Coherence::default();
        assert_eq!(coherence.ask(&HASH, at(5)).until(MINUTE, SHORT), at(6));
        assert!(coherence.proven(at(5)));
        assert!(!coherence.proven(at(6)), "nothing new");
        let asked = coherence.ask(&HASH, at(7));
        assert_eq!(asked.until(MINUTE, SHORT), at(67));
        assert_eq!(asked.until(3 * MINUTE, SHORT), at(67));
        assert_eq!(asked.until_unwatched(MINUTE, SHORT), at(8));
    }

    #[test]
    fn a_change_a_flush_and_a_loss_turn_answers_under_way_away() {
        let coherence = Coherence::default();
        coherence.proven(at(1));
        let elsewhere = TokenHash::from_digest([8; 32]);
        let changes: [&dyn Fn(); 3] = [
            &|| coherence.changed(&HASH),
            &|| coherence.all_changed(),
            &|| assert_eq!(coherence.lost(), Some(at(1))),
        ];
        for change in changes {
            let asked = coherence.ask(&HASH, at(2));
            assert!(coherence.stands(&HASH, &asked));
            change();
            assert!(!coherence.stands(&HASH, &asked));
        }
        let asked = coherence.ask(&elsewhere, at(2));
        coherence.changed(&HASH);
        assert!(coherence.stands(&elsewhere, &asked));
    }

    #[test]
    fn a_loss_tells_since_when_nothing_is_certain() {
        let coherence = Coherence::default();
        assert_eq!(coherence.lost(), None);
        coherence.proven(at(3));
        coherence.proven(at(4));
        assert_eq!(coherence.lost(), Some(at(4)));
        assert_eq!(coherence.lost(), None);
    }

    #[test]
    fn entries_that_may_be_older_than_the_connection_are_doubted() {
        let coherence = Coherence::default();
        let doubts = |asked: &Asked, seconds| coherence.doubts(asked, Duration::from_secs(seconds));
        let before = coherence.ask(&HASH, at(99));
        assert!(!doubts(&before, 1));
        coherence.reconnected(at(100));
        let asked = coherence.ask(&HASH, at(110));
        assert!(doubts(&asked, 49), "11 s old at most");
        assert!(
            doubts(&asked, 57),
            "3 s old at most: its fill may have begun before, and arrived late"
        );
        assert!(!doubts(&asked, 58), "2 s old at most");
        assert!(!doubts(&coherence.ask(&HASH, at(168)), 0));
        assert!(doubts(&before, 60), "asked before, perhaps answered after");
    }
}
