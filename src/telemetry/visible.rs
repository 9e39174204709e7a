//! Text without what a terminal obeys.
//!
//! Strangers choose paths, labels and what stands in errors. Whoever reads a log in a terminal should
//! see what they have written, and not have it carried out.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

/// Tells whether a character does something instead of being shown: it moves the cursor or changes
/// colours (C0, DEL, C1), begins a line (U+2028, U+2029), or turns the direction of writing
/// (`Bidi_Control`, UAX #9).
const fn is_obeyed(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Text in one line, with what a terminal obeys as Rust would write it: `\n`, `\u{9b}`.
#[derive(Debug)]
pub struct Visible<'a>(pub &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_obeyed(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Returns a finished line of the log, to be shown as it is. Its own end stays; a JSON line stays the
/// same to every parser (RFC 8259 section 7: any character of a string may be written as `\uXXXX`).
pub(super) fn visible_line(line: &[u8], json: bool) -> Cow<'_, [u8]> {
    let (body, end) = match line {
        [body @ .., b'\n'] => (body, "\n"),
        body => (body, ""),
    };
    // Nearly every line. To go through all of it takes many bytes at a time; to stop early, one.
    if body
        .iter()
        .fold(true, |plain, byte| plain & is_plain(*byte))
    {
        return Cow::Borrowed(line);
    }
    let text = String::from_utf8_lossy(body);
    let mut visible = String::with_capacity(2 * line.len());
    // Writing to a string cannot fail.
    let _ = if json {
        write_json(&text, &mut visible)
    } else {
        write!(visible, "{}", Visible(&text))
    };
    visible.push_str(end);
    Cow::Owned(visible.into_bytes())
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Outside of strings JSON is ASCII, and serde_json has escaped what is below U+0020 within.
fn write_json(text: &str, visible: &mut String) -> fmt::Result {
    for character in text.chars() {
        if is_obeyed(character) {
            write!(visible, "\\u{:04x}", u32::from(character))?;
        } else {
            visible.push(character);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends of each range.
    const OBEYED: [char; 11] = [
        '\u{7f}', '\u{80}', '\u{9b}', '\u{9f}', '\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}',
        '\u{202e}', '\u{2066}', '\u{2069}',
    ];

    fn line(line: &str, json: bool) -> String {
        String::from_utf8(visible_line(line.as_bytes(), json).into_owned()).unwrap()
    }

    #[test]
    fn a_json_line_means_the_same_to_who_parses_it() {
        let path = format!("\\{}\n\"zoë €", String::from_iter(OBEYED));
        let said = serde_json::json!({"path": path, "status": 404});
        let written = line(&format!("{said}\n"), true);

        assert!(!written.contains(OBEYED), "{written:?}");
        assert!(
            written.contains(r"\u009b\u009f") && written.ends_with("zoë €\",\"status\":404}\n")
        );
        let parsed: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(parsed, said);
    }

    #[test]
    fn a_line_of_text_is_one_line_whatever_is_in_it() {
        assert_eq!(
            line("WARN down error=a\nDETAIL:\tb\u{1b}[31m\u{9b}c €\n", false),
            "WARN down error=a\\nDETAIL:\\tb\\u{1b}[31m\\u{9b}c €\n"
        );
        assert!(!line(&String::from_iter(OBEYED), false).contains(OBEYED));
        assert_eq!(Visible("a\n\u{1b}[31mb€").to_string(), r"a\n\u{1b}[31mb€");
    }

    #[test]
    fn a_line_of_ascii_is_not_touched() {
        for json in [true, false] {
            assert!(matches!(
                visible_line(b"{\"a\": \"b ~\"}\n", json),
                Cow::Borrowed(b"{\"a\": \"b ~\"}\n")
            ));
        }
    }
}
