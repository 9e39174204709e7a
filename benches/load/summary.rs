//! The few figures that people ask for first, each from one load of the run.

use crate::{
    cells::{Cell, Load, SMALL, grouped},
    generator::Round,
    peers::Peer,
    results::{Measured, Row, whole_cpu},
    tables::{aligned, memory, time, with_range},
};

/// A table of them. What was not measured is left out.
pub(crate) fn lines(all: &[Measured]) -> String {
    let mut lines = vec![line("what", "figure")];
    if let Some(hot) = hot(all) {
        for peer in [
            Peer::Bare,
            Peer::Envoy,
            Peer::Caddy,
            Peer::NginxLua,
            Peer::EnvoyExtAuthz,
            Peer::CaddyForwardAuth,
        ] {
            lines.extend(against(hot, Peer::Difygate, peer));
        }
        for peer in [Peer::Difygate, Peer::Bare, Peer::NginxLua] {
            lines.extend(against(hot, Peer::Profiled, peer));
        }
    }
    lines.extend(second_core(all));
    lines.extend(refusals(all));
    lines.extend(weight(all));
    aligned(&lines)
}

/// The load that most figures come from, with the most threads.
pub(crate) fn hot(all: &[Measured]) -> Option<&Measured> {
    let hot = all.iter().filter(|measured| measured.cell.is_hot());
    hot.max_by_key(|measured| measured.cell.threads)
}

/// The load that is told by `wanted`, with the most threads.
pub(crate) fn find(all: &[Measured], wanted: impl Fn(&Cell) -> bool) -> Option<&Measured> {
    let found = all.iter().filter(|measured| wanted(&measured.cell));
    found.max_by_key(|measured| measured.cell.threads)
}

fn line(what: impl Into<String>, figure: impl Into<String>) -> Vec<String> {
    vec![what.into(), figure.into()]
}

fn plain(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn per_second(round: &Round) -> f64 {
    round.per_second
}

fn against(hot: &Measured, gateway: Peer, peer: Peer) -> Option<Vec<String>> {
    let name = match gateway {
        Peer::Profiled => "the gateway, built with a profile,",
        _ => "the gateway",
    };
    let (gateway, other) = (hot.row(gateway)?, hot.row(peer)?);
    let cpu = gateway.ratio(other, whole_cpu);
    let speed = gateway.ratio(other, per_second);
    let what = format!("{name} against {}, hot tokens", peer.name());
    let figure = format!(
        "{} × the processor time, {} × the requests/s",
        with_range(cpu, plain),
        with_range(speed, plain)
    );
    Some(line(what, figure))
}

/// What a second thread brings, and what it costs.
fn second_core(all: &[Measured]) -> Option<Vec<String>> {
    let with = |threads: usize| -> Option<&Row> {
        let is_it =
            |measured: &&Measured| measured.cell.is_hot() && measured.cell.threads == threads;
        all.iter().find(is_it)?.row(Peer::Difygate)
    };
    let (one, two) = (with(1)?, with(2)?);
    let figure = |row: &Row| {
        format!(
            "{}/s at {}",
            grouped(row.spread(per_second).median),
            time(row.spread(whole_cpu).median)
        )
    };
    let figure = format!("1 thread {}, 2 threads {}", figure(one), figure(two));
    Some(line("the gateway's second core", figure))
}

fn refusals(all: &[Measured]) -> Option<Vec<String>> {
    let measured = find(all, |cell| cell.load == Load::Refusals)?;
    let [accepting, refusing] = &measured.rows[..] else {
        return None;
    };
    let ratio = refusing.ratio(accepting, whole_cpu);
    let figure = format!(
        "{} × the processor time ({} against {})",
        with_range(ratio, plain),
        time(refusing.spread(whole_cpu).median),
        time(accepting.spread(whole_cpu).median)
    );
    Some(line(
        "refusing what is no token, against forwarding a hot one",
        figure,
    ))
}

fn weight(all: &[Measured]) -> Option<Vec<String>> {
    let many =
        |cell: &Cell| cell.connections == 1_000 && cell.load == Load::Closed { bytes: SMALL };
    let row = find(all, many)?.row(Peer::Difygate)?;
    Some(line(
        "resident memory with 1,000 busy connections",
        memory(row),
    ))
}
