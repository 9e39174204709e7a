//! What reported changes do to the local map, and what becomes of it when reports stop.

use futures_util::FutureExt as _;

use super::*;
use crate::store::CacheObserver as _;

const SHORT: Duration = Duration::from_secs(1);

/// A world in which changes are followed.
fn followed() -> World {
    let world = World::new(SHORT);
    world.checker.proven(world.clock.monotonic(), SHORT);
    world
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn while_changes_are_followed_an_entry_lives_as_long_as_its_key() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.clock.advance(Duration::from_secs(50));
    assert!(matches!(world.in_local(), Hit::Live(_)));
    world.clock.advance(Duration::from_secs(10));
    assert!(matches!(world.in_local(), Hit::Miss));
}

#[tokio::test]
async fn a_reported_change_removes_the_entry() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.tokens.inner().revoke(ID);
    world.cache.inner.delete(&hash());

    world.checker.changed(&hash());

    assert!(matches!(world.in_local(), Hit::Miss));
    assert_eq!(world.check().await, Ok(false));
    assert_eq!(world.metrics.coherence.invalidations.get(), 1);
}

#[tokio::test]
async fn a_change_of_another_token_removes_nothing() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.checker.changed(&TokenHash::from_digest([9; 32]));
    assert!(matches!(world.in_local(), Hit::Live(_)));
}

#[tokio::test]
async fn an_emptied_redis_empties_the_map() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.checker.all_changed();
    assert!(matches!(world.in_local(), Hit::Miss));
}

#[tokio::test]
async fn when_reports_stop_an_entry_has_the_short_life_from_the_last_proof_on() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.clock.advance(SHORT / 2);
    world.checker.lost();
    assert!(matches!(world.in_local(), Hit::Live(_)));
    world.clock.advance(SHORT / 2);
    assert!(matches!(world.in_local(), Hit::Miss));
    assert_eq!(world.metrics.coherence.followed.get(), 0);
}

#[tokio::test]
async fn a_loss_that_is_noticed_late_leaves_nothing() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.clock.advance(SHORT);
    world.checker.lost();
    assert!(matches!(world.in_local(), Hit::Miss));
}

#[tokio::test]
async fn an_answer_that_a_loss_overtakes_is_not_kept() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.checker.desk.local.clear();
    let desk = Arc::clone(&world.checker.desk);
    *world.cache.after_read.lock().unwrap() = Some(Box::new(move || {
        assert!(desk.coherence.lost().is_some());
    }));

    assert_eq!(world.check().await, Ok(true));

    assert!(matches!(world.in_local(), Hit::Miss));
}

#[tokio::test]
async fn after_a_reconnect_entries_from_before_are_checked_once() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    // A server with an older state: the row is revoked, the entry is there again.
    world.tokens.inner().revoke(ID);
    world.clock.advance(Duration::from_secs(5));
    world.checker.reconnected();
    world.clock.advance(SHORT);

    assert_eq!(world.check().await, Ok(false));

    assert_eq!(world.in_redis().await.as_deref(), Some(REFUSED));
    assert_eq!(world.metrics.coherence.entries_verified.get(), 1);
}

#[tokio::test]
async fn an_entry_that_nobody_could_verify_has_the_short_life() {
    let world = followed();
    let entry = entry::Cached::write(&live_context(&world).await);
    let theirs = String::from_utf8(entry)
        .unwrap()
        .replace(", \"by\": \"gateway\"", "");
    world
        .cache
        .inner
        .overwrite(&hash(), theirs.as_bytes(), LONG)
        .await
        .unwrap();
    world.checker.desk.local.clear();
    world.tokens.away.store(true, Ordering::SeqCst);

    assert_eq!(world.check().await, Ok(true));

    assert_eq!(world.metrics.unverified_entries_used.get(), 1);
    world.clock.advance(SHORT);
    assert!(matches!(world.in_local(), Hit::Miss));
}

async fn live_context(world: &World) -> entry::TokenContext {
    let checked = world.checker.resolve(TokenKind::Account, hash()).await;
    let Verdict::Live(entry) = checked.unwrap().verdict else {
        panic!("not live");
    };
    entry.context.clone()
}

