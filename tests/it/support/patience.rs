//! Waiting for something to become true, with one knob for slow machines.

use std::future::Future;
use std::time::Duration;

/// `seconds`, times `DIFYGATE_TEST_PATIENCE` when that is set.
pub(crate) fn patience(seconds: f64) -> Duration {
    let factor = std::env::var("DIFYGATE_TEST_PATIENCE").map_or(1.0, |text| {
        text.parse::<f64>()
            .expect("DIFYGATE_TEST_PATIENCE is a number")
    });
    Duration::from_secs_f64(seconds * factor)
}

/// The output of `future`; panics with `what` when it takes more than `seconds` of patience.
pub(crate) async fn within<T>(seconds: f64, what: &str, future: impl Future<Output = T>) -> T {
    let limit = patience(seconds);
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// Polls a condition (which may `.await`) for five seconds of patience, then panics.
macro_rules! assert_eventually {
    ($condition:expr, $($message:tt)+) => {{
        let limit = $crate::support::patience(5.0);
        let begun = std::time::Instant::now();
        loop {
            if $condition {
                break;
            }
            assert!(
                begun.elapsed() < limit,
                "not within {limit:?}: {} [{}]",
                format_args!($($message)+),
                stringify!($condition),
            );
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }};
}
pub(crate) use assert_eventually;
