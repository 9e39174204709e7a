//! Readings of the last minutes, a ring: what rates, quantiles and curves are made of.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::{Clock, Monotonic},
    metrics::{Metrics, Reading},
};

/// Time between two readings.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// How far back the readings go, in readings: five minutes, some 300 KiB.
pub(super) const READINGS: usize = 150;

/// What a rate is the mean of: long enough to be calm, short enough to be of now.
pub(super) const RATE_WINDOW: Duration = Duration::from_secs(10);

/// What all of them together span.
pub(super) const WHOLE_WINDOW: Duration = Duration::from_secs(2 * READINGS as u64);

/// The ring.
#[derive(Debug)]
pub(super) struct History {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    readings: Mutex<VecDeque<(Monotonic, Reading)>>,
}

/// The readings at one moment, and the present one; no other is made while this is looked at.
#[derive(Debug)]
pub(super) struct Recent<'h> {
    readings: MutexGuard<'h, VecDeque<(Monotonic, Reading)>>,
    now: (Monotonic, Reading),
}

impl History {
    /// Starts with the reading of this moment.
    pub(super) fn begin(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let first = (clock.monotonic(), metrics.read());
        Self {
            metrics,
            clock,
            readings: Mutex::new(VecDeque::from([first])),
        }
    }

    /// Reads for ever, whether somebody looks or not: who looks wants to know what was before.
    pub(super) async fn keep_reading(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.read();
        }
    }

    fn read(&self) {
        let reading = (self.clock.monotonic(), self.metrics.read());
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.push_back(reading);
        if readings.len() > READINGS {
            readings.pop_front();
        }
    }

    /// Returns what there is, with a reading of this moment.
    pub(super) fn recent(&self) -> Recent<'_> {
        Recent {
            readings: self.readings.lock().unwrap_or_else(PoisonError::into_inner),
            now: (self.clock.monotonic(), self.metrics.read()),
        }
    }
}

impl Recent<'_> {
    /// Returns the present reading.
    pub(super) const fn now(&self) -> &Reading {
        &self.now.1
    }

    /// Returns the oldest reading.
    pub(super) fn oldest(&self) -> &Reading {
        self.readings.front().map_or(&self.now.1, |(_, it)| it)
    }

    /// Returns how much each of some counters grows in a second, over [`RATE_WINDOW`].
    pub(super) fn rates<const N: usize>(&self, of: impl Fn(&Reading) -> [u64; N]) -> [f64; N] {
        let (now, reading) = &self.now;
        let old_enough = |at: &Monotonic| now.since(*at) >= RATE_WINDOW;
        let before = self.readings.iter().rev().find(|(at, _)| old_enough(at));
        let (at, before) = before
            .or_else(|| self.readings.front())
            .unwrap_or(&self.now);
        // In its first moments a process has no rate yet to speak of.
        let seconds = now.since(*at).as_secs_f64().max(1.0);
        let (after, before) = (of(reading), of(before));
        std::array::from_fn(|at| after[at].saturating_sub(before[at]) as f64 / seconds)
    }

    /// Returns a curve: a value for each two readings that follow each other, and for how many
    /// seconds they are apart.
    pub(super) fn curve(&self, of: impl Fn(&Reading, &Reading, f64) -> f64) -> Vec<f64> {
        let following = self.readings.iter().skip(1);
        self.readings
            .iter()
            .zip(following)
            .map(|((from, before), (to, after))| {
                let seconds = to.since(*from).as_secs_f64().max(1e-3);
                of(before, after, seconds)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{ManualClock, Timestamp},
        metrics::Outcome,
    };

    #[test]
    fn a_rate_is_of_the_last_seconds_and_the_ring_is_bounded() {
        let metrics = Arc::new(Metrics::new());
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(0)));
        let history = History::begin(Arc::clone(&metrics), Arc::clone(&clock) as _);
        for number in 0..READINGS + 50 {
            clock.advance(INTERVAL);
            // A flood that is over for longer than a rate's window.
            let requests = if number < READINGS { 400 } else { 20 };
            for _ in 0..requests {
                metrics.request(Outcome::Forwarded, 200);
            }
            history.read();
        }

        let recent = history.recent();

        assert_eq!(recent.readings.len(), READINGS);
        let rates = recent.rates(|reading| reading.requests);
        assert_eq!(rates, [0.0, 0.0, 10.0, 0.0]);
        let curve = recent.curve(|a, b, s| (b.requests[2] - a.requests[2]) as f64 / s);
        assert_eq!((curve[0], curve[READINGS - 2]), (200.0, 10.0));
    }
}