#[tokio::test]
async fn near_its_end_an_entry_is_renewed_behind_the_requests() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.clock.advance(Duration::from_secs(55));

    assert!(matches!(world.in_local(), Hit::Live(_)));
    settle().await;

    assert_eq!(world.metrics.coherence.refreshes.get(), 1);
    assert_eq!(world.lookups(), 2);
    world.clock.advance(Duration::from_secs(10));
    assert!(matches!(world.in_local(), Hit::Live(_)), "a successor");
    let remaining = world.cache.inner.read(&hash()).await.unwrap().unwrap();
    assert_eq!(remaining.remaining, Some(Duration::from_secs(50)));
}

#[tokio::test]
async fn a_renewal_never_brings_a_revoked_token_back() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.clock.advance(Duration::from_secs(55));
    let (table, cache) = (world.tokens.inner(), Arc::clone(&world.cache.inner));
    let checker = Arc::clone(&world.checker.desk);
    *world.tokens.after_lookup.lock().unwrap() = Some(Box::new(move || {
        table.revoke(ID);
        cache.delete(&hash());
        checker.coherence.changed(&hash());
        checker.local.remove(&hash());
    }));

    assert!(matches!(world.in_local(), Hit::Live(_)));
    settle().await;

    assert_eq!(world.metrics.fills_lost.get(), 1);
    assert_eq!(world.in_redis().await, None);
    assert!(matches!(world.in_local(), Hit::Miss));
    assert_eq!(world.check().await, Ok(false));
}

#[tokio::test]
async fn a_short_life_is_prolonged_from_redis_alone() {
    let world = World::new(Duration::from_secs(10));
    assert_eq!(world.check().await, Ok(true));
    world.clock.advance(Duration::from_millis(9_500));

    assert!(matches!(world.in_local(), Hit::Live(_)));
    settle().await;

    world.clock.advance(Duration::from_secs(5));
    assert!(matches!(world.in_local(), Hit::Live(_)));
    assert_eq!(world.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn postgres_has_so_many_lookups_at_a_time_and_the_rest_are_told_at_once() {
    let world = World::with_lookups(SHORT, 1);
    let taken = world.checker.desk.lookups.acquire().await.unwrap();

    assert_eq!(world.check().await, Err(Undecided::Overloaded));

    assert_eq!(world.metrics.postgres_lookups_shed.get(), 1);
    assert_eq!(world.lookups(), 0);
    drop(taken);
    assert!(
        world
            .check()
            .now_or_never()
            .is_none_or(|live| live == Ok(true))
    );
    assert_eq!(world.check().await, Ok(true));
}

#[tokio::test]
async fn a_refusal_that_redis_could_not_take_is_written_when_it_can() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.tokens.inner().revoke(ID);
    world.cache.away.store(true, Ordering::SeqCst);

    assert!(world.checker.end(&hash()).await.is_err());
    assert!(matches!(world.in_local(), Hit::Refused));
    world.checker.desk.catch_up().await;
    world.cache.away.store(false, Ordering::SeqCst);
    assert_ne!(world.in_redis().await.as_deref(), Some(REFUSED));

    world.checker.desk.catch_up().await;
    assert_eq!(world.in_redis().await.as_deref(), Some(REFUSED));
}

#[tokio::test]
async fn a_refusal_that_redis_has_no_room_for_is_tried_until_there_is_some() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.tokens.inner().revoke(ID);
    world.cache.full.store(true, Ordering::SeqCst);

    assert!(world.checker.end(&hash()).await.is_ok());

    assert_eq!(world.in_redis().await, None);
    // As a fill of Dify's that lost its race.
    let stale = b"{\"stale\":1}";
    world
        .cache
        .inner
        .overwrite(&hash(), stale, LONG)
        .await
        .unwrap();
    world.checker.desk.catch_up().await;
    assert_eq!(world.in_redis().await, None);
    world.cache.full.store(false, Ordering::SeqCst);
    world.checker.desk.catch_up().await;
    assert_eq!(world.in_redis().await.as_deref(), Some(REFUSED));
}

#[tokio::test]
async fn what_could_not_be_published_is_refused_here_for_as_long_as_it_may_stand_there() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.tokens.inner().revoke(ID);
    world.cache.away.store(true, Ordering::SeqCst);
    assert!(world.checker.end(&hash()).await.is_err());
    world.cache.away.store(false, Ordering::SeqCst);

    world.clock.advance(LONG - Duration::from_secs(1));

    assert!(matches!(world.in_local(), Hit::Refused));
}

