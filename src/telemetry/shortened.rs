/// Longest text of a client's in a line or a span, in bytes: clients choose how long a path, a method
/// and a `Host` are. Whoever has many requests logged should not choose how much disk they take. So
/// much of what a library says is written as well.
pub(super) const LONGEST: usize = 1_024;

/// Returns the beginning of `text`, 1,024 bytes at most, cut between two characters.
pub fn shortened(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        // Each takes three bytes, and 341 of them 1,023.
        let text = |count| "€".repeat(count);
        assert_eq!(shortened(&text(2_000)), text(341));
        assert_eq!(shortened(&text(341)), text(341));
        assert_eq!(shortened(&"a".repeat(2_000)).len(), LONGEST);
        assert_eq!(shortened(""), "");
    }
}
