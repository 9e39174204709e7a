//! Requests that come while somebody else's flight is under way, with Redis away and Postgres slow.

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::*;

const SHORT: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_millis(1_700);

fn without_redis(untracked_ttl: Duration, takes: Duration) -> World {
    let world = World::new(untracked_ttl);
    world.cache.away.store(true, Ordering::SeqCst);
    *world.tokens.takes.lock().unwrap() = takes;
    world
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_good_when_they_came_is_good_for_all_who_joined() {
    let world = without_redis(SHORT, SLOW);
    let clock = Arc::clone(&world.clock);
    *world.tokens.after_lookup.lock().unwrap() = Some(Box::new(move || clock.advance(SLOW)));

    let answers = timeout(DEADLINE, join_all((0..6).map(|_| world.check()))).await;

    assert_eq!(answers.unwrap(), [Ok(true); 6]);
    assert_eq!(world.lookups(), 1);
    assert!(matches!(world.in_local(), Hit::Miss), "too old to be kept");
}

#[tokio::test(start_paused = true)]
async fn who_comes_when_the_answer_is_too_old_already_asks_anew() {
    let world = without_redis(SHORT, DEADLINE / 4);
    let late = async {
        sleep(Duration::from_millis(1)).await;
        world.clock.advance(SHORT);
        world.check().await
    };

    let answers = tokio::join!(world.check(), late);

    assert_eq!(answers, (Ok(true), Ok(true)));
    assert_eq!(world.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_two_flights_longer_than_for_one() {
    // No answer is ever good for who comes later than the question.
    let world = without_redis(Duration::ZERO, SLOW);

    let checks = join_all((0..3).map(|_| world.check()));
    let answers = timeout(DEADLINE + Duration::from_millis(2), checks).await;

    let late = Err(Undecided::Lost(Lost::TimedOut));
    assert_eq!(answers.unwrap(), [Ok(true), late, late]);
    assert_eq!(world.metrics.checks_undecided.get(), 2);
}
