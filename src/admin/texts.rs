//! Numbers as a person reads them.

use std::time::Duration;

/// What stands where there is nothing to say.
const NOTHING: &str = "–";

/// Writes a number with its thousands apart: `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a rate: `0/s`, `0.25/s`, `12.3/s`, `4,120/s`.
pub(super) fn per_second(rate: f64) -> String {
    match rate {
        rate if rate >= 100.0 => format!("{}/s", count(rate.round() as u64)),
        rate if rate >= 10.0 => format!("{rate:.1}/s"),
        rate if rate > 0.0 => format!("{rate:.2}/s"),
        _ => "0/s".to_owned(),
    }
}

/// Writes a share of one: `98.2 %`.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(
        || NOTHING.to_owned(),
        |share| format!("{:.1} %", share * 100.0),
    )
}

/// Writes a short time, given in seconds: `0.15 ms`, `3.2 ms`, `250 ms`, `1.2 s`.
pub(super) fn short(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return NOTHING.to_owned();
    };
    match seconds * 1e3 {
        ms if ms >= 1_000.0 => format!("{seconds:.1} s"),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms if ms >= 1.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

/// Writes a long time by its two largest units: `12 s`, `3 min 5 s`, `2 h 0 min`, `41 d 7 h`.
pub(super) fn long(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", count(days), hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        let rates = [0.0, 0.25, 12.34, 4_119.7].map(per_second);
        assert_eq!(rates, ["0/s", "0.25/s", "12.3/s", "4,120/s"]);
        let shares = [None, Some(0.0), Some(0.98249)].map(percent);
        assert_eq!(shares, ["–", "0.0 %", "98.2 %"]);
        let times = [None, Some(0.000_15), Some(0.0032), Some(0.25), Some(1.24)].map(short);
        assert_eq!(times, ["–", "0.15 ms", "3.2 ms", "250 ms", "1.2 s"]);
        let times = [12, 185, 7_200, 3_567_600].map(|s| long(Duration::from_secs(s)));
        assert_eq!(times, ["12 s", "3 min 5 s", "2 h 0 min", "41 d 7 h"]);
    }
}
