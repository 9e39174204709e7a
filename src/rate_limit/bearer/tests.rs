use std::collections::VecDeque;

use async_trait::async_trait;
use proptest::prelude::*;

use super::*;
use crate::{
    clock::{ManualClock, Timestamp},
    rate_limit::{
        Occupancy,
        ledger::{Grant, Unused},
    },
    store::{StoreError, embedded::EmbeddedWindows},
};

const TOKEN: Uuid = Uuid::from_u128(7);
const WINDOW: Duration = Duration::from_secs(60);

/// A store that can be away, and counts what it is asked.
#[derive(Debug)]
struct Shared {
    windows: EmbeddedWindows,
    away: std::sync::atomic::AtomicBool,
    calls: AtomicUsize,
}

#[async_trait]
impl Windows for Shared {
    async fn hit(
        &self,
        key: &WindowKey,
        count: u32,
        window: Duration,
        member: u64,
    ) -> Result<Occupancy, StoreError> {
        self.windows.hit(key, count, window, member).await
    }

    async fn lease(
        &self,
        key: &WindowKey,
        quota: RateLimit,
        ask: u32,
        unused: Option<Unused>,
    ) -> Result<Grant, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Err(StoreError::TimedOut { store: "redis" });
        }
        self.windows.lease(key, quota, ask, unused).await
    }
}

/// Some replicas on one store and one clock.
struct World {
    clock: Arc<ManualClock>,
    shared: Arc<Shared>,
    limits: Arc<Current<RateLimitsConfig>>,
    replicas: Vec<BearerLimiter>,
}

fn limits(bearer: Option<u32>) -> RateLimitsConfig {
    let quota = |count| RateLimit {
        count,
        window: WINDOW,
    };
    RateLimitsConfig {
        device_code: quota(1),
        lookup: quota(1),
        sso_initiate: quota(1),
        approve: quota(1),
        approve_external: quota(1),
        account: quota(1),
        bearer: bearer.map(quota),
    }
}

impl World {
    fn of(replicas: usize, count: u32, capacity: usize) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_780_000_000)));
        let shared = Arc::new(Shared {
            windows: EmbeddedWindows::new(Arc::clone(&clock) as Arc<dyn Clock>),
            away: false.into(),
            calls: AtomicUsize::new(0),
        });
        let limits = Current::new(limits(Some(count)));
        let replica = |_| {
            BearerLimiter::new(
                Arc::clone(&shared) as Arc<dyn Windows>,
                Arc::clone(&clock) as Arc<dyn Clock>,
                Arc::new(Metrics::new()),
                Arc::clone(&limits),
                capacity,
            )
        };
        let replicas = (0..replicas).map(replica).collect();
        Self {
            clock,
            shared,
            limits,
            replicas,
        }
    }

    fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::Relaxed)
    }

    fn away(&self, away: bool) {
        self.shared.away.store(away, Ordering::Relaxed);
    }

    /// Sends requests through one replica; how many pass before the first that does not.
    async fn drain(&self, replica: usize) -> u32 {
        let mut passed = 0;
        while self.replicas[replica].admit(TOKEN).await.is_ok() {
            passed += 1;
            assert!(passed <= 100_000, "no limit at all");
            // Leases that are fetched in the background arrive now.
            tokio::task::yield_now().await;
        }
        passed
    }
}

#[tokio::test]
async fn one_replica_lets_exactly_the_limit_through() {
    for count in [1, 2, 19, 39, 40, 60, 1_000, 100_000] {
        let world = World::of(1, count, 10);
        assert_eq!(world.drain(0).await, count);
        let calls = world.calls();
        assert!(calls < 130, "{count}: {calls} calls");
        let full = world.replicas[0].admit(TOKEN).await.unwrap_err();
        assert_eq!((full.limit, full.remaining), ("bearer", 0));
        assert!(full.reset > WINDOW && full.reset <= WINDOW + WINDOW / 20);
        // A full window asks nobody.
        assert_eq!(world.drain(0).await, 0);
        assert_eq!(world.calls(), calls);
        world.clock.advance(full.reset);
        assert_eq!(world.drain(0).await, count);
    }
}

#[tokio::test]
async fn replicas_refuse_early_by_what_the_others_have_leased_alone() {
    let world = World::of(3, 1_000, 10);
    for _ in 0..200 {
        assert!(world.replicas[0].admit(TOKEN).await.is_ok());
        assert!(world.replicas[1].admit(TOKEN).await.is_ok());
        tokio::task::yield_now().await;
    }

    let third = world.drain(2).await;

    assert!((600 - 2 * 75..=600).contains(&third), "{third}");
    let others = world.drain(0).await + world.drain(1).await;
    assert_eq!(third + others, 600);
}

