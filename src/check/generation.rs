//! Generations: how a fill notices that an invalidation overtook it.
//!
//! A reader takes the generation of the hash's slice before it asks Redis and compares it when it
//! inserts. Whoever learns that a key changed moves the slice on, even where there is no entry:
//! the reader that is still under way then keeps its answer to itself.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::token::TokenHash;

/// How many slices the hash space has: one for each value of a hash's first byte. A fill that is
/// turned away by a neighbour's invalidation only costs one more read.
const SLICES: usize = 256;

/// The generation of every slice.
#[derive(Debug)]
pub(super) struct Generations([AtomicU64; SLICES]);

/// A slice's generation at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u64);

impl Generations {
    pub(super) fn of(&self, hash: &TokenHash) -> Generation {
        Generation(self.slice(hash).load(Ordering::Acquire))
    }

    /// Moves the slice of `hash` on.
    pub(super) fn advance(&self, hash: &TokenHash) {
        self.slice(hash).fetch_add(1, Ordering::AcqRel);
    }

    fn slice(&self, hash: &TokenHash) -> &AtomicU64 {
        &self.0[usize::from(hash.as_bytes()[0])]
    }
}

impl Default for Generations {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; SLICES])
    }
}
