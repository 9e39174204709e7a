//! What a gateway prints, and how to read it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file that both output streams are appended to. What the gateway has printed before it answers
/// is there when the answer is: no reader has to catch up.
#[derive(Debug, Clone)]
pub(super) struct Logs {
    path: PathBuf,
}

impl Logs {
    /// Opens an empty log in `directory`.
    pub(super) fn create(directory: &Path) -> Self {
        let path = directory.join("printed.log");
        File::create(&path).unwrap();
        Self { path }
    }

    /// Opens the log for one of the streams.
    pub(super) fn stream(&self) -> File {
        OpenOptions::new().append(true).open(&self.path).unwrap()
    }

    pub(super) fn text(&self) -> String {
        let printed = std::fs::read(&self.path).unwrap();
        String::from_utf8_lossy(&printed).into_owned()
    }

    pub(super) fn json(&self) -> Vec<Value> {
        self.text()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

/// A field of a log line: at its top level or among its `fields`.
pub(super) fn field<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    line.get("fields")
        .and_then(|fields| fields.get(name))
        .or_else(|| line.get(name))
}

/// See [`super::Gateway::metric`].
pub(super) fn sum_series(text: &str, wanted: &str) -> f64 {
    let (wanted_name, wanted_labels) = series(wanted);
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(key, _)| {
            let (name, labels) = series(key);
            name == wanted_name && wanted_labels.iter().all(|label| labels.contains(label))
        })
        .map(|(_, value)| value.parse::<f64>().expect("a metric's value"))
        .sum()
}

/// The name of a series and its labels, each as `key="value"`.
fn series(text: &str) -> (&str, Vec<&str>) {
    let Some((name, rest)) = text.trim().split_once('{') else {
        return (text.trim(), Vec::new());
    };
    let labels = rest.trim_end_matches('}');
    // A comma within a value follows no quotation mark.
    let mut found: Vec<&str> = labels.split("\",").map(str::trim).collect();
    for label in &mut found {
        *label = label.trim_end_matches('"');
    }
    found.retain(|label| !label.is_empty());
    (name, found)
}
