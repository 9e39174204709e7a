//! Which servers have said nothing lately: they come last, so that not every new connection waits for
//! them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long somebody comes last. Then one new connection tries again, at the price of its share of
/// the time.
const LASTS: Duration = Duration::from_secs(30);

/// A server by its place in the configuration, or one address of it.
pub(super) type Candidate = (usize, Option<IpAddr>);

/// The silent ones, and until when they come last.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<HashMap<Candidate, Instant>>);

impl Silence {
    /// Notes that a candidate has let its share of the time pass.
    pub(super) fn note(&self, candidate: Candidate, now: Instant) {
        self.with(|silent| {
            // Addresses that a name has no more are forgotten.
            silent.retain(|_, until| now < *until + LASTS);
            silent.insert(candidate, now + LASTS);
        });
    }

    /// Notes that a candidate is there.
    pub(super) fn forget(&self, candidate: Candidate) {
        self.with(|silent| silent.remove(&candidate));
    }

    /// Tells whether a candidate comes last. When its time is over, only who asks first tries it: to
    /// all others it goes on coming last until that has had an outcome.
    pub(super) fn comes_last(&self, candidate: Candidate, now: Instant) -> bool {
        self.with(|silent| match silent.get_mut(&candidate) {
            Some(until) if now < *until => true,
            Some(until) => {
                *until = now + LASTS;
                false
            }
            None => false,
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Candidate, Instant>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_new_connection_alone_tries_what_was_silent() {
        let (silence, start) = (Silence::default(), Instant::now());
        let (silent, other) = ((0, None), (1, None));

        silence.note(silent, start);

        assert!(silence.comes_last(silent, start));
        assert!(!silence.comes_last(other, start));
        let later = start + LASTS;
        assert!(!silence.comes_last(silent, later), "it is tried again");
        assert!(silence.comes_last(silent, later), "by one");
        silence.forget(silent);
        assert!(!silence.comes_last(silent, later));
    }

    #[test]
    fn what_was_silent_long_ago_is_forgotten() {
        let (silence, start) = (Silence::default(), Instant::now());
        silence.note((0, None), start);
        silence.note((1, None), start + 2 * LASTS);
        assert_eq!(silence.with(|silent| silent.len()), 1);
    }
}
