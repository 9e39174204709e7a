//! Randomness as an argument, for the same reasons as [`crate::clock`].

use std::fmt;

/// Gives random bytes that nobody can predict.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `bytes` with cryptographically secure randomness.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's generator.
#[derive(Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    /// # Panics
    ///
    /// When the kernel has no generator: a process that guards tokens cannot go on without one.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where ambient randomness comes in"
    )]
    #[expect(
        clippy::expect_used,
        reason = "getrandom(2) fails only where the kernel lacks it; there is no safe fallback"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}
