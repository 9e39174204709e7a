//! Puts a run's tables and charts into `docs/benchmarks.md` and beside it.

use std::fs;

use crate::{charts, machine, options::Options, results::Measured, summary, tables};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md");
const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks");

/// Replaces what the page says of the last run.
pub(crate) fn write(options: &Options, all: &[Measured]) {
    let charts = charts::all(all);
    fs::create_dir_all(CHARTS).unwrap();
    for (name, chart) in &charts {
        fs::write(format!("{CHARTS}/{name}.svg"), chart.draw()).unwrap();
    }
    let images: String = charts
        .iter()
        .map(|(name, chart)| format!("![{}](benchmarks/{name}.svg)\n\n", chart.title))
        .collect();
    let results: String = all
        .iter()
        .map(|measured| {
            let (name, rate) = (measured.cell.name(), tables::at(measured.rate));
            format!("### {name}{rate}\n\n{}\n", tables::of(measured))
        })
        .collect();
    let mut page = fs::read_to_string(PAGE).unwrap();
    page = with(&page, "machine", &machine::describe(options));
    page = with(&page, "summary", &summary::lines(all));
    page = with(&page, "charts", &images);
    page = with(&page, "results", &results);
    fs::write(PAGE, page).unwrap();
    println!("\nwritten: docs/benchmarks.md and {} charts", charts.len());
}

/// Replaces what stands between a section's markers.
fn with(page: &str, section: &str, new: &str) -> String {
    let begin = format!("<!-- {section}: begin -->\n");
    let end = format!("\n<!-- {section}: end -->");
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}\n{}\n{end}{after}", new.trim())
}
