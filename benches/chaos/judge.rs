//! What must never be answered, whatever is struck.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    bounds::{self, SLACK},
    connection::{Answer, Reply},
    schedule::LONGEST,
    tokens::{State, Token},
    weather::{Trouble, Weather},
};

/// `upstream.connect_timeout` and `upstream.read_timeout` of the gateways here.
pub(crate) const UPSTREAM: Duration = Duration::from_secs(3);

/// `redis.timeout` is 300 ms here instead of 100: several gateways, stores and generators share the
/// machine, and what is looked for is not how fast Redis is on it.
const PATIENT: Duration = Duration::from_millis(200);

/// Longest time for an answer, the upstream's own time apart.
const ANSWER: Duration = bounds::ANSWER.saturating_add(PATIENT);

/// Longest acceptance after a revocation: a proof fails after 300 ms here, and not after 250.
pub(crate) const REPORTED: Duration = bounds::REPORTED.saturating_add(Duration::from_millis(50));

/// When the machine is too late for its 503s to say anything: a third of `redis.timeout`.
const TOO_LATE: Duration = Duration::from_millis(100);

/// Longest time for any answer: a check, the upstream, what a strike on the client's own
/// connection holds back on its way there and on its way back.
const LIMIT: Duration = ANSWER
    .saturating_add(UPSTREAM)
    .saturating_add(Duration::from_millis(2 * LONGEST));

/// What kind of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A token is checked and the request forwarded.
    Checked,
    /// The same, with an answer that takes two seconds.
    Stream,
    /// Forwarded without a check.
    Unchecked,
    /// A token is checked, a limit counted in Redis, and the gateway answers itself.
    Account,
    /// A step of a login.
    Flow,
}

/// A request, as things were when it was sent.
#[derive(Debug)]
pub(crate) struct Shot {
    kind: Kind,
    what: &'static str,
    token: Option<Rc<Token>>,
    state: Option<State>,
    sent: Instant,
    troubles: [(u64, bool); 4],
}

/// What has been seen in one world.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) weather: Weather,
    pub(crate) requests: Cell<u64>,
    pub(crate) counts: RefCell<BTreeMap<String, u64>>,
    pub(crate) longest_answer: Cell<Duration>,
    pub(crate) longest_acceptance: Cell<Duration>,
    pub(crate) longest_recovery: Cell<Duration>,
    /// What the machine has been late by, as this process has noticed it.
    pub(crate) late: Cell<Duration>,
    pub(crate) evidence: RefCell<Vec<String>>,
}

impl Record {
    pub(crate) fn shot(&self, kind: Kind, what: &'static str, token: Option<&Rc<Token>>) -> Shot {
        Shot {
            kind,
            what,
            token: token.cloned(),
            state: token.map(|token| token.state()),
            sent: Instant::now(),
            troubles: self.troubles().map(Trouble::now),
        }
    }

    /// Counts something for the tables.
    pub(crate) fn count(&self, what: impl Into<String>) {
        *self.counts.borrow_mut().entry(what.into()).or_default() += 1;
    }

    /// Notes what must not be.
    pub(crate) fn note(&self, what: String) {
        self.evidence.borrow_mut().push(what);
    }

    /// Notes how a request ended; returns its answer, if it had one.
    pub(crate) fn judge(&self, shot: &Shot, answer: Answer) -> Option<Reply> {
        let took = shot.sent.elapsed();
        self.requests.set(self.requests.get() + 1);
        let touched = self.troubles();
        let [clients, upstream, ..] =
            std::array::from_fn::<_, 4, _>(|at| touched[at].touches(shot.troubles[at]));
        // The gateway's own part alone can be seen where nothing else was held up.
        let limit = match shot.kind {
            Kind::Checked if !clients && !upstream => {
                raise(&self.longest_answer, took);
                ANSWER
            }
            Kind::Stream => LIMIT + UPSTREAM,
            _ => LIMIT,
        };
        if took > limit + SLACK + self.late.get() {
            self.violation(shot, &format!("{answer:?} only after {took:?}"));
        }
        let reply = match answer {
            Answer::Reply(reply) => reply,
            Answer::Broken(_) if clients => {
                self.count("broken off at the client");
                return None;
            }
            Answer::Broken(_) if upstream && shot.kind == Kind::Stream => {
                self.count("streams broken off at the upstream");
                return None;
            }
            Answer::Broken(why) => {
                self.violation(shot, &format!("no answer: {why}"));
                return None;
            }
            Answer::Silence => {
                self.violation(shot, "no answer at all");
                return None;
            }
        };
        self.count(reply.status.to_string());
        self.status(shot, reply.status, upstream);
        Some(reply)
    }

