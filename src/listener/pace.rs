//! How slowly a request's body may come (`server.min_body_rate`).
//!
//! A client has some slack. Waiting for it uses the slack up, second by second; every byte that
//! comes gives some back, at the least rate, and never more than there was at the beginning. So a
//! body that keeps the rate may stumble for as long as the slack lasts, and a fast beginning buys no
//! long silence later. Time in which nobody waits for the client, because the upstream takes
//! nothing or there is an answer to be sent, uses nothing up.

use std::{
    future::Future as _,
    io,
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use crate::clock::{Clock, Monotonic};

/// What is asked of a body.
#[derive(Clone, Copy, Debug)]
pub struct BodyRate {
    /// Least bytes a second.
    pub bytes: NonZeroU32,
    /// How far a client may fall behind.
    pub slack: Duration,
}

/// A body that has not kept up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request's body comes too slowly")]
pub struct TooSlow;

impl From<TooSlow> for io::Error {
    fn from(slow: TooSlow) -> Self {
        Self::new(io::ErrorKind::TimedOut, slow)
    }
}

/// How one body keeps up.
#[derive(Debug)]
pub struct Pace {
    rate: BodyRate,
    clock: Arc<dyn Clock>,
    /// What is left of the slack.
    left: Duration,
    /// Whether the client is to send by now.
    begun: bool,
    /// Since when it is waited for.
    since: Option<Monotonic>,
    /// Goes off when the slack may be over, never later. It stays through many short waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Begins with all of the slack. Where the client waits to be asked for its body, nothing counts
    /// before the first of it (RFC 9110 section 10.1.1): the asking is the upstream's.
    pub fn new(rate: BodyRate, waits_to_be_asked: bool, clock: Arc<dyn Clock>) -> Self {
        Self {
            rate,
            clock,
            left: rate.slack,
            begun: !waits_to_be_asked,
            since: None,
            timer: None,
        }
    }

    /// Says that nothing is there and the client is waited for; ready once it is too slow, and at
    /// every call from then on.
    pub fn waits(&mut self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        if !self.begun {
            return Poll::Pending;
        }
        loop {
            let now = self.clock.monotonic();
            let waited = now.since(*self.since.get_or_insert(now));
            let Some(left) = self.left.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return Poll::Ready(TooSlow);
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(left)));
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
        }
    }

    /// Says that so many bytes have come.
    pub fn received(&mut self, bytes: usize) {
        self.begun |= bytes > 0;
        self.pauses();
        let nanos = u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .saturating_mul(1_000_000_000)
            / u64::from(self.rate.bytes.get());
        let earned = Duration::from_nanos(nanos);
        self.left = self.left.saturating_add(earned).min(self.rate.slack);
    }

    /// Says that the client is not waited for any more.
    pub fn pauses(&mut self) {
        if let Some(since) = self.since.take() {
            let waited = self.clock.monotonic().since(since);
            self.left = self.left.saturating_sub(waited);
        }
    }

    /// Gives some time for which the client is not to blame.
    pub fn excuse(&mut self, time: Duration) {
        self.since = None;
        self.timer = None;
        self.left = time;
    }
}

#[cfg(test)]
mod tests;
