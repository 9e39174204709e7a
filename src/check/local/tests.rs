//! What the map holds, and when it lets go.

use std::{sync::Mutex, time::Duration};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::check::entry::{Subject, TokenContext};

fn at(seconds: u64) -> Monotonic {
    Monotonic::default().plus(Duration::from_secs(seconds))
}

fn hash(n: u64) -> TokenHash {
    use sha2::{Digest, Sha256};
    TokenHash::from_digest(Sha256::digest(n.to_le_bytes()).into())
}

fn entry(deadline: Monotonic) -> Arc<Entry> {
    let context = TokenContext {
        token_id: Uuid::nil(),
        subject: Subject::Account {
            id: Uuid::nil(),
            email: "ada@example.com".into(),
        },
        client_id: None,
        expires_at: None,
    };
    Arc::new(Entry::new(context, deadline))
}

#[test]
fn a_hit_needs_its_deadline_in_the_future() {
    let cache = LocalCache::new(10);
    cache.insert_live(hash(1), entry(at(5)), at(0), || true);
    assert!(matches!(cache.look_up(&hash(1), at(4)), Hit::Live(_)));
    assert!(matches!(cache.look_up(&hash(1), at(5)), Hit::Miss));
}

/// Whatever takes an entry out of the map takes it from the threads that have it at hand.
#[test]
fn what_leaves_the_map_is_at_hand_no_more() {
    type Act = fn(&LocalCache);
    let ways: [(&str, Act); 6] = [
        ("remove", |cache| cache.remove(&hash(1))),
        ("clear", LocalCache::clear),
        ("refuse", |cache| {
            cache.insert_refused(hash(1), at(5), at(0), || true);
        }),
        ("refuse in vain", |cache| {
            cache.insert_refused(hash(1), at(5), at(0), || false);
        }),
        ("shorten", |cache| cache.shorten(at(1), at(1))),
        ("make room", |cache| {
            for n in 2..200 {
                cache.insert_live(hash(n), entry(at(5)), at(0), || true);
            }
        }),
    ];
    for (way, act) in ways {
        let cache = LocalCache::new(10);
        cache.insert_live(hash(1), entry(at(5)), at(0), || true);
        for _ in 0..100 {
            assert!(matches!(cache.look_up(&hash(1), at(1)), Hit::Live(_)));
        }
        act(&cache);
        let hit = cache.look_up(&hash(1), at(1));
        assert!(!matches!(hit, Hit::Live(_)), "{way}");
    }
}

#[test]
fn what_is_replaced_is_at_hand_no_more() {
    let cache = LocalCache::new(10);
    let (old, new) = (entry(at(5)), entry(at(5)));
    cache.insert_live(hash(1), old, at(0), || true);
    for _ in 0..100 {
        cache.look_up(&hash(1), at(1));
    }
    cache.insert_live(hash(1), Arc::clone(&new), at(0), || true);
    let Hit::Live(found) = cache.look_up(&hash(1), at(1)) else {
        panic!("there is a successor");
    };
    assert!(std::ptr::eq(&*found, &*new));
}

/// Who leaves looks whether its shard is locked.
struct Witness {
    map: std::sync::Weak<Bounded<Self>>,
    locked: Arc<Mutex<Vec<bool>>>,
}

impl Leaves for Witness {
    fn leave(&self) {
        let map = self.map.upgrade().unwrap();
        let locked = map.map.try_get(&hash(1)).is_locked();
        self.locked.lock().unwrap().push(locked);
    }
}

/// Somebody else who finds nothing in the map may say so to the world: by then nobody may have
/// the entry at hand.
#[test]
fn whatever_leaves_the_map_ends_before_anybody_can_see_that_it_has_left() {
    type Act = fn(&Arc<Bounded<Witness>>, Witness);
    let ways: [(&str, Act); 3] = [
        ("remove", |map, _| map.remove(&hash(1))),
        ("retain", |map, _| map.retain(|_, _| false)),
        ("replace", |map, successor| {
            map.insert(hash(1), successor, |_| true, || true);
        }),
    ];
    for (way, act) in ways {
        let map = Arc::new(Bounded::new(10));
        let locked = Arc::default();
        let witness = || Witness {
            map: Arc::downgrade(&map),
            locked: Arc::clone(&locked),
        };
        map.insert(hash(1), witness(), |_| true, || true);
        act(&map, witness());
        assert_eq!(*locked.lock().unwrap(), [true], "{way}");
    }
}

#[test]
fn a_refusal_replaces_a_live_entry_and_the_other_way_round() {
    let cache = LocalCache::new(10);
    cache.insert_live(hash(1), entry(at(5)), at(0), || true);
    cache.insert_refused(hash(1), at(5), at(0), || true);
    assert!(matches!(cache.look_up(&hash(1), at(1)), Hit::Refused));
    cache.insert_live(hash(1), entry(at(5)), at(0), || true);
    assert!(matches!(cache.look_up(&hash(1), at(1)), Hit::Live(_)));
    assert_eq!(cache.len(), (1, 0));
}

#[test]
fn what_is_not_kept_leaves_a_refusal_alone() {
    let cache = LocalCache::new(10);
    cache.insert_refused(hash(1), at(5), at(0), || true);
    cache.insert_live(hash(1), entry(at(5)), at(0), || false);
    assert!(matches!(cache.look_up(&hash(1), at(1)), Hit::Refused));
}

#[test]
fn what_is_no_longer_true_is_not_kept() {
    let cache = LocalCache::new(10);
    cache.insert_live(hash(1), entry(at(5)), at(0), || false);
    assert!(matches!(cache.look_up(&hash(1), at(1)), Hit::Miss));
}

#[test]
fn the_sweep_forgets_what_is_past() {
    let cache = LocalCache::new(10);
    cache.insert_live(hash(1), entry(at(5)), at(0), || true);
    cache.insert_live(hash(2), entry(at(9)), at(0), || true);
    cache.insert_refused(hash(3), at(5), at(0), || true);
    cache.sweep(at(5));
    assert_eq!(cache.len(), (1, 0));
}

#[test]
fn a_flood_of_refusals_leaves_live_tokens_alone() {
    let cache = LocalCache::new(10);
    cache.insert_live(hash(1), entry(at(5)), at(0), || true);
    for n in 2..2 * REFUSAL_CAPACITY as u64 {
        cache.insert_refused(hash(n), at(5), at(0), || true);
    }
    assert!(cache.len().1 <= REFUSAL_CAPACITY);
    assert!(matches!(cache.look_up(&hash(1), at(1)), Hit::Live(_)));
}

proptest! {
    #[test]
    fn the_map_never_outgrows_its_capacity(capacity in 1_usize..200, inserts in 0_u64..1_000) {
        let cache = LocalCache::new(capacity);
        for n in 0..inserts {
            cache.insert_live(hash(n), entry(at(5)), at(0), || true);
            prop_assert!(cache.live.map.len() <= capacity);
            prop_assert_eq!(cache.live.map.len(), cache.live.len());
        }
    }
}
