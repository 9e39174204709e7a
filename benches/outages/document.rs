//! The tables in `docs/outages.md`, and what they were measured on.

use std::{fs, process::Command};

use crate::options::Options;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/outages.md");
const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";

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

/// Puts the tables between the markers.
pub(crate) fn write(tables: &Tables) {
    let text = fs::read_to_string(PATH).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let Tables {
        header,
        outages,
        flood,
        ..
    } = tables;
    let measured = format!("\n{header}\n\n{outages}\n### A flood of unknown tokens\n\n{flood}\n");
    fs::write(PATH, format!("{before}{BEGIN}{measured}{END}{after}")).unwrap();
}
