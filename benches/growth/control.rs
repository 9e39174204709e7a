//! Bodies that are quadratic on purpose: who looks for growth has to find theirs.

use std::hint::black_box;

use crate::targets::Target;

/// Each with what is quadratic in it.
pub(crate) const TARGETS: [(Target, &str); 2] = [
    (("(looks back)", looks_back), "quadratic in commas"),
    (("(compares names)", compares), "quadratic in names"),
];

/// What their pieces are taken of.
pub(crate) fn inputs() -> Vec<Vec<u8>> {
    vec![b"a=1, b=2, cc=\"3\"; d".to_vec()]
}

/// Counts the quotation marks before each comma, from the beginning each time.
fn looks_back(bytes: &[u8]) {
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b',') {
        black_box(bytes[..at].iter().filter(|byte| **byte == b'"').count());
    }
}

/// Keeps each name once, by comparing it with all there are.
fn compares(bytes: &[u8]) {
    let mut names: Vec<&[u8]> = Vec::new();
    for member in bytes.split(|byte| *byte == b',') {
        let name = member.split(|byte| *byte == b'=').next().unwrap_or(member);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    black_box(names);
}
