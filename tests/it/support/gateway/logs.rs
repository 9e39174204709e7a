//! What a gateway prints, and how to read it.

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// The lines of both output streams, as they come.
#[derive(Debug, Clone, Default)]
pub(super) struct Logs {
    lines: Arc<Mutex<Vec<String>>>,
    open_streams: Arc<AtomicUsize>,
}

impl Logs {
    /// Collects a stream on a thread of its own, so that the writer never has to wait.
    pub(super) fn collect(&self, stream: impl Read + Send + 'static) {
        self.open_streams.fetch_add(1, Ordering::SeqCst);
        let (lines, open) = (Arc::clone(&self.lines), Arc::clone(&self.open_streams));
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.lock().unwrap().push(line);
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Waits, not for long, until everything that was printed has been collected.
    pub(super) async fn finish(&self) {
        for _ in 0..200 {
            if self.open_streams.load(Ordering::SeqCst) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    pub(super) fn json(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
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
