//! The loads: what is sent, over how many connections, to proxies of how many threads.

use crate::{options::Options, peers::Peer};

/// One load; every proxy that can take it does, in turns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    /// Worker threads of each proxy.
    pub(crate) threads: usize,
    pub(crate) connections: usize,
    pub(crate) load: Load,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// The next request as soon as the last was answered, in this many bytes.
    Closed { bytes: usize },
    /// Requests at a constant rate, answered in 60 bytes.
    Open(Rate),
    /// Streams of events, one on each connection.
    Streams,
    /// Hot tokens, and such that cannot be tokens at all, to the gateway alone.
    Refusals,
}

/// How many requests a second: half of what one can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// … of the slowest, so that everybody can take it.
    Slowest,
    /// … of the gateway. Whoever is past three quarters of his own then is left out.
    Gateway,
}

/// The body of most responses, as Dify's small ones are.
pub(crate) const SMALL: usize = 60;

impl Cell {
    /// Returns how it is called.
    pub(crate) fn name(&self) -> String {
        let connections = match self.connections {
            1 => "1 connection".to_owned(),
            1_000 => "1,000 connections".to_owned(),
            count => format!("{count} connections"),
        };
        let load = match self.load {
            Load::Closed { bytes } => format!("{connections}, {}", size(bytes)),
            Load::Open(Rate::Slowest) => "constant rate, half of the slowest one's".to_owned(),
            Load::Open(Rate::Gateway) => "constant rate, half of the gateway's".to_owned(),
            Load::Streams => format!("{} streams of events", grouped(self.connections as f64)),
            Load::Refusals => "refusing against accepting".to_owned(),
        };
        let threads = if self.threads == 1 {
            "thread"
        } else {
            "threads"
        };
        format!("{} {threads}: {load}", self.threads)
    }

    /// Tells whether this is the load that capacity is taken from, and most figures.
    pub(crate) fn is_hot(&self) -> bool {
        self.load == Load::Closed { bytes: SMALL } && (8..=64).contains(&self.connections)
    }

    /// Tells whether a proxy takes part at all.
    pub(crate) fn is_for(&self, peer: Peer) -> bool {
        self.load != Load::Refusals || matches!(peer, Peer::Difygate | Peer::Profiled)
    }

    /// Returns the loads that were asked for, for proxies of so many threads.
    pub(crate) fn all(options: &Options, threads: usize) -> Vec<Self> {
        let cell = |connections, load| Self {
            threads,
            connections,
            load,
        };
        let closed = |connections, bytes| cell(connections, Load::Closed { bytes });
        let (kib, mib) = (1 << 10, 1 << 20);
        let (slowest, gateway) = (Load::Open(Rate::Slowest), Load::Open(Rate::Gateway));
        let most = options.threads.iter().max() == Some(&threads);
        let cells = if options.is_smoke() && !most {
            Vec::new()
        } else if options.is_smoke() {
            vec![
                closed(8, SMALL),
                closed(2, mib),
                cell(8, slowest),
                cell(8, Load::Streams),
                cell(8, Load::Refusals),
            ]
        } else if most || options.full {
            let mut cells = vec![closed(64, SMALL), closed(1, SMALL), closed(1_000, SMALL)];
            cells.extend([closed(64, 4 * kib), closed(64, mib)]);
            if options.full {
                let sizes = [4 * kib, mib];
                cells.extend(sizes.map(|bytes| closed(1, bytes)));
                cells.extend(sizes.map(|bytes| closed(1_000, bytes)));
            }
            cells.extend([cell(64, slowest), cell(64, gateway)]);
            cells.extend([cell(1_000, Load::Streams), cell(64, Load::Refusals)]);
            cells
        } else {
            vec![closed(64, SMALL)]
        };
        let wanted = |cell: &Self| options.wants(&cell.name());
        cells.into_iter().filter(wanted).collect()
    }
}

/// A number of bytes as people say it.
fn size(bytes: usize) -> String {
    match bytes {
        1_048_576.. => format!("{} MiB", bytes >> 20),
        1_024.. => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

/// A whole number with its thousands parted.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
