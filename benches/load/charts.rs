//! Which charts there are, and what is in them.

use crate::{
    cells::{Cell, Load, Rate, SMALL, grouped},
    generator::Round,
    peers::{Check, Peer},
    results::{Measured, Row, whole_cpu},
    summary::{find, hot},
    svg::{Bar, Chart},
    tables::{memory, time},
};

const UNCHECKED: &str = "#94a3b8";
const GATEWAY: &str = "#2563eb";
const CHECKING: &str = "#60a5fa";
const AUTHORIZER: &str = "#f59e0b";
const TAIL: &str = "#cbd5e1";

/// Returns each chart with the name of its file.
pub(crate) fn all(measured: &[Measured]) -> Vec<(&'static str, Chart)> {
    let closed = |connections, bytes| {
        move |cell: &Cell| cell.connections == connections && cell.load == Load::Closed { bytes }
    };
    let open = |cell: &Cell| cell.load == Load::Open(Rate::Slowest);
    let streams = |cell: &Cell| cell.load == Load::Streams;
    let charts = [
        (
            "cpu",
            hot(measured).map(|it| cpu(it, "Processor time per request")),
        ),
        ("throughput", hot(measured).map(throughput)),
        ("latency", find(measured, open).map(latency)),
        ("memory", find(measured, closed(1_000, SMALL)).map(weight)),
        (
            "large",
            find(measured, closed(64, 1 << 20)).map(|it| cpu(it, "Processor time per MiB")),
        ),
        (
            "streams",
            find(measured, streams).map(|it| cpu(it, "Processor time per event of a stream")),
        ),
    ];
    let drawn = |(name, chart): (&'static str, Option<Chart>)| Some((name, chart?));
    charts.into_iter().filter_map(drawn).collect()
}

fn cpu(measured: &Measured, title: &str) -> Chart {
    let bar = |row: &Row| {
        let whole = row.spread(whole_cpu);
        let beside = row.spread(|round| round.beside_micros).median;
        Bar {
            label: row.label.to_owned(),
            parts: vec![
                (whole.median - beside, colour(row.peer)),
                (beside, AUTHORIZER),
            ],
            range: (whole.least, whole.greatest),
            text: time(whole.median),
        }
    };
    Chart {
        title: title.to_owned(),
        subtitle: subtitle(measured, "less is better"),
        bars: measured.rows.iter().map(bar).collect(),
        legend: [legend(), vec![(AUTHORIZER, "the authorizer that it asks")]].concat(),
    }
}

fn throughput(measured: &Measured) -> Chart {
    let per_second = |round: &Round| round.per_second;
    simple(
        measured,
        "Requests per second",
        "more is better",
        per_second,
        |row| grouped(row.spread(per_second).median),
    )
}

fn weight(measured: &Measured) -> Chart {
    let resident = |round: &Round| round.resident_mib;
    simple(
        measured,
        "Resident memory",
        "less is better",
        resident,
        memory,
    )
}

fn simple(
    measured: &Measured,
    title: &str,
    better: &str,
    figure: impl Fn(&Round) -> f64,
    text: impl Fn(&Row) -> String,
) -> Chart {
    let bar = |row: &Row| {
        let spread = row.spread(&figure);
        Bar {
            label: row.label.to_owned(),
            parts: vec![(spread.median, colour(row.peer))],
            range: (spread.least, spread.greatest),
            text: text(row),
        }
    };
    Chart {
        title: title.to_owned(),
        subtitle: subtitle(measured, better),
        bars: measured.rows.iter().map(bar).collect(),
        legend: legend(),
    }
}

/// The median of requests, and in light grey as far as the hundredth that takes longest.
fn latency(measured: &Measured) -> Chart {
    let bar = |row: &Row| {
        let (p50, p99) = (
            row.spread(|round| round.p50_micros).median,
            row.spread(|round| round.p99_micros),
        );
        Bar {
            label: row.label.to_owned(),
            parts: vec![(p50, colour(row.peer)), (p99.median - p50, TAIL)],
            range: (p99.least, p99.greatest),
            text: format!("{} / {}", time(p50), time(p99.median)),
        }
    };
    Chart {
        title: "Latency at a constant rate: p50 / p99".to_owned(),
        subtitle: subtitle(measured, "less is better"),
        bars: measured.rows.iter().map(bar).collect(),
        legend: [legend(), vec![(TAIL, "up to p99")]].concat(),
    }
}

fn subtitle(measured: &Measured, better: &str) -> String {
    let rate = crate::tables::at(measured.rate);
    format!("{}{rate}; {better}", measured.cell.name())
}

fn colour(peer: Peer) -> &'static str {
    match (peer, peer.card().check) {
        (Peer::Difygate | Peer::Profiled, _) => GATEWAY,
        (_, Check::None) => UNCHECKED,
        (_, Check::Itself | Check::Authorizer) => CHECKING,
    }
}

fn legend() -> Vec<(&'static str, &'static str)> {
    vec![
        (GATEWAY, "difygate"),
        (CHECKING, "others that check the token"),
        (UNCHECKED, "without a check"),
    ]
}
