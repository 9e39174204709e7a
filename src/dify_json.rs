//! JSON as Dify's own process writes it, byte for byte.
//!
//! Dify uses Python's `json.dumps`: a space after `,` and `:`, and nothing but ASCII. The values
//! that both sides keep in Redis are written the same way, so that one side's bytes cannot be
//! told from the other's by anything but what they say.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Writes `value` as Python's `json.dumps` would.
#[expect(
    clippy::expect_used,
    reason = "writing to memory cannot fail, and our values have only string keys"
)]
pub fn to_vec(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    value
        .serialize(&mut Serializer::with_formatter(&mut out, PythonFormatter))
        .expect("values made of strings, numbers and maps serialize");
    out
}

struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut units = [0; 2];
        for character in fragment.chars() {
            // Python escapes DEL as nothing special and every non-ASCII character as UTF-16.
            if character.is_ascii() {
                out.write_all(&[character as u8])?;
            } else {
                for unit in character.encode_utf16(&mut units) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn separators_and_escapes_are_those_of_python() {
        let value = json!({"a": [1, 2, null], "b": "é 😀 \"\\ \n"});
        assert_eq!(
            String::from_utf8(to_vec(&value)).unwrap(),
            r#"{"a": [1, 2, null], "b": "\u00e9 \ud83d\ude00 \"\\ \n"}"#
        );
    }
}
