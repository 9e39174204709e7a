//! A value that must never be printed: a key, a password, a URL that holds one.

use std::fmt;

use zeroize::Zeroizing;

/// Holds a secret string; wiped from memory on drop, redacted by `Debug`.
///
/// There is no `Display`, `Deref` or serialisation on purpose: every use of the text
/// goes through [`Secret::expose`] and can be found by searching for it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the text itself; never pass it to a log line, a label or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Tells whether the secret is the empty string.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_not_even_the_length() {
        let short = format!("{:?}", Secret::new("hunter2".into()));
        let empty = format!("{:#?}", Secret::new(String::new()));

        assert_eq!(short, "Secret(…)");
        assert_eq!(short, empty);
    }
}