#[tokio::test]
async fn what_a_lease_left_over_goes_back_with_the_next_call() {
    let world = World::of(2, 1_000, 10);
    for _ in 0..60 {
        assert!(world.replicas[0].admit(TOKEN).await.is_ok());
        tokio::task::yield_now().await;
    }
    // Its lease ends; with the next request it gives the rest of it back, and asks for little.
    world.clock.advance(WINDOW / 10);
    assert!(world.replicas[0].admit(TOKEN).await.is_ok());

    let others = world.drain(1).await;

    assert_eq!(others, 1_000 - 61);
}

#[tokio::test]
async fn another_limit_is_in_force_with_the_next_request() {
    let world = World::of(1, 1_000, 10);
    for _ in 0..100 {
        assert!(world.replicas[0].admit(TOKEN).await.is_ok());
    }
    world.limits.replace(limits(Some(100)));
    assert!(world.replicas[0].admit(TOKEN).await.is_err());
    world.limits.replace(limits(Some(150)));
    assert_eq!(world.drain(0).await, 50);
    world.limits.replace(limits(None));
    let calls = world.calls();
    for _ in 0..100 {
        assert!(world.replicas[0].admit(TOKEN).await.is_ok());
    }
    assert_eq!(world.calls(), calls);
}

#[tokio::test]
async fn without_the_store_each_replica_has_the_limit_for_itself() {
    let world = World::of(2, 60, 10);
    for _ in 0..20 {
        assert!(world.replicas[0].admit(TOKEN).await.is_ok());
    }
    world.away(true);
    // The clock stands still: it is asked once more by each, and then left alone.
    let calls = world.calls();
    assert_eq!(world.drain(0).await, 40);
    assert_eq!(world.drain(1).await, 60);
    assert!(world.calls() <= calls + 2);

    // What passed meanwhile counts on for the replica that let it through.
    world.away(false);
    world.clock.advance(2 * RETRY_INTERVAL);
    assert_eq!(world.drain(0).await, 0);
    world.clock.advance(2 * WINDOW);
    assert_eq!(world.drain(0).await + world.drain(1).await, 60);
}

#[tokio::test]
async fn a_full_map_forgets_who_is_idle_and_limits_whoever_does_not_fit() {
    let world = World::of(1, 3, 1);
    let replica = &world.replicas[0];
    let other = Uuid::from_u128(8);
    assert!(replica.admit(TOKEN).await.is_ok());
    for admitted in [true, true, true, false] {
        assert_eq!(replica.admit(other).await.is_ok(), admitted);
    }
    assert_eq!(replica.desk.shares.len(), 1);
    assert!(replica.desk.shares.contains_key(&TOKEN));
    // Whose lease has ended makes room for whoever asks.
    world.clock.advance(WINDOW / 10);
    assert!(replica.admit(other).await.is_err());
    assert!(replica.desk.shares.contains_key(&other));
    world.clock.advance(3 * WINDOW);
    replica.desk.sweep(false);
    assert_eq!(replica.desk.len.load(Ordering::Relaxed), 0);
    assert_eq!(replica.desk.shares.len(), 0);
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    Request { replica: usize, times: u32 },
    Wait { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..3, 1_u32..40).prop_map(|(replica, times)| Step::Request { replica, times }),
        1 => (1_u64..4_000).prop_map(|millis| Step::Wait { millis }),
        1 => (1_u64..90_000).prop_map(|millis| Step::Wait { millis }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No window of any place in time holds more than the limit, whoever asks whom and when; and
    /// a token that has been quiet for long enough has all of it again.
    #[test]
    fn no_window_ever_holds_more_than_the_limit(
        count in 1_u32..300,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::of(3, count, 10);
            let mut passed: VecDeque<Monotonic> = VecDeque::new();
            for step in steps {
                match step {
                    Step::Wait { millis } => world.clock.advance(Duration::from_millis(millis)),
                    Step::Request { replica, times } => for _ in 0..times {
                        let now = world.clock.monotonic();
                        if world.replicas[replica].admit(TOKEN).await.is_ok() {
                            passed.push_back(now);
                        }
                        tokio::task::yield_now().await;
                        while passed.front().is_some_and(|at| at.plus(WINDOW) <= now) {
                            passed.pop_front();
                        }
                        prop_assert!(passed.len() <= count as usize);
                    },
                }
            }
            world.clock.advance(WINDOW + WINDOW / 10);
            prop_assert_eq!(world.drain(0).await, count);
            Ok(())
        })?;
    }
}
