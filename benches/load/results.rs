//! What was measured, and what follows from it.

use crate::{cells::Cell, generator::Round, peers::Peer};

/// All rounds of all proxies under one load.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) cell: Cell,
    /// Requests a second, where the load has a rate of its own.
    pub(crate) rate: Option<f64>,
    pub(crate) rows: Vec<Row>,
}

/// One proxy's rounds; the same number of every row was measured at about the same time.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) peer: Peer,
    /// How tables call it.
    pub(crate) label: &'static str,
    pub(crate) rounds: Vec<Round>,
}

/// The middle of several figures, and how far they spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// Sorts the figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (low, high) = ((figures.len() - 1) / 2, figures.len() / 2);
        Self {
            median: f64::midpoint(figures[low], figures[high]),
            least: figures[0],
            greatest: figures[figures.len() - 1],
        }
    }
}

impl Row {
    /// Returns one figure of all rounds.
    pub(crate) fn spread(&self, figure: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(figure))
    }

    /// Returns one figure in parts of the other row's, round by round.
    pub(crate) fn ratio(&self, other: &Self, figure: impl Fn(&Round) -> f64) -> Spread {
        let pairs = self.rounds.iter().zip(&other.rounds);
        Spread::of(pairs.map(|(own, others)| figure(own) / figure(others)))
    }
}

impl Measured {
    /// Returns a proxy's row.
    pub(crate) fn row(&self, peer: Peer) -> Option<&Row> {
        self.rows.iter().find(|row| row.peer == peer)
    }
}

/// All processor time that a request has cost, wherever its token was checked.
pub(crate) fn whole_cpu(round: &Round) -> f64 {
    round.cpu_micros + round.beside_micros
}
