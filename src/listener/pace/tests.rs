use std::task::Waker;

use super::*;
use crate::clock::{ManualClock, Timestamp};

const SECOND: Duration = Duration::from_secs(1);

/// A body of 100 bytes a second with 10 seconds of slack, and what moves its time.
struct Stage {
    clock: Arc<ManualClock>,
    pace: Pace,
}

impl Stage {
    fn set(waits_to_be_asked: bool) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(0)));
        let rate = BodyRate {
            bytes: NonZeroU32::new(100).unwrap(),
            slack: 10 * SECOND,
        };
        let pace = Pace::new(
            rate,
            waits_to_be_asked,
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        Self { clock, pace }
    }

    fn is_too_slow(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.pace.waits(&mut cx).is_ready()
    }

    async fn passes(&self, seconds: u32) {
        self.clock.advance(seconds * SECOND);
        tokio::time::advance(seconds * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_has_the_slack_and_no_more() {
    let mut stage = Stage::set(false);
    assert!(!stage.is_too_slow());
    stage.passes(9).await;
    assert!(!stage.is_too_slow());
    stage.passes(1).await;
    assert!(stage.is_too_slow());
    assert!(stage.is_too_slow(), "and it stays so");
}

#[tokio::test(start_paused = true)]
async fn one_that_keeps_the_rate_goes_on_for_ever_and_one_below_it_does_not() {
    for (bytes, keeps_up) in [(500, true), (499, false)] {
        let mut stage = Stage::set(false);
        let mut too_slow = false;
        for _ in 0..3_000 {
            too_slow |= stage.is_too_slow();
            stage.passes(5).await;
            too_slow |= stage.is_too_slow();
            stage.pace.received(bytes);
        }
        assert_eq!(too_slow, !keeps_up, "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_beginning_buys_no_long_silence() {
    let mut stage = Stage::set(false);
    stage.pace.received(1 << 30);
    assert!(!stage.is_too_slow());
    stage.passes(10).await;
    assert!(stage.is_too_slow());
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_waits_does_not_count() {
    let mut stage = Stage::set(false);
    assert!(!stage.is_too_slow());
    stage.passes(6).await;
    stage.pace.pauses();
    stage.passes(3_600).await;
    assert!(!stage.is_too_slow());
    stage.passes(3).await;
    assert!(!stage.is_too_slow());
    stage.passes(1).await;
    assert!(stage.is_too_slow(), "six seconds were used up before");
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_to_be_asked_has_time_until_it_begins() {
    let mut stage = Stage::set(true);
    assert!(!stage.is_too_slow());
    stage.passes(3_600).await;
    assert!(!stage.is_too_slow());
    stage.pace.received(1);
    assert!(!stage.is_too_slow());
    stage.passes(10).await;
    assert!(stage.is_too_slow());
}

#[tokio::test(start_paused = true)]
async fn an_excuse_is_some_more_time() {
    let mut stage = Stage::set(false);
    assert!(!stage.is_too_slow());
    stage.passes(10).await;
    assert!(stage.is_too_slow());
    stage.pace.excuse(SECOND);
    assert!(!stage.is_too_slow());
    stage.passes(1).await;
    assert!(stage.is_too_slow());
}
