//! Goes through all loads: every proxy in turn, round after round.

use std::{sync::Arc, time::Duration};

use crate::{
    cells::{Cell, Load, Rate, SMALL},
    connection::{Answer, Connection},
    foreign,
    generator::{self, Order, Round},
    open,
    options::Options,
    peers::{Check, Peer},
    report,
    results::{Measured, Row},
    stage::{Ground, Stage, Target},
    streams, upstream,
};

/// Length of the round that does not count.
const WARM_UP: Duration = Duration::from_millis(500);

/// A token that nobody has issued, though it has the form of one.
const UNKNOWN: &str = "dfoa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What cannot be a token: its body is too short.
const MALFORMED: &str = "dfoa_AAAA";

/// Measures everything that is wanted, and tells of it as it goes. An error is the first wrong
/// answer of a proxy, or what is missing.
pub(crate) async fn measure(options: &Options) -> Result<Vec<Measured>, String> {
    let missing = foreign::missing(&options.peers());
    if !missing.is_empty() {
        return Err(missing.join("\n"));
    }
    let ground = Ground::prepare().await;
    let mut all = Vec::new();
    for &threads in &options.threads {
        let cells = Cell::all(options, threads);
        if cells.is_empty() {
            continue;
        }
        let stage = Stage::start(options, &ground, threads).await;
        let run = Run {
            options,
            ground: &ground,
            stage: &stage,
        };
        for target in &stage.targets {
            let checked = run.check(target).await;
            checked.map_err(|error| run.explain(target, &error))?;
        }
        for cell in cells {
            let measured = run.cell(cell, &all).await?;
            report::cell(&measured);
            all.push(measured);
        }
        stage.stop().await;
    }
    Ok(all)
}

struct Run<'a> {
    options: &'a Options,
    ground: &'a Ground,
    stage: &'a Stage,
}

/// Somebody who takes turns.
struct Contestant<'a> {
    target: &'a Target,
    label: &'static str,
    requests: Vec<Arc<[u8]>>,
    expected: Answer,
}

