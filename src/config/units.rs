//! Durations, sizes and rates as operators write them: a whole number and its unit.

use std::time::Duration;

/// Duration units with their length in milliseconds, longest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Size units with their length in bytes, longest first.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Parses `"250ms"`, `"2s"`, `"15m"`, `"1h"`, `"1d"`; a bare number has no unit and is refused.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    scaled(text, &DURATION_UNITS).map(Duration::from_millis)
}

/// Parses `"512B"`, `"64KiB"`, `"1MiB"`, `"1GiB"` into bytes.
pub(crate) fn size(text: &str) -> Option<usize> {
    usize::try_from(scaled(text, &SIZE_UNITS)?).ok()
}

/// Parses a count per window, `"60/1h"`.
pub(crate) fn rate(text: &str) -> Option<(u32, Duration)> {
    let (count, window) = text.split_once('/')?;
    Some((u32::try_from(number(count)?).ok()?, duration(window)?))
}

/// Spells a duration with the longest unit that divides it.
pub(crate) fn show_duration(duration: Duration) -> String {
    show(
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        "0s",
        &DURATION_UNITS,
    )
}

/// Spells a size with the longest unit that divides it.
pub(crate) fn show_size(bytes: usize) -> String {
    show(u64::try_from(bytes).unwrap_or(u64::MAX), "0B", &SIZE_UNITS)
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number(digits)?.checked_mul(*factor)
}

/// Digits only: `u64::from_str` would take a `+` as well.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

fn show(amount: u64, zero: &str, units: &[(&str, u64)]) -> String {
    let unit = units
        .iter()
        .find(|(_, factor)| amount.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) if amount > 0 => format!("{}{name}", amount / factor),
        _ => zero.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_every_unit() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("2s", 2_000),
            ("15m", 900_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_duration_without_a_proper_unit_is_refused() {
        for text in [
            "", "5", "s", "1.5s", "-1s", "+1s", "1 s", "1S", "1w", "1h30m", "٣s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration("99999999999999999d"), None, "overflow");
    }

    #[test]
    fn sizes_are_binary_and_need_a_unit() {
        assert_eq!(size("512B"), Some(512));
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("1MiB"), Some(1_048_576));
        for text in ["64", "64KB", "64kib", "64K", "1.5MiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn rates_are_a_count_per_window() {
        assert_eq!(rate("60/1h"), Some((60, Duration::from_secs(3_600))));
        for text in ["60", "60/h", "/1h", "+6/1h", "60/1h/2", "4294967296/1s"] {
            assert_eq!(rate(text), None, "{text}");
        }
    }

    #[test]
    fn spelling_chooses_the_longest_unit_that_divides() {
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(3_600)), "1h");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_size(1 << 20), "1MiB");
        assert_eq!(show_size(1_000), "1000B");
    }
}
