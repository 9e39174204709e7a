//! The names of traces and spans, and `traceparent` (W3C Trace Context, level 1, section 3.2).

use std::fmt;

/// Length of a `traceparent` of version 00, and of the part that every later version begins with.
const LENGTH: usize = 55;

/// The bit of the flags that says that the caller has recorded its span.
const SAMPLED: u8 = 1;

/// The name of a trace; never all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// The name of a span; never all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// Takes any number but zero, which becomes 1.
    pub(super) fn from_bits(bits: u128) -> Self {
        Self(bits.max(1).to_be_bytes())
    }

    /// Returns the id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl SpanId {
    /// Takes any number but zero, which becomes 1.
    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits.max(1).to_be_bytes())
    }

    /// Returns the id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The span that a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// The caller's span.
    pub span: SpanId,
    /// Whether the caller says that it has recorded it.
    pub sampled: bool,
}

impl Parent {
    /// Reads a `traceparent`: lower-case digits, no id of zeros, in version 00 not a byte more. Of
    /// a later version the part that is known is read; `ff` is none (section 3.2.4 of the
    /// recommendation).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let [version] = digits(&known[..2])?;
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        let parted = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        if !fits || !parted {
            return None;
        }
        let trace = TraceId(digits(&known[3..35])?);
        let span = SpanId(digits(&known[36..52])?);
        let [flags] = digits(&known[53..])?;
        let named = trace.0 != [0; 16] && span.0 != [0; 8];
        named.then_some(Self {
            trace,
            span,
            sampled: flags & SAMPLED != 0,
        })
    }

    /// Writes it as version 00; flags of later levels are not passed on (section 3.2.2.5.2).
    pub fn to_header(self) -> [u8; LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        spell(&self.trace.0, &mut text[3..35]);
        spell(&self.span.0, &mut text[36..52]);
        spell(&[u8::from(self.sampled)], &mut text[53..]);
        text
    }
}

/// Reads lower-case hexadecimal digits; `text` has two for each byte.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

fn spell(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_recommendations_example_is_read_and_written() {
        let parent = Parent::parse(EXAMPLE.as_bytes()).unwrap();

        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span.to_string(), "00f067aa0ba902b7");
        assert!(parent.sampled);
        assert_eq!(parent.to_header(), EXAMPLE.as_bytes());
    }

    #[test]
    fn flags_that_nobody_knows_are_not_passed_on() {
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let text = format!("{}{flags}", &EXAMPLE[..53]);
            let parent = Parent::parse(text.as_bytes()).unwrap();

            assert_eq!(parent.sampled, sampled, "{flags}");
            let written = parent.to_header();
            assert_eq!(written[53..], *if sampled { b"01" } else { b"00" });
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let rest = &EXAMPLE[2..];
        for text in [
            format!("01{rest}"),
            format!("cc{rest}-"),
            format!("fe{rest}-what.the-future-brings"),
        ] {
            assert!(Parent::parse(text.as_bytes()).is_some(), "{text}");
        }
        assert_eq!(Parent::parse(format!("cc{rest}.x").as_bytes()), None);
    }

    #[test]
    fn what_is_not_exactly_right_is_nothing() {
        let (trace, span) = (&EXAMPLE[3..35], &EXAMPLE[36..52]);
        for text in [
            String::new(),
            EXAMPLE[..54].to_owned(),
            format!("{EXAMPLE}-"),
            format!("{EXAMPLE} "),
            format!(" {}", &EXAMPLE[..54]),
            format!("ff{}", &EXAMPLE[2..]),
            format!("0x{}", &EXAMPLE[2..]),
            EXAMPLE.replace("4bf9", "4BF9"),
            EXAMPLE.replace("00f067", "00F067"),
            EXAMPLE.replace("-01", "-0g"),
            EXAMPLE.replace("-01", "_01"),
            EXAMPLE.replace(trace, &"0".repeat(32)),
            EXAMPLE.replace(span, &"0".repeat(16)),
            EXAMPLE.replace("4bf9", "+bf9"),
        ] {
            assert_eq!(Parent::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            trace in 1_u128..,
            span in 1_u64..,
            sampled: bool,
        ) {
            let parent = Parent {
                trace: TraceId::from_bits(trace),
                span: SpanId::from_bits(span),
                sampled,
            };
            prop_assert_eq!(Parent::parse(&parent.to_header()), Some(parent));
        }

        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Parent::parse(&bytes);
        }
    }
}
