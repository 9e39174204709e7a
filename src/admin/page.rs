//! The status page: one document with its style and script in it, and what stands in its places.
//!
//! Every text is made here, once, for the document as it is sent and for the script that keeps it
//! fresh: the page says the same with and without JavaScript. In the template `{{kind name}}` is a
//! place; what fills it is escaped.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    status::Status,
    texts::{count, long, per_second, percent, short},
};

const DOCUMENT: &str = include_str!("../web/status.html");
const STYLE: &str = include_str!("../web/status.css");
const SCRIPT: &str = include_str!("../web/status.js");
const ICON: &str = include_str!("../web/icon.svg");

/// Width and height of a curve, in its own units.
const CURVE: (f64, f64) = (300.0, 40.0);

/// What fills the places of the page. Names of texts and curves may change with any release.
#[derive(Debug, Default, Serialize)]
pub(super) struct Shown {
    /// Text, by the place's name.
    pub(super) texts: BTreeMap<&'static str, String>,
    /// `up`, `down` or `unknown`: what colour a place has.
    pub(super) states: BTreeMap<&'static str, &'static str>,
    /// Points of polylines.
    pub(super) curves: BTreeMap<&'static str, String>,
    /// Tables' rows.
    pub(super) tables: BTreeMap<&'static str, Vec<Row>>,
}

/// A row of a table; a single cell says that there is nothing to list.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) state: &'static str,
    pub(super) cells: Vec<String>,
}

/// The page, made once as far as it is the same for everybody.
#[derive(Debug)]
pub(super) struct Page {
    template: String,
    policy: String,
}

impl Page {
    /// Puts style and script into the document, and lets no other run.
    pub(super) fn from_binary() -> Self {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        let (style, script) = (hash(STYLE), hash(SCRIPT));
        Self {
            template: DOCUMENT
                .replace("{{icon}}", &STANDARD.encode(ICON))
                .replace("{{style}}", STYLE)
                .replace("{{script}}", SCRIPT),
            policy: format!(
                "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; \
                 img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                 frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
            ),
        }
    }

    /// Returns the page's `Content-Security-Policy`.
    pub(super) fn policy(&self) -> &str {
        &self.policy
    }

    /// Writes the page as it is at this moment.
    pub(super) fn render(&self, shown: &Shown) -> String {
        let mut pieces = self.template.split("{{");
        let mut page = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (place, rest) = piece.split_once("}}").unwrap_or((piece, ""));
            let (kind, name) = place.split_once(' ').unwrap_or((place, ""));
            match kind {
                "text" => push_escaped(&mut page, shown.texts.get(name).map_or("", |it| it)),
                "state" => page.push_str(shown.states.get(name).unwrap_or(&"")),
                "curve" => page.push_str(shown.curves.get(name).map_or("", |it| it)),
                "table" => {
                    let rows = shown.tables.get(name).into_iter().flatten();
                    rows.for_each(|row| push_row(&mut page, row));
                }
                _ => {}
            }
            page.push_str(rest);
        }
        page
    }
}

impl Shown {
    /// Says everything.
    pub(super) fn of(status: &Status) -> Self {
        let mut shown = Self::default();
        shown.head(status);
        shown.requests(status);
        shown.token_checks(status);
        shown.revocations(status);
        shown.connections(status);
        shown.lists(status);
        for (name, values) in &status.curves {
            shown.curves.insert(name, points(values));
        }
        shown
    }

    fn text(&mut self, name: &'static str, text: impl Into<String>) {
        self.texts.insert(name, text.into());
    }

    fn table(&mut self, name: &'static str, rows: impl Iterator<Item = Row>, none: &str) {
        let mut rows: Vec<Row> = rows.collect();
        if rows.is_empty() {
            rows.push(Row::of([none.to_owned()]));
        }
        self.tables.insert(name, rows);
    }

    fn head(&mut self, status: &Status) {
        self.text("version", status.version);
        self.text(
            "time",
            status
                .time
                .chars()
                .take(19)
                .collect::<String>()
                .replace('T', " "),
        );
        self.text("uptime", long(status.uptime()));
        self.text("status", status.status);
        let state = match status.status {
            "ready" => "up",
            "degraded" => "unknown",
            _ => "down",
        };
        self.states.insert("status", state);
        let listening = status.listening.iter().map(|it| {
            let tls = if it.tls { "TLS" } else { "plain text" };
            Row::of([it.listener.to_owned(), it.address.clone(), tls.to_owned()])
        });
        self.table("listening", listening, "nowhere");
        let dependencies = status.dependencies.iter().map(|it| Row {
            state: it.state,
            cells: vec![
                it.name.to_owned(),
                it.state.to_owned(),
                format!("for {}", long(Duration::from_secs(it.since_seconds))),
            ],
        });
        self.table("dependencies", dependencies, "none");
    }

    fn requests(&mut self, status: &Status) {
        let requests = &status.requests;
        self.text("requests.rate", per_second(requests.per_second));
        self.text("requests.total", count(requests.total));
        self.text("requests.in_flight", count(requests.in_flight));
        self.text("requests.p50", short(requests.duration_seconds.p50));
        self.text("requests.p99", short(requests.duration_seconds.p99));
        self.text("requests.peak", peak(status, "requests", per_second));
        self.rates("outcomes", &requests.outcomes_per_second);
        self.rates("classes", &requests.classes_per_second);
    }

