//! The inputs of the fuzz targets that are in the repository.

use std::{collections::BTreeSet, fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A folder for each target, with a file for each input.
pub(crate) const SEEDS: &str = "tests/fuzz/seeds";

/// A file for each target with an input in a line, in base64; `.ci/corpora` writes them.
pub(crate) const CORPORA: &str = "tests/fuzz/corpora";

pub(crate) fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| name(entry.unwrap())).collect()
}

/// Returns the seeds of a target, each with its path.
pub(crate) fn seeds_of(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = format!("{SEEDS}/{target}");
    let paths = names_in(&folder)
        .into_iter()
        .map(|name| PathBuf::from(&folder).join(name));
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Returns what fuzzing has reached of a target.
pub(crate) fn corpus_of(target: &str) -> Vec<Vec<u8>> {
    let inputs = fs::read_to_string(format!("{CORPORA}/{target}")).unwrap();
    let decoded = inputs.lines().map(|line| STANDARD.decode(line).unwrap());
    decoded.collect()
}
