//! What a thread keeps at hand of the local map: the few entries that it needs all the time.
//!
//! Whoever looks a token up in the map takes its shard's lock and counts a user of its entry up and
//! down. Where all threads ask for the same token, as with an integration that has only one, they
//! wait for each other's writes to those two places. So a thread that keeps asking for a token
//! holds its entry by a count of its own; then a hit reads what nobody writes.
//!
//! An entry that leaves the map ends ([`Entry::end`]), wherever it is held: what is at hand is
//! looked at for that at every hit, as in the map. So nothing here outlives a revocation, and
//! nothing has to be told of one.

use std::{cell::RefCell, ops::Deref, sync::Arc};

use super::entry::Entry;
use crate::{clock::Monotonic, token::TokenHash};

/// How many entries a thread holds at most: 64 × 56 bytes ≈ 4 KiB, and whatever ended entries are in
/// them until others take their place.
const PLACES: usize = 64;

/// How often a thread has to find a token in the map, others of its place apart, before it holds its
/// entry. Low, since there is nothing to lose but one small allocation.
const ENOUGH: u8 = 8;

/// How far a token's lead over others of its place is counted: what has been very hot and is no
/// longer gives way after so many hits of another.
const MOST: u8 = 64;

/// A live token's entry, held for as long as a request needs it.
#[derive(Clone, Debug)]
pub struct LiveEntry(Hold);

#[derive(Clone, Debug)]
enum Hold {
    /// Counted where every thread counts.
    Shared(Arc<Entry>),
    /// Counted where one thread counts.
    Near(Arc<Held>),
}

/// What a thread holds of an entry, so that the entry's own count stays as it is.
#[derive(Debug)]
struct Held(Arc<Entry>);

impl Deref for LiveEntry {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        match &self.0 {
            Hold::Shared(entry) => entry,
            Hold::Near(held) => &held.0,
        }
    }
}

impl From<Arc<Entry>> for LiveEntry {
    fn from(entry: Arc<Entry>) -> Self {
        Self(Hold::Shared(entry))
    }
}

/// One place: the token that leads in it, and its entry once it is held.
struct Place {
    /// The map that it is of; one process may have several (tests do).
    map: u64,
    hash: TokenHash,
    /// By how many hits the token leads.
    lead: u8,
    held: Option<Arc<Held>>,
}

thread_local! {
    static PLACES_HERE: RefCell<[Option<Place>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

/// Tokens are uniform and nobody can choose one that is live: any byte of a hash will do.
fn index(hash: &TokenHash) -> usize {
    usize::from(hash.as_bytes()[2]) % PLACES
}

/// Looks for a token of `map` among what this thread has at hand.
pub(super) fn look_up(map: u64, hash: &TokenHash, instant: Monotonic) -> Option<LiveEntry> {
    PLACES_HERE.with_borrow_mut(|places| {
        let place = places[index(hash)].as_mut()?;
        let held = place.held.as_ref()?;
        if place.hash != *hash || place.map != map || instant >= held.0.deadline() {
            return None;
        }
        place.lead = (place.lead + 1).min(MOST);
        Some(LiveEntry(Hold::Near(Arc::clone(held))))
    })
}

/// Takes note that a token was found in `map`, which counts for it and against others of its place;
/// returns the entry, held in the way that costs less from now on.
pub(super) fn found(map: u64, hash: &TokenHash, entry: &Arc<Entry>) -> LiveEntry {
    PLACES_HERE.with_borrow_mut(|places| {
        let shared = || LiveEntry(Hold::Shared(Arc::clone(entry)));
        let place = &mut places[index(hash)];
        match place {
            Some(place) if place.hash == *hash && place.map == map => {
                place.lead = (place.lead + 1).min(MOST);
                if place.lead < ENOUGH {
                    return shared();
                }
                // What was at hand, if anything, has ended.
                let held = Arc::new(Held(Arc::clone(entry)));
                place.held = Some(Arc::clone(&held));
                LiveEntry(Hold::Near(held))
            }
            Some(place) if place.lead > 1 => {
                place.lead -= 1;
                shared()
            }
            _ => {
                *place = Some(Place {
                    map,
                    hash: *hash,
                    lead: 1,
                    held: None,
                });
                shared()
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::check::entry::{Subject, TokenContext};

    fn at(seconds: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_secs(seconds))
    }

    /// Hashes of the same place.
    fn hash(number: u8) -> TokenHash {
        TokenHash::from_digest([number, 0, 7, 0].repeat(8).try_into().unwrap())
    }

    fn entry() -> Arc<Entry> {
        let context = TokenContext {
            token_id: Uuid::nil(),
            subject: Subject::Account {
                id: Uuid::nil(),
                email: "ada@example.com".into(),
            },
            client_id: None,
            expires_at: None,
        };
        Arc::new(Entry::new(context, at(5)))
    }

    /// Finds the token in the map until this thread holds it.
    fn make_hot(map: u64, hash: &TokenHash, entry: &Arc<Entry>) {
        for _ in 0..ENOUGH {
            found(map, hash, entry);
        }
    }

    #[test]
    fn a_token_is_held_once_it_was_found_often_enough() {
        let entry = entry();
        for _ in 1..ENOUGH {
            found(1, &hash(1), &entry);
            assert!(look_up(1, &hash(1), at(0)).is_none());
        }
        found(1, &hash(1), &entry);
        assert!(look_up(1, &hash(1), at(0)).is_some());
    }

    #[test]
    fn what_is_held_is_counted_by_its_thread() {
        let entry = entry();
        make_hot(1, &hash(1), &entry);
        let before = Arc::strong_count(&entry);
        let held: Vec<_> = (0..9).map(|_| look_up(1, &hash(1), at(0))).collect();
        assert!(held.iter().all(Option::is_some));
        assert_eq!(Arc::strong_count(&entry), before);
    }

    #[test]
    fn what_has_ended_is_at_hand_no_more() {
        let entry = entry();
        make_hot(1, &hash(1), &entry);
        assert!(look_up(1, &hash(1), at(5)).is_none());
        entry.end();
        assert!(look_up(1, &hash(1), at(0)).is_none());
    }

    #[test]
    fn a_successor_takes_the_place_of_what_has_ended() {
        let (old, new) = (entry(), entry());
        make_hot(1, &hash(1), &old);
        old.end();
        found(1, &hash(1), &new);
        let held = look_up(1, &hash(1), at(0)).unwrap();
        assert!(std::ptr::eq(&*held, &*new));
        assert_eq!(Arc::strong_count(&old), 1);
    }

    #[test]
    fn another_map_knows_nothing_of_it() {
        make_hot(1, &hash(1), &entry());
        assert!(look_up(2, &hash(1), at(0)).is_none());
    }

    #[test]
    fn who_was_hot_gives_way() {
        let (old, new) = (entry(), entry());
        make_hot(1, &hash(1), &old);
        for _ in 0..2 * u32::from(MOST) {
            found(1, &hash(2), &new);
        }
        assert!(look_up(1, &hash(1), at(0)).is_none());
        assert!(look_up(1, &hash(2), at(0)).is_some());
    }
}