#[tokio::test]
async fn an_overdue_refusal_is_given_up_when_nothing_can_be_left_of_its_token() {
    let world = followed();
    world.cache.away.store(true, Ordering::SeqCst);
    assert!(world.checker.end(&hash()).await.is_err());
    world.clock.advance(LONG);
    world.cache.away.store(false, Ordering::SeqCst);

    world.checker.desk.catch_up().await;

    assert_eq!(world.in_redis().await, None);
}

#[tokio::test]
async fn an_answer_over_a_connection_younger_than_the_question_is_doubted() {
    let world = followed();
    assert_eq!(world.check().await, Ok(true));
    world.checker.desk.local.clear();
    world.tokens.inner().revoke(ID);
    let desk = Arc::clone(&world.checker.desk);
    *world.cache.after_read.lock().unwrap() = Some(Box::new(move || {
        desk.coherence.reconnected(desk.stores.clock.monotonic());
    }));

    assert_eq!(world.check().await, Ok(false));

    assert_eq!(world.metrics.coherence.entries_verified.get(), 1);
}

#[tokio::test]
async fn what_is_read_back_over_another_connection_is_not_kept() {
    let world = followed();
    let (desk, cache) = (Arc::clone(&world.checker.desk), Arc::clone(&world.cache));
    *world.tokens.after_lookup.lock().unwrap() = Some(Box::new(move || {
        *cache.after_read.lock().unwrap() = Some(Box::new(move || {
            desk.coherence.reconnected(desk.stores.clock.monotonic());
        }));
    }));

    assert_eq!(world.check().await, Ok(true));

    assert!(world.in_redis().await.is_some());
    assert!(matches!(world.in_local(), Hit::Miss));
}

#[tokio::test]
async fn a_fill_does_not_end_on_another_connection_than_it_began_on() {
    let world = followed();
    let desk = Arc::clone(&world.checker.desk);
    let table = world.tokens.inner();
    *world.tokens.after_lookup.lock().unwrap() = Some(Box::new(move || {
        // The lease was deleted by this, but on a server that is no longer the one.
        table.revoke(ID);
        desk.coherence.reconnected(desk.stores.clock.monotonic());
    }));

    assert_eq!(
        world.check().await,
        Ok(true),
        "it began before the revocation"
    );

    let lease = world.in_redis().await.unwrap();
    assert!(
        lease.starts_with(b"{\"lease\""),
        "nothing was put in its place"
    );
    assert_eq!(world.check().await, Ok(false));
}

#[tokio::test]
async fn who_joins_after_a_revocation_gets_no_answer_from_before_it() {
    let world = Arc::new(followed());
    assert_eq!(world.check().await, Ok(true));
    world.checker.desk.local.clear();
    let (other, late) = (Arc::clone(&world), Arc::new(Mutex::new(None)));
    let place = Arc::clone(&late);
    *world.cache.after_read.lock().unwrap() = Some(Box::new(move || {
        // Redis has answered. Now Dify revokes, and everybody is told.
        assert!(other.tokens.inner().revoke(ID));
        other.cache.inner.delete(&hash());
        other.checker.changed(&hash());
        let mut check = Box::pin(async move { other.check().await });
        assert!((&mut check).now_or_never().is_none(), "it joins");
        *place.lock().unwrap() = Some(check);
    }));

    assert_eq!(
        world.check().await,
        Ok(true),
        "it began before the revocation"
    );

    let late = late.lock().unwrap().take().unwrap();
    assert_eq!(late.await, Ok(false));
}

#[tokio::test]
async fn a_fill_does_not_end_on_a_connection_that_was_renewed_at_the_last_moment() {
    let world = followed();
    let cache = Arc::clone(&world.cache);
    *world.tokens.after_lookup.lock().unwrap() = Some(Box::new(move || {
        // Nobody has been told yet: only the cache knows.
        cache.connection.fetch_add(1, Ordering::SeqCst);
    }));

    assert_eq!(world.check().await, Ok(true));

    let lease = world.in_redis().await.unwrap();
    assert!(lease.starts_with(b"{\"lease\""));
    assert!(matches!(world.in_local(), Hit::Miss));
}