    fn token_checks(&mut self, status: &Status) {
        let checks = &status.token_checks;
        self.text("checks.rate", per_second(checks.per_second));
        self.text("checks.ratio", percent(checks.local_ratio));
        self.text("checks.total", count(checks.total));
        self.text("checks.entries", count(checks.local_entries));
        self.text("checks.refusals", count(checks.local_refusals));
        self.text("checks.waiting", count(checks.waiting));
        self.text("checks.undecided", count(checks.undecided));
        self.text("checks.peak", peak(status, "checks", per_second));
        let tiers = &checks.tiers_per_second;
        let rows = ["local", "redis", "postgres"].map(|tier| {
            let rate = tiers.get(tier).copied().unwrap_or_default();
            let share = (checks.per_second > 0.0).then(|| rate / checks.per_second);
            Row::of([tier.to_owned(), per_second(rate), percent(share)])
        });
        self.table("tiers", rows.into_iter(), "none");
    }

    fn revocations(&mut self, status: &Status) {
        let revocations = &status.revocations;
        let (word, state) = if revocations.followed {
            ("followed", "up")
        } else {
            ("not followed", "down")
        };
        self.text("revocations.followed", word);
        self.states.insert("revocations", state);
        let last = revocations.last_lag_seconds;
        self.text("revocations.last", short((last > 0.0).then_some(last)));
        self.text("revocations.p50", short(revocations.lag_seconds.p50));
        self.text("revocations.p99", short(revocations.lag_seconds.p99));
        self.text("revocations.changes", count(revocations.changes));
        self.text(
            "revocations.peak",
            peak(status, "lag", |it| short(Some(it))),
        );
    }

    fn connections(&mut self, status: &Status) {
        let connections = &status.connections;
        self.text("connections.open", count(connections.open));
        self.text(
            "connections.accepted",
            per_second(connections.accepted_per_second),
        );
        self.text("connections.total", count(connections.accepted));
        self.text("connections.waited", count(connections.waited));
        self.text(
            "connections.peak",
            peak(status, "connections", |it| count(it as u64)),
        );
        let protocols = connections.protocols.iter();
        let protocols = protocols.map(|(name, open)| Row::of([(*name).to_owned(), count(*open)]));
        self.table("protocols", protocols, "none");
        let failed = connections.failed.iter();
        let failed = failed.map(|(name, times)| Row::of([(*name).to_owned(), count(*times)]));
        self.table("failed", failed, "none");
    }

    fn lists(&mut self, status: &Status) {
        let refusals = status.refusals.iter();
        let refusals = refusals.map(|it| Row::of([it.reason.to_owned(), count(it.count)]));
        self.table("refusals", refusals, "none");
        let faults = status.faults.iter().map(|it| {
            let ago = long(Duration::from_secs(it.last_seconds_ago));
            Row::of([
                it.what.clone(),
                format!("{ago} ago"),
                format!("{} ×", count(it.times)),
            ])
        });
        self.table("faults", faults, "none since the start");
    }

    fn rates(&mut self, name: &'static str, rates: &BTreeMap<&'static str, f64>) {
        let rows = rates.iter();
        let rows = rows.map(|(name, rate)| Row::of([(*name).to_owned(), per_second(*rate)]));
        self.table(name, rows, "none");
    }
}

impl Row {
    fn of<const N: usize>(cells: [String; N]) -> Self {
        Self {
            state: "",
            cells: cells.into(),
        }
    }
}

/// The highest value of a curve, in words.
fn peak(status: &Status, curve: &str, write: impl Fn(f64) -> String) -> String {
    let values = status.curves.get(curve).into_iter().flatten();
    write(values.copied().fold(0.0, f64::max))
}

/// A curve's points, the newest at the right edge, its highest value at the top.
fn points(values: &[f64]) -> String {
    let (width, height) = CURVE;
    let top = values.iter().copied().fold(0.0, f64::max);
    let step = width / (super::history::READINGS - 2) as f64;
    let begin = width - step * values.len().saturating_sub(1) as f64;
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let part = if top > 0.0 { value / top } else { 0.0 };
            let (x, y) = (
                begin + step * at as f64,
                height - 1.0 - part * (height - 2.0),
            );
            format!("{x:.1},{y:.1}")
        })
        .collect();
    points.join(" ")
}

/// Writes a row as the script would build it.
fn push_row(page: &mut String, row: &Row) {
    page.push_str("<tr data-state=\"");
    page.push_str(row.state);
    page.push_str("\">");
    for (at, cell) in row.cells.iter().enumerate() {
        let (open, close) = match (row.cells.len(), at) {
            (1, _) => ("<td colspan=\"3\">", "</td>"),
            (_, 0) => ("<th scope=\"row\">", "</th>"),
            _ => ("<td>", "</td>"),
        };
        page.push_str(open);
        push_escaped(page, cell);
        page.push_str(close);
    }
    page.push_str("</tr>");
}

fn push_escaped(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c => page.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_a_place_is_escaped() {
        let mut shown = Shown::default();
        let bad = "<script>alert('1')</script> & \"so\"";
        shown.text("version", bad);
        shown.table(
            "faults",
            std::iter::once(Row::of([bad.to_owned(), "now".to_owned()])),
            "",
        );

        let page = Page::from_binary().render(&shown);

        assert!(!page.contains(bad) && !page.contains("<script>alert"));
        let escaped = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;so&quot;";
        assert_eq!(page.matches(escaped).count(), 2);
        assert!(!page.contains("{{"), "every place is filled");
    }

    #[test]
    fn a_curve_ends_at_the_right_and_reaches_the_top_once() {
        assert_eq!(points(&[]), "");
        assert_eq!(points(&[0.0]), "300.0,39.0");
        let curve = points(&[1.0, 4.0, 2.0]);
        assert_eq!(curve, "295.9,29.5 298.0,1.0 300.0,20.0");
    }
}
