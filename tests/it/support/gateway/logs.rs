//! What a gateway prints, and how to read it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::patience::patience;

/// A file that both output streams are appended to.
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

/// How many lines wait to be written; nothing where nobody listens any more. A gateway that is too
/// busy to say so may have some.
pub(super) fn waiting(admin: SocketAddr) -> Option<f64> {
    match TcpStream::connect_timeout(&admin, patience(1.0)) {
        Ok(connection) => Some(says(connection).unwrap_or(1.0)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
        Err(_) => Some(1.0),
    }
}

fn says(mut connection: TcpStream) -> Option<f64> {
    connection.set_read_timeout(Some(patience(1.0))).ok()?;
    let ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    connection.write_all(ask).ok()?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let value = answer
        .lines()
        .find_map(|line| line.strip_prefix("difygate_log_lines_waiting "))?;
    value.parse().ok()
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
