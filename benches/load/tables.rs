//! Tables that are read in a terminal as well as in Markdown.

use crate::{
    cells::{Load, grouped},
    generator::Round,
    peers::{Check, Peer},
    results::{Measured, Row, Spread, whole_cpu},
};

/// The table of one load: medians, in brackets the least and the greatest.
pub(crate) fn of(measured: &Measured) -> String {
    let things = match measured.cell.load {
        Load::Streams => ["events/s", "delay p50", "delay p99", "CPU/event"],
        _ => ["requests/s", "p50", "p99", "CPU/request"],
    };
    let head = ["proxy", "token checked by"].into_iter();
    let head = head.chain(things).chain(["CPU / difygate's", "memory"]);
    let mut lines = vec![head.map(str::to_owned).collect()];
    let gateway = measured.row(Peer::Difygate);
    lines.extend(measured.rows.iter().map(|row| line(row, gateway)));
    aligned(&lines)
}

fn line(row: &Row, gateway: Option<&Row>) -> Vec<String> {
    let check = match row.peer.card().check {
        Check::None => "nobody",
        Check::Itself => "itself",
        Check::Authorizer => "an authorizer",
    };
    let ratio = gateway.map_or_else(String::new, |gateway| {
        with_range(row.ratio(gateway, whole_cpu), |ratio| format!("{ratio:.2}"))
    });
    vec![
        row.label.to_owned(),
        check.to_owned(),
        with_range(row.spread(|round| round.per_second), grouped),
        with_range(row.spread(|round| round.p50_micros), time),
        with_range(row.spread(|round| round.p99_micros), time),
        cpu(row),
        ratio,
        memory(row),
    ]
}

/// A proxy's processor time, and beside it the authorizer's.
pub(crate) fn cpu(row: &Row) -> String {
    let own = with_range(row.spread(|round| round.cpu_micros), time);
    if row.peer.card().check != Check::Authorizer {
        return own;
    }
    let beside = row.spread(|round| round.beside_micros).median;
    format!("{own} + {}", time(beside))
}

/// A proxy's memory.
pub(crate) fn memory(row: &Row) -> String {
    let figure = row.spread(|round: &Round| round.resident_mib).median;
    format!("{figure:.0} MiB")
}

/// The rate of a load that has one.
pub(crate) fn at(rate: Option<f64>) -> String {
    rate.map_or_else(String::new, |rate| {
        format!(", {} requests/s", grouped(rate))
    })
}

/// A median, and the range if there is one.
pub(crate) fn with_range(spread: Spread, format: impl Fn(f64) -> String) -> String {
    let [median, least, greatest] = [spread.median, spread.least, spread.greatest].map(format);
    if least == greatest {
        return median;
    }
    format!("{median} ({least}–{greatest})")
}

/// Microseconds in the unit that suits them.
pub(crate) fn time(micros: f64) -> String {
    match micros {
        ..100.0 => format!("{micros:.1} µs"),
        100.0..1_000.0 => format!("{micros:.0} µs"),
        1_000.0..10_000.0 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.1} ms", micros / 1e3),
    }
}

/// Markdown whose columns stand below each other; all but the first two hold figures.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines[0].len();
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let row = |line: &[String]| {
        let cells = line.iter().zip(&widths).enumerate();
        let cells: String = cells
            .map(|(column, (text, &width))| match column {
                0 | 1 => format!(" {text:<width$} |"),
                _ => format!(" {text:>width$} |"),
            })
            .collect();
        format!("|{cells}\n")
    };
    let rule: String = (0..columns)
        .map(|column| match (column, widths[column]) {
            (0 | 1, width) => format!("{}|", "-".repeat(width + 2)),
            (_, width) => format!("{}:|", "-".repeat(width + 1)),
        })
        .collect();
    let body: String = lines[1..].iter().map(|line| row(line)).collect();
    format!("{}|{rule}\n{body}", row(&lines[0]))
}
