//! What the shared cache tells about changes in it.

use std::{fmt, time::Duration};

use crate::{clock::Monotonic, token::TokenHash};

/// Hears what happens to the values of a [`TokenCache`](super::TokenCache).
///
/// Calls about changes come in the order in which the changes happened, from the task that reads
/// the connection: an implementation must not block.
pub trait CacheObserver: Send + Sync + fmt::Debug {
    /// The value under `hash` was written, deleted, evicted, or has ended.
    fn changed(&self, hash: &TokenHash);

    /// Every value is gone, or may be.
    fn all_changed(&self);

    /// Everything that had changed at `at` has been reported, and what changes from now on will
    /// be. It took `lag` from asking for a write to hearing of it.
    fn proven(&self, at: Monotonic, lag: Duration);

    /// Changes are no longer reported, or not in time.
    fn lost(&self);

    /// Another connection to the cache is about to be used, perhaps to another server. Changes
    /// count as no longer reported.
    fn reconnected(&self);
}
