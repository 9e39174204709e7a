//! What the answers of one scenario say, and which of them must not be.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    bounds::{ANSWER, RECOVERY, SLACK},
    connection::Answer,
    scenario::Scenario,
    tokens::{State, Token},
};

/// Violations that are printed.
const EVIDENCE: usize = 20;

/// The requests for which Redis is needed as well.
pub(crate) const ACCOUNT: &str = "account";

/// A request, as it was when it was sent.
#[derive(Debug)]
pub(crate) struct Shot<'a> {
    pub(crate) kind: &'static str,
    /// The token that it shows; none where no token is checked.
    pub(crate) token: Option<&'a Token>,
    pub(crate) gateway: usize,
    pub(crate) sent: Instant,
    state: Option<State>,
}

impl<'a> Shot<'a> {
    pub(crate) fn now(kind: &'static str, token: Option<&'a Token>, gateway: usize) -> Self {
        Self {
            kind,
            token,
            gateway,
            sent: Instant::now(),
            state: token.map(Token::state),
        }
    }
}

/// One scenario's record.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) scenario: Scenario,
    pub(crate) rounds: Cell<usize>,
    pub(crate) requests: Cell<usize>,
    pub(crate) statuses: RefCell<BTreeMap<u16, usize>>,
    /// Answers of 503 to live tokens.
    pub(crate) live_undecided: Cell<usize>,
    /// Answers to live tokens.
    pub(crate) live: Cell<usize>,
    pub(crate) live_refused: Cell<usize>,
    pub(crate) late_acceptances: Cell<usize>,
    pub(crate) unknown_accepted: Cell<usize>,
    pub(crate) longest_answer: Cell<Duration>,
    pub(crate) revocations: Cell<usize>,
    pub(crate) undeleted: Cell<usize>,
    /// Longest time after an acknowledgement at which a request was sent that was accepted.
    pub(crate) longest_acceptance: Cell<Duration>,
    pub(crate) recoveries: RefCell<Vec<Duration>>,
    evidence: RefCell<Vec<String>>,
}

impl Record {
    pub(crate) fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            rounds: Cell::default(),
            requests: Cell::default(),
            statuses: RefCell::default(),
            live_undecided: Cell::default(),
            live: Cell::default(),
            live_refused: Cell::default(),
            late_acceptances: Cell::default(),
            unknown_accepted: Cell::default(),
            longest_answer: Cell::default(),
            revocations: Cell::default(),
            undeleted: Cell::default(),
            longest_acceptance: Cell::default(),
            recoveries: RefCell::default(),
            evidence: RefCell::default(),
        }
    }

    /// Returns how many answers were not as they must be.
    pub(crate) fn violations(&self) -> usize {
        self.evidence.borrow().len()
    }

    /// Notes how a request ended; returns its status, if it had one.
    pub(crate) fn judge(&self, shot: &Shot<'_>, answer: &Answer) -> Option<u16> {
        let took = shot.sent.elapsed();
        increment(&self.requests);
        raise(&self.longest_answer, took);
        if took > ANSWER + SLACK {
            self.violation(shot, &format!("{answer:?} after {took:?}"));
        }
        let Answer::Status(status) = *answer else {
            self.violation(shot, &format!("{answer:?}"));
            return None;
        };
        *self.statuses.borrow_mut().entry(status).or_default() += 1;
        match (shot.state, status) {
            (None, 200) => {}
            (Some(State::Live), 200) => {
                increment(&self.live);
            }
            // It has a limit, which is kept in Redis.
            (Some(State::Live), 503) if shot.kind == ACCOUNT => {}
            (Some(State::Live), 503) => {
                increment(&self.live);
                increment(&self.live_undecided);
                if self.scenario.leaves_postgres() {
                    self.violation(shot, "undecided, and Postgres was there");
                }
            }
            (Some(State::Live), 401) => {
                // Unless somebody has begun to revoke it since.
                if shot.token.is_some_and(|token| token.state() == State::Live) {
                    increment(&self.live);
                    increment(&self.live_refused);
                    self.violation(shot, "a live token was refused");
                }
            }
            (Some(State::Uncertain), 200 | 401 | 503)
            | (Some(State::Unknown | State::Revoked { .. }), 401 | 503) => {}
            (Some(State::Unknown), 200) => {
                increment(&self.unknown_accepted);
                self.violation(shot, "a token that nobody has issued was accepted");
            }
            (Some(State::Revoked { at, bound }), 200) => {
                let late = shot.sent - at;
                raise(&self.longest_acceptance, late);
                if late > bound + SLACK {
                    increment(&self.late_acceptances);
                    let text = format!("accepted {late:?} after its revocation ({bound:?})");
                    self.violation(shot, &text);
                }
            }
            _ => self.violation(shot, &format!("status {status}")),
        }
        Some(status)
    }

    /// Notes how long it took from a store's return to everything being well again.
    pub(crate) fn recovered(&self, after: Duration) {
        self.recoveries.borrow_mut().push(after);
        if after > RECOVERY + SLACK {
            self.note(format!("well again only after {after:?}"));
        }
    }

    fn violation(&self, shot: &Shot<'_>, what: &str) {
        let hash = shot.token.map_or("none", |token| &token.hash[..12]);
        let Shot { kind, gateway, .. } = shot;
        let state = shot.state;
        self.note(format!(
            "{kind} at gateway {gateway}, round {}: {what}; token {hash}, {state:?}",
            self.rounds.get() + 1
        ));
    }

    pub(crate) fn note(&self, what: String) {
        let mut evidence = self.evidence.borrow_mut();
        if evidence.len() < EVIDENCE {
            eprintln!("VIOLATION  {}: {what}", self.scenario.name());
        }
        evidence.push(what);
    }
}

pub(crate) fn increment(counter: &Cell<usize>) {
    counter.set(counter.get() + 1);
}

fn raise(longest: &Cell<Duration>, to: Duration) {
    longest.set(longest.get().max(to));
}
