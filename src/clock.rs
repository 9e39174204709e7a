//! Time as an argument.
//!
//! Nothing else in the crate asks the operating system what time it is: a clock is passed in, so
//! that a test can move it and a reader can see who depends on it.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime},
};

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Iso8601};

/// Tells the time, on both of its faces, so that a fake one moves them together.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the wall-clock time, for comparing with instants that others wrote down.
    fn now(&self) -> Timestamp;

    /// Returns the time since some fixed moment, for deadlines; it never goes backwards.
    fn monotonic(&self) -> Monotonic;
}

/// An instant of the civil calendar: microseconds since 1970-01-01T00:00:00Z.
///
/// Microseconds, because that is what Postgres and Python keep; eight bytes, because one stands
/// in every cached token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Builds a timestamp from whole seconds since the epoch.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Returns whole seconds since the epoch, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Returns microseconds since the epoch.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Parses an ISO-8601 instant with an offset, as Python's `isoformat()` writes it.
    ///
    /// Returns `None` when the text is not one, has no offset, or is of a year that Python has not:
    /// ISO 8601 knows years before 1, with a sign and more digits, which nobody could read back.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Iso8601::PARSING)
            .ok()?
            .checked_to_offset(UtcOffset::UTC)
            .filter(|at| (1..=9999).contains(&at.year()))
            .map(Self::from)
    }

    /// Writes the instant as Python's `isoformat()` does for UTC: microseconds only where there
    /// are any, and the offset as `+00:00`.
    pub fn to_iso8601(self) -> String {
        let mut text = self.to_local_part();
        text.push_str("+00:00");
        text
    }

    /// Writes the instant with `Z` for its offset, as Dify's session list does.
    pub fn to_rfc3339_zulu(self) -> String {
        let mut text = self.to_local_part();
        text.push('Z');
        text
    }

    fn to_local_part(self) -> String {
        let at = OffsetDateTime::from(self);
        let mut text = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        );
        if at.microsecond() != 0 {
            text.push_str(&format!(".{:06}", at.microsecond()));
        }
        text
    }

    /// Returns this instant moved by `by`, saturating at the ends of the calendar.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// Returns how long it is from this instant to `later`, zero when `later` is not later.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_micros(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        let micros = at.unix_timestamp_nanos().div_euclid(1_000);
        // A year of four digits is far inside an i64 of microseconds.
        Self(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(at: Timestamp) -> Self {
        Self::from_unix_timestamp_nanos(i128::from(at.0) * 1_000).unwrap_or(Self::UNIX_EPOCH)
    }
}

/// A moment on a clock that only goes forward: microseconds since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(u64);

impl Monotonic {
    /// Builds a moment from its microseconds since the clock's start, for keeping it in an atomic.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the clock's start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns this moment moved by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns how long it is since `earlier`, zero when that is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    began: Instant,
}

impl SystemClock {
    /// Starts a clock; its monotonic face counts from here.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where ambient time comes in"
    )]
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where ambient time comes in"
    )]
    fn now(&self) -> Timestamp {
        // Without the calendar's detour over 128 bits: this is read for every request.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// A clock that a test sets by hand.
#[derive(Debug)]
pub struct ManualClock {
    micros: std::sync::atomic::AtomicU64,
    epoch: Timestamp,
}

impl ManualClock {
    /// Builds a clock that stands still at `epoch`.
    pub fn at(epoch: Timestamp) -> Self {
        Self {
            micros: 0.into(),
            epoch,
        }
    }

    /// Moves both faces forward by `by`.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.micros
            .fetch_add(micros, std::sync::atomic::Ordering::SeqCst);
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.micros.load(std::sync::atomic::Ordering::SeqCst))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.epoch.plus(self.elapsed())
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::default().plus(self.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_instants_as_python_does() {
        for text in [
            "2026-05-01T00:00:00.123456+00:00",
            "2026-06-11T20:26:40+00:00",
            "1999-12-31T23:59:59.000001+00:00",
        ] {
            let at = Timestamp::parse_iso8601(text).unwrap();
            assert_eq!(at.to_iso8601(), text);
            assert_eq!(at.to_rfc3339_zulu(), text.replace("+00:00", "Z"));
        }
    }

    #[test]
    fn an_offset_is_taken_into_account_and_required() {
        let berlin = Timestamp::parse_iso8601("2026-05-01T02:00:00+02:00").unwrap();
        let zulu = Timestamp::parse_iso8601("2026-05-01T00:00:00Z").unwrap();
        assert_eq!(berlin, zulu);
        assert_eq!(Timestamp::parse_iso8601("2026-05-01T00:00:00"), None);
        assert_eq!(Timestamp::parse_iso8601("tomorrow"), None);
    }

    #[test]
    fn years_are_those_of_python() {
        for text in [
            "-002026-06-11T20:26:40+00:00",
            "+000000-01-01T00:00:00+00:00",
            "0001-01-01T00:00:00+02:00",
            "9999-12-31T23:59:59-02:00",
        ] {
            assert_eq!(Timestamp::parse_iso8601(text), None, "{text}");
        }
        for text in ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"] {
            let at = Timestamp::parse_iso8601(text).unwrap();
            assert_eq!(at.to_iso8601(), text);
        }
    }

    #[test]
    fn until_is_zero_for_what_has_passed() {
        let at = Timestamp::from_unix_seconds(10);
        assert_eq!(at.until(Timestamp::from_unix_seconds(9)), Duration::ZERO);
        assert_eq!(
            at.until(at.plus(Duration::from_secs(3))),
            Duration::from_secs(3)
        );
    }
}
