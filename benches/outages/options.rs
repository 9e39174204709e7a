//! What can be asked for on the command line.

use clap::Parser;

/// Strikes the stores under load and checks every answer.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// How often each store is struck in each way
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Only what has this in its name; may be given again
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Puts the tables into docs/outages.md
    #[arg(long)]
    pub(crate) write: bool,
    /// A key of the gateways' configuration, as section.key=TOML
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Tokens of the flood that nobody has issued
    #[arg(long, default_value_t = 100_000)]
    flood: usize,
    /// Goes once through everything
    #[arg(long, visible_alias = "quick")]
    test: bool,
    /// Passed by `cargo bench`, and missing under `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
    /// Filters are for the other benches
    #[arg(hide = true)]
    _filters: Vec<String>,
}

impl Options {
    /// Tells whether only a sign of life is wanted; as criterion does, under `cargo test` too.
    pub(crate) fn is_smoke(&self) -> bool {
        self.test || !self.bench
    }

    /// Returns how many rounds each scenario has.
    pub(crate) fn rounds(&self) -> usize {
        if self.is_smoke() { 1 } else { self.rounds }
    }

    /// Returns how many unknown tokens the flood has.
    pub(crate) fn flood(&self) -> usize {
        if self.is_smoke() { 4_000 } else { self.flood }
    }

    /// Tells whether what has this name is to be run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("needs key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}