    fn status(&self, shot: &Shot, status: u16, upstream: bool) {
        let Weather {
            redis, postgres, ..
        } = &self.weather;
        match (shot.kind, shot.state, status) {
            (Kind::Checked | Kind::Stream | Kind::Unchecked, _, 502 | 504) if upstream => {
                self.count("502 or 504 while the upstream was struck");
            }
            (Kind::Checked | Kind::Stream, Some(_), 503) if postgres.is_recent() => {
                self.count("503 to a check after Postgres was struck");
            }
            (Kind::Account | Kind::Flow, _, 503) if redis.is_recent() || postgres.is_recent() => {
                self.count("503 of a local endpoint after a store was struck");
            }
            (Kind::Checked | Kind::Stream | Kind::Account | Kind::Flow, _, 503)
                if self.late.get() > TOO_LATE =>
            {
                self.count("503 on a machine that was late");
            }
            (_, Some(State::Live), 401) => {
                // Unless somebody has begun to revoke it since.
                let is_live = |token: &Rc<Token>| token.state() == State::Live;
                if shot.token.as_ref().is_some_and(is_live) {
                    self.violation(shot, "a live token was refused");
                }
            }
            (Kind::Unchecked, None, 200)
            | (_, Some(State::Live), 200)
            | (_, Some(State::Uncertain), 200 | 401)
            | (_, Some(State::Unknown | State::Revoked { .. }), 401)
            // Whoever sent it looks at what it says.
            | (Kind::Flow, None, 200 | 400 | 404 | 409) => {}
            (_, Some(State::Unknown), 200) => {
                self.violation(shot, "a token that nobody has issued was accepted");
            }
            (_, Some(State::Revoked { at, bound }), 200) => {
                let late = shot.sent - at;
                if bound < Duration::from_secs(10) {
                    raise(&self.longest_acceptance, late);
                }
                if late > bound + SLACK + self.late.get() {
                    let text = format!("accepted {late:?} after its revocation ({bound:?})");
                    self.violation(shot, &text);
                }
            }
            _ => self.violation(shot, &format!("status {status}")),
        }
    }

    fn violation(&self, shot: &Shot, what: &str) {
        let hash = shot
            .token
            .as_ref()
            .map_or("none", |token| &token.hash[..12]);
        let names = ["clients", "upstream", "redis", "postgres"];
        let troubles = self.troubles();
        let recent = names
            .iter()
            .zip(troubles)
            .filter(|(_, one)| one.is_recent());
        let recent: Vec<_> = recent.map(|(name, _)| *name).collect();
        self.note(format!(
            "{}: {what}; {:?}, token {hash}, {:?}; sent {:?} before; machine late by {:?}; struck \
             since all was well: {}",
            shot.what,
            shot.kind,
            shot.state,
            shot.sent.elapsed(),
            self.late.get(),
            recent.join(", ")
        ));
    }

    fn troubles(&self) -> [&Trouble; 4] {
        let Weather {
            clients,
            upstream,
            redis,
            postgres,
            ..
        } = &self.weather;
        [clients, upstream, redis, postgres]
    }
}

pub(crate) fn raise(longest: &Cell<Duration>, to: Duration) {
    longest.set(longest.get().max(to));
}
