//! Which known key a misspelt one was probably meant to be.

use super::{KEYS, Key};

/// Finds the key a misspelt path was probably meant to be: at most two letters off.
pub(crate) fn closest(path: &str) -> Option<&'static Key> {
    KEYS.iter()
        .map(|key| (distance(key.path, path), key))
        .filter(|(distance, _)| *distance <= 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// The Levenshtein distance, row by row.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (1..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        for (to, above) in b.chars().zip(&mut row) {
            let substituted = diagonal + usize::from(from != to);
            diagonal = *above;
            left = substituted.min(left + 1).min(diagonal + 1);
            *above = left;
        }
    }
    row.last().copied().unwrap_or_else(|| a.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        assert_eq!(closest("server.lissten").unwrap().path, "server.listen");
        assert_eq!(distance("kitten", "sitting"), 3);
        assert!(closest("nothing.like_it").is_none());
    }
}