impl Run<'_> {
    /// Sees that a proxy does what its row says, one connection and request each.
    async fn check(&self, target: &Target) -> Result<(), String> {
        let refuses = target.peer.card().check != Check::None;
        let known = self.ground.tokens[0].as_str();
        for (token, good) in [(known, true), (UNKNOWN, false), (MALFORMED, false)] {
            let request = generator::request(&upstream::target(SMALL), token);
            let answer = exchange(target, &request).await?;
            let wanted = if refuses && !good { 401 } else { 200 };
            if answer.status != wanted {
                return Err(format!("{answer:?} instead of {wanted}"));
            }
        }
        Ok(())
    }

    async fn cell(&self, cell: Cell, before: &[Measured]) -> Result<Measured, String> {
        let contestants = self.contestants(&cell).await?;
        let (rate, contestants) = match cell.load {
            Load::Open(rate) => {
                let (rate, left) = self.rate(&cell, rate, contestants, before).await?;
                (Some(rate), left)
            }
            _ => (None, contestants),
        };
        let mut rows: Vec<Row> = contestants
            .iter()
            .map(|contestant| Row {
                peer: contestant.target.peer,
                label: contestant.label,
                rounds: Vec::new(),
            })
            .collect();
        report::begin(&cell, rate);
        if !self.options.is_smoke() {
            // A round of each that does not count.
            for contestant in &contestants {
                self.round(&cell, contestant, rate, WARM_UP).await?;
            }
        }
        let length = self.options.round();
        for number in 0..self.options.rounds() {
            // Whoever goes first in one round goes last in the next: a drift of the machine's
            // speed falls on all alike.
            let mut order: Vec<usize> = (0..contestants.len()).collect();
            if number % 2 == 1 {
                order.reverse();
            }
            for at in order {
                let round = self.round(&cell, &contestants[at], rate, length).await?;
                report::round(number + 1, contestants[at].label, &round);
                rows[at].rounds.push(round);
            }
        }
        Ok(Measured { cell, rate, rows })
    }

    async fn round(
        &self,
        cell: &Cell,
        contestant: &Contestant<'_>,
        rate: Option<f64>,
        length: Duration,
    ) -> Result<Round, String> {
        let order = Order {
            target: contestant.target,
            requests: &contestant.requests,
            expected: contestant.expected,
            connections: cell.connections,
            length,
        };
        let round = match (cell.load, rate) {
            (Load::Open(_), Some(rate)) => open::run(&order, rate).await,
            (Load::Streams, _) => streams::run(&order).await,
            _ => generator::run(&order).await,
        };
        round.map_err(|error| self.explain(contestant.target, &error))
    }

    /// Who takes turns under a load, what each sends and what has to come back.
    async fn contestants(&self, cell: &Cell) -> Result<Vec<Contestant<'_>>, String> {
        let (path, length) = match cell.load {
            Load::Closed { bytes } => (upstream::target(bytes), bytes),
            Load::Streams => (upstream::STREAM.to_owned(), 0),
            Load::Open(_) | Load::Refusals => (upstream::target(SMALL), SMALL),
        };
        let takes_part = |target: &&Target| cell.is_for(target.peer);
        let targets = self.stage.targets.iter().filter(takes_part);
        let mut contestants: Vec<Contestant<'_>> = targets
            .map(|target| Contestant {
                target,
                label: target.peer.name(),
                requests: self.ground.requests(&path),
                expected: Answer {
                    status: 200,
                    length,
                },
            })
            .collect();
        if cell.load == Load::Refusals {
            contestants.truncate(1);
        }
        if cell.load == Load::Refusals
            && let Some(accepting) = contestants.first_mut()
        {
            accepting.label = "difygate, a hot token";
            let target = accepting.target;
            let request: Arc<[u8]> = generator::request(&path, MALFORMED).into();
            contestants.push(Contestant {
                target,
                label: "difygate, no token at all",
                expected: exchange(target, &request).await?,
                requests: vec![request],
            });
        }
        Ok(contestants)
    }

    /// Returns the rate, and who can take it.
    async fn rate<'a>(
        &self,
        cell: &Cell,
        rate: Rate,
        contestants: Vec<Contestant<'a>>,
        before: &[Measured],
    ) -> Result<(f64, Vec<Contestant<'a>>), String> {
        let hot = before
            .iter()
            .find(|measured| measured.cell.threads == cell.threads && measured.cell.is_hot());
        let mut capacities = Vec::new();
        for contestant in &contestants {
            let row = hot.and_then(|hot| hot.row(contestant.target.peer));
            capacities.push(match row {
                Some(row) => row.spread(|round| round.per_second).median,
                None => {
                    let closed = Cell {
                        load: Load::Closed { bytes: SMALL },
                        ..cell.clone()
                    };
                    let length = self.options.round();
                    let round = self.round(&closed, contestant, None, length).await?;
                    round.per_second
                }
            });
        }
        let of = |peer| contestants.iter().position(|it| it.target.peer == peer);
        let whole = match (rate, of(Peer::Difygate)) {
            (Rate::Gateway, Some(gateway)) => capacities[gateway],
            _ => capacities.iter().copied().fold(f64::INFINITY, f64::min),
        };
        let rate = (whole / 200.0).floor().max(1.0) * 100.0;
        let able = contestants
            .into_iter()
            .zip(capacities)
            .filter(|(_, capacity)| *capacity * 0.75 >= rate);
        Ok((rate, able.map(|(contestant, _)| contestant).collect()))
    }

    fn explain(&self, target: &Target, error: &str) -> String {
        let last = foreign::end(&target.log());
        format!("{}: {error}\n{last}", target.peer.name())
    }
}

/// Asks once, over a connection that is closed then.
async fn exchange(target: &Target, request: &[u8]) -> Result<Answer, String> {
    let answer = async {
        Connection::open(target.address)
            .await?
            .exchange(request)
            .await
    };
    answer.await.map_err(|error| error.to_string())
}
