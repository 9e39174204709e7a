//! The tables in `docs/outages.md`, and what they were measured on.

use std::{fs, process::Command};

use crate::{options::Options, scenario::Scenario};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/outages.md");

/// What a run has to show.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) header: String,
    pub(crate) outages: String,
    pub(crate) flood: String,
    pub(crate) violations: usize,
}

impl Tables {
    pub(crate) fn new(options: &Options) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown processor", |(_, model)| model);
        let cores = std::thread::available_parallelism().unwrap();
        let mut header = format!(
            "{}; {model}, {cores} cores, which the generator shares; difygate {}, Redis {}, \
             PostgreSQL {}; {} rounds.",
            time::OffsetDateTime::now_utc().date(),
            env!("CARGO_PKG_VERSION"),
            version("redis-server"),
            version("psql"),
            options.rounds()
        );
        for (key, value) in &options.set {
            header.push_str(&format!(" `{key} = {value}`."));
        }
        Self {
            header,
            outages: String::new(),
            flood: String::new(),
            violations: 0,
        }
    }
}

/// The first word in what a program prints about itself that looks like a version.
fn version(program: &str) -> String {
    let Ok(output) = Command::new(program).arg("--version").output() else {
        return "of unknown version".to_owned();
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split([' ', '=']);
    let version = words.find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    version.unwrap_or("of unknown version").trim().to_owned()
}

/// Puts the tables in their places. What this run has left out stays as it was.
pub(crate) fn write(tables: &Tables) {
    let mut text = fs::read_to_string(PATH).unwrap();
    text = with(&text, "machine", |_| tables.header.clone());
    if !tables.outages.is_empty() {
        text = with(&text, "outages", |old| merged(old, &tables.outages));
    }
    if !tables.flood.is_empty() {
        text = with(&text, "flood", |_| tables.flood.clone());
    }
    fs::write(PATH, text).unwrap();
}

/// Replaces what stands between a section's markers.
fn with(text: &str, section: &str, new: impl FnOnce(&str) -> String) -> String {
    let begin = format!("<!-- {section}: begin -->\n");
    let end = format!("\n<!-- {section}: end -->");
    let (before, rest) = text.split_once(&begin).unwrap();
    let (old, after) = rest.split_once(&end).unwrap();
    let new = new(old);
    format!("{before}{begin}\n{}\n{end}{after}", new.trim())
}

/// Returns the new table with the lines of the old one that it lacks.
fn merged(old: &str, new: &str) -> String {
    let line = |table: &str, scenario: Scenario| {
        let start = format!("| {} |", scenario.name());
        let found = table.lines().find(|line| line.starts_with(&start));
        found.map(str::to_owned)
    };
    let mut lines: Vec<String> = new.lines().take(2).map(str::to_owned).collect();
    lines.extend(
        Scenario::ALL
            .into_iter()
            .filter_map(|scenario| line(new, scenario).or_else(|| line(old, scenario))),
    );
    lines.extend(
        new.lines()
            .skip_while(|line| line.starts_with('|'))
            .map(str::to_owned),
    );
    lines.join("\n")
}
