//! A response as it came.

use super::header;

/// Status, headers with their names as sent, and the decoded body.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The interim statuses that came before, such as 100.
    pub(crate) interim: Vec<u16>,
    /// The bytes of the head.
    pub(crate) head: Vec<u8>,
}

impl Response {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Every value of a header.
    pub(crate) fn header_values(&self, name: &str) -> Vec<&str> {
        let same = |key: &String| key.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(|(key, _)| same(key))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body of {self:?}"))
    }
}
