//! One flight for each token: concurrent misses share one trip to the stores.
//!
//! A flight belongs to no request. It runs in a task of its own, so that a client who leaves takes
//! nothing down with it.

use std::{future::Future, hash::RandomState, sync::Arc, time::Duration};

use dashmap::{DashMap, Entry};
use prometheus::IntGauge;
use tokio::{sync::watch, time::timeout};

use crate::token::TokenHash;

/// Most requests that wait for one flight. Past that a client is told to come back: each waiter
/// holds a connection and its buffers, and the flight lasts as long as the slowest store.
const MAX_WAITERS: usize = 8_192;

/// Why a flight gave no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// It took too long.
    #[error("the check took too long")]
    TimedOut,
    /// Too many others wait for it.
    #[error("too many requests wait for this check")]
    Crowded,
    /// It panicked; the panic itself is in the log.
    #[error("the check broke off")]
    Broken,
}

/// What a flight came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Landed<T> {
    pub(super) outcome: T,
    /// Whether it was under way already: its questions may have been asked before this.
    pub(super) joined: bool,
}

/// Every flight's sender, from which those who join subscribe.
type Board<T> = Arc<DashMap<TokenHash, Arc<watch::Sender<Option<T>>>, RandomState>>;

/// The flights under way; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Flights<T> {
    running: Board<T>,
    deadline: Duration,
    waiters: IntGauge,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Builds a board on which every wait ends after `deadline`; `waiters` shows how many wait.
    pub(super) fn new(deadline: Duration, waiters: IntGauge) -> Self {
        Self {
            running: Arc::default(),
            deadline,
            waiters,
        }
    }

    /// Joins the flight for `hash`, or starts it with `work`.
    ///
    /// Dropping the returned future leaves the flight running.
    ///
    /// # Errors
    ///
    /// See [`Lost`].
    pub(super) async fn join<F>(
        &self,
        hash: TokenHash,
        work: impl FnOnce() -> F,
    ) -> Result<Landed<T>, Lost>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (mut outcome, joined) = match self.running.entry(hash) {
            Entry::Occupied(flight) if flight.get().receiver_count() >= MAX_WAITERS => {
                return Err(Lost::Crowded);
            }
            Entry::Occupied(flight) => (flight.get().subscribe(), true),
            Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(None);
                let sender = Arc::new(sender);
                place.insert(Arc::clone(&sender));
                let landing = Landing {
                    running: Arc::clone(&self.running),
                    hash,
                };
                let work = timeout(self.deadline, work());
                tokio::spawn(async move {
                    let outcome = work.await;
                    // Off the board first: who comes from now on starts a flight of its own.
                    drop(landing);
                    if let Ok(outcome) = outcome {
                        sender.send_replace(Some(outcome));
                    }
                });
                (receiver, false)
            }
        };
        let _waiting = Waiting::new(&self.waiters);
        match timeout(self.deadline, outcome.wait_for(Option::is_some)).await {
            Ok(Ok(landed)) => match landed.clone() {
                Some(outcome) => Ok(Landed { outcome, joined }),
                None => Err(Lost::Broken),
            },
            Ok(Err(_)) => Err(Lost::Broken),
            Err(_) => Err(Lost::TimedOut),
        }
    }
}

/// One who waits, for as long as they do.
struct Waiting<'a>(&'a IntGauge);

impl<'a> Waiting<'a> {
    fn new(waiters: &'a IntGauge) -> Self {
        waiters.inc();
        Self(waiters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Takes a flight off the board, whether it lands or panics.
struct Landing<T> {
    running: Board<T>,
    hash: TokenHash,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        self.running.remove(&self.hash);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const HASH: TokenHash = TokenHash::from_digest([7; 32]);

    fn flights<T: Clone + Send + Sync + 'static>(deadline: Duration) -> Flights<T> {
        Flights::new(deadline, IntGauge::new("waiters", "waiters").unwrap())
    }

    #[tokio::test]
    async fn those_who_come_together_share_one_flight() {
        let flights = Arc::new(flights(Duration::from_secs(5)));
        let started = Arc::new(AtomicUsize::new(0));
        let (open, gate) = watch::channel(false);

        let waiters: Vec<_> = (0..100)
            .map(|_| {
                let (flights, started, mut gate) =
                    (Arc::clone(&flights), Arc::clone(&started), gate.clone());
                tokio::spawn(async move {
                    flights
                        .join(HASH, || async move {
                            started.fetch_add(1, Ordering::SeqCst);
                            gate.wait_for(|open| *open).await.unwrap();
                            42
                        })
                        .await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        open.send_replace(true);

        let mut joined = 0;
        for waiter in waiters {
            let landed = waiter.await.unwrap().unwrap();
            assert_eq!(landed.outcome, 42);
            joined += usize::from(landed.joined);
        }
        assert_eq!(joined, 99);
        assert_eq!(started.load(Ordering::SeqCst), 1);
        assert!(flights.running.is_empty());
        assert_eq!(flights.waiters.get(), 0);
    }

    #[tokio::test]
    async fn a_client_that_leaves_takes_nothing_down() {
        let flights = flights(Duration::from_secs(5));
        let (open, mut gate) = watch::channel(false);
        let landed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&landed);

        let impatient = flights.join(HASH, || async move {
            gate.wait_for(|open| *open).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert!(timeout(Duration::from_millis(10), impatient).await.is_err());
        open.send_replace(true);
        flights.join(HASH, || async {}).await.unwrap();

        assert_eq!(landed.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panic_strands_nobody() {
        let flights = flights::<()>(Duration::from_secs(5));
        let lost = flights.join(HASH, || async { panic!("on purpose") }).await;
        assert_eq!(lost, Err(Lost::Broken));
        assert!(flights.join(HASH, || async {}).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_that_hangs_ends_with_its_deadline() {
        let flights = flights::<()>(Duration::from_secs(5));
        let lost = flights.join(HASH, std::future::pending).await;
        assert!(matches!(lost, Err(Lost::TimedOut | Lost::Broken)));
        tokio::task::yield_now().await;
        assert!(flights.running.is_empty());
    }
}
