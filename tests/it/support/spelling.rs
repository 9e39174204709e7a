//! The spellings of a header name that a WSGI server takes for one.

/// The name with each of its marks as each that servers fold together, in every mixture, and in three
/// cases. The name itself is the first.
pub(crate) fn spellings(name: &str) -> Vec<String> {
    let mut spellings = Vec::new();
    for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
        let words: Vec<&str> = name.split('-').collect();
        let mut mixed = vec![words[0].to_owned()];
        for word in &words[1..] {
            mixed = mixed
                .iter()
                .flat_map(|begun| ["-", "_", "."].map(|mark| format!("{begun}{mark}{word}")))
                .collect();
        }
        spellings.extend(mixed);
    }
    spellings
}
