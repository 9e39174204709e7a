//! What the store of leases promises, asked of the embedded and of the real one.

use std::{sync::Arc, time::Duration};

use difygate::{
    config::RateLimit,
    rate_limit::{WindowKey, ledger::Unused},
    store::{Windows, embedded::EmbeddedWindows, redis::RedisWindows},
};
use uuid::Uuid;

use crate::{
    contract::{clock, redis_link},
    support::{RedisSpace, assert_eventually},
};

const LONG: Duration = Duration::from_secs(60);

/// The promises of [`Windows::lease`].
pub(crate) async fn leases_contract(windows: Arc<dyn Windows>) {
    let per = |window, count| RateLimit { count, window };
    let lease = async |token, quota, ask, unused| {
        let key = WindowKey::of_lease(Uuid::from_u128(token));
        windows.lease(&key, quota, ask, unused).await.unwrap()
    };
    let quota = per(LONG, 40);

    // What is asked for, but no more than an eighth of what is left, and never more than the limit.
    let mut leases = Vec::new();
    let first = lease(1, quota, 3, None).await;
    assert_eq!(first.units, 3);
    let part = LONG / 40;
    assert!(first.life > part && first.life <= 2 * part, "{first:?}");
    loop {
        let grant = lease(1, quota, 9, None).await;
        if grant.units == 0 {
            assert!(
                grant.wait > LONG && grant.wait <= LONG + 2 * part,
                "{grant:?}"
            );
            break;
        }
        leases.push(grant.units);
    }
    assert_eq!(leases.iter().sum::<u32>(), 37);
    assert_eq!(&leases[..4], [4, 4, 3, 3]);

    // What comes back is there for others, once; another token has a window of its own.
    let unused = |units| {
        Some(Unused {
            ends: first.ends,
            units,
        })
    };
    assert_eq!(lease(1, quota, 9, unused(2)).await.units, 1);
    assert_eq!(lease(1, quota, 9, None).await.units, 1);
    assert_eq!(lease(1, quota, 9, None).await.units, 0);
    assert_eq!(lease(1, quota, 9, unused(0)).await.units, 0);
    assert_eq!(lease(2, quota, 9, unused(9)).await.units, 5);

    // The window slides.
    let short = per(Duration::from_secs(2), 1);
    assert_eq!(lease(3, short, 1, None).await.units, 1);
    assert_eq!(lease(3, short, 1, None).await.units, 0);
    assert_eventually!(
        lease(3, short, 1, None).await.units == 1,
        "the window slides"
    );

    // Many at once never overshoot.
    let shared = Arc::clone(&windows);
    let attempts = (0..50).map(|_| {
        let windows = Arc::clone(&shared);
        tokio::spawn(async move {
            let key = WindowKey::of_lease(Uuid::from_u128(4));
            let grant = windows.lease(&key, per(LONG, 10), 1, None).await;
            grant.unwrap().units
        })
    });
    let mut leased = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        leased += attempt.await.unwrap();
    }
    assert_eq!(leased, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_leases_keep_their_promises() {
    leases_contract(Arc::new(EmbeddedWindows::new(clock()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_in_redis_keep_their_promises_and_end_by_themselves() {
    let space = RedisSpace::create().await;
    let link = redis_link(&space);
    link.connect().await;
    leases_contract(Arc::new(RedisWindows::new(link))).await;

    let key = format!("rl:bearer:lease:{}", Uuid::from_u128(1));
    let ttl = space.ttl(&key).await;
    assert!((55..=63).contains(&ttl), "the window and a lease: {ttl}");
}
