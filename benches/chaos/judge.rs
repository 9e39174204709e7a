//! What must never be answered, whatever is struck.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    bounds::{ANSWER, SLACK},
    connection::{Answer, Reply},
    schedule::LONGEST,
    tokens::{State, Token},
    weather::{Moment, Surroundings, Weather},
};

/// `upstream.connect_timeout` and `upstream.read_timeout` of the gateways here.
pub(crate) const UPSTREAM: Duration = Duration::from_secs(3);

/// `redis.timeout`, in milliseconds, as in `config.toml.example`.
pub(crate) const REDIS_TIMEOUT: u64 = 100;

/// When the machine is too late for its 503s to say anything: a third of `redis.timeout`, as what
/// is asked of Redis passes a relay on its way there and on its way back.
pub(crate) const TOO_LATE: Duration = Duration::from_millis(REDIS_TIMEOUT / 3);

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
    /// A token is checked that the surface does not take.
    Misplaced,
    /// A step of a login.
    Flow,
    /// The first step of one by SSO, behind which the enterprise service is asked.
    SignIn,
}

/// A request, as things were when it was sent.
#[derive(Debug)]
pub(crate) struct Shot {
    kind: Kind,
    what: &'static str,
    token: Option<Rc<Token>>,
    state: Option<State>,
    sent: Instant,
    lost: Duration,
    gateway: usize,
    moment: Moment,
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
    /// All of that added up.
    pub(crate) lost: Cell<Duration>,
    pub(crate) evidence: RefCell<Vec<String>>,
}

impl Record {
    pub(crate) fn shot(
        &self,
        gateway: usize,
        kind: Kind,
        what: &'static str,
        token: Option<&Rc<Token>>,
    ) -> Shot {
        Shot {
            kind,
            what,
            token: token.cloned(),
            state: token.map(|token| token.state()),
            sent: Instant::now(),
            lost: self.lost.get(),
            gateway,
            moment: self.weather.around(gateway).now(),
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
        let around = self.weather.around(shot.gateway);
        let clients = around.clients.touches(shot.moment[0]);
        let upstream = around.upstream.touches(shot.moment[1]);
        // The gateway's own part alone can be seen where nothing else was held up.
        let limit = match shot.kind {
            Kind::Checked | Kind::Misplaced if !clients && !upstream => {
                raise(&self.longest_answer, took);
                ANSWER
            }
            Kind::Stream => LIMIT + UPSTREAM,
            _ => LIMIT,
        };
        let lost = self.lost.get() - shot.lost;
        if took > limit + SLACK + self.late.get().max(lost) {
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
        let Surroundings {
            redis,
            postgres,
            enterprise,
            ..
        } = self.weather.around(shot.gateway);
        match (shot.kind, shot.state, status) {
            (Kind::Checked | Kind::Stream | Kind::Unchecked, _, 502 | 504) if upstream => {
                self.count("502 or 504 while the upstream was struck");
            }
            (Kind::Checked | Kind::Stream | Kind::Misplaced, Some(_), 503)
                if postgres.is_recent() =>
            {
                self.count("503 to a check after Postgres was struck");
            }
            (Kind::SignIn, _, 502) if enterprise.touches(shot.moment[4]) => {
                self.count("502 to a sign-in while the enterprise service was struck");
            }
            (Kind::SignIn, _, 404) if enterprise.is_recent() => {
                self.count("404 to a sign-in at a gateway that has not heard of a licence");
            }
            (Kind::Account | Kind::Flow | Kind::SignIn, _, 503) if redis.is_recent() || postgres.is_recent() => {
                self.count("503 of a local endpoint after a store was struck");
            }
            (Kind::Unchecked, ..) if status == 503 => self.violation(shot, "status 503"),
            (_, _, 503) if self.late.get() > TOO_LATE => {
                self.count("503 on a machine that was late");
            }
            (Kind::Misplaced, _, 200) => {
                self.violation(shot, "a token was accepted where none of its kind is");
            }
            (Kind::Misplaced, Some(State::Live), 403) => {}
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
            | (Kind::Flow, None, 200 | 302 | 400 | 401 | 404 | 409)
            | (Kind::SignIn, None, 302 | 400) => {}
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
        let names = ["clients", "upstream", "redis", "postgres", "enterprise"];
        let recent = |gateway| {
            let all = self.weather.around(gateway).all();
            let all = names.iter().zip(all);
            let recent = all.filter(|(_, one)| one.is_recent());
            let recent: Vec<_> = recent.map(|(name, _)| *name).collect();
            recent.join(", ")
        };
        self.note(format!(
            "{} at gateway {}: {what}; {:?}, token {hash}, {:?}; sent {:?} before; machine late by \
             {:?}; struck since all was well: [{}] there, [{}] at the other",
            shot.what,
            shot.gateway,
            shot.kind,
            shot.state,
            shot.sent.elapsed(),
            self.late.get(),
            recent(shot.gateway),
            recent(1 - shot.gateway)
        ));
    }
}

pub(crate) fn raise(longest: &Cell<Duration>, to: Duration) {
    longest.set(longest.get().max(to));
}
