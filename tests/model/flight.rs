//! One flight, step by step: `check/resolve.rs`, `check/keep.rs`, `check/truth.rs`.
//!
//! Whatever is one step in a store is one step here, and so is whatever happens under one lock.

use crate::{
    Step,
    model::Model,
    rules::Rule,
    world::{Local, Row, Value, World},
};

mod fill;
pub(crate) mod read;
pub(crate) mod state;

use fill::{claim, publish, select, settle, settle_refusal, unanswered};
use read::{is_expired, read, read_back, read_beside};
use state::{At, Flight, Lookup, Question};

/// A flight's hand on the world.
pub(crate) struct Pilot<'a> {
    pub(crate) model: &'a Model,
    pub(crate) world: World,
    pub(crate) r: usize,
}

impl Pilot<'_> {
    pub(crate) fn holds(&self, rule: Rule) -> bool {
        self.model.rules.hold(rule)
    }

    pub(crate) fn flight(&mut self) -> &mut Flight {
        &mut self.world.replicas[self.r].flight
    }

    /// Goes on, and forgets what makes no difference from there: equal states are explored once.
    pub(crate) fn go(&mut self, at: At) {
        let may_keep_anything = !self.holds(Rule::KeepOnlyWhatStands);
        let flight = self.flight();
        flight.at = at;
        let asks_anew = match at {
            At::AskOne(_) | At::Claim(_) | At::Settle | At::SettleRefusal | At::Publish => true,
            At::Select(lookup) => !matches!(lookup, Lookup::Verify | Lookup::Alone),
            At::Landing { .. } => true,
            At::Ground | At::AskTwo(_) | At::Read(_) => false,
            At::Keep { .. } | At::KeepRefusal => false,
        };
        if asks_anew && !may_keep_anything {
            flight.followed = false;
            flight.doubting = false;
            flight.moved = false;
            flight.backed = false;
            flight.spent = false;
        }
        if matches!(at, At::Landing { .. } | At::Keep { .. }) {
            flight.standing = Value::Absent;
            flight.same_connection = true;
        }
    }
}

pub(crate) fn steps(model: &Model, world: &World, r: usize, next: &mut Vec<(Step, World)>) {
    let who = ["flight 1", "flight 2"][r];
    let mut add = |what: &'static str, change: &dyn Fn(&mut Pilot<'_>)| {
        let world = *world;
        let mut pilot = Pilot { model, world, r };
        change(&mut pilot);
        next.push((Step(who, what), pilot.world));
    };
    let replica = &world.replicas[r];
    match replica.flight.at {
        At::Ground => {
            if replica.flights_left > 0 && replica.local == Local::Miss {
                add("begins for a request", &|pilot| begin(pilot, false));
            }
            if replica.flights_left > 0 && matches!(replica.local, Local::Live { .. }) {
                add("begins for a refresh", &|pilot| begin(pilot, true));
            }
        }
        At::AskOne(question) => add("notes what holds, first half", &|pilot| {
            ask_one(pilot, question);
        }),
        At::AskTwo(question) => add("notes what holds, second half", &|pilot| {
            ask_two(pilot, question);
        }),
        At::Read(Question::First) => {
            add("reads redis", &|pilot| read(pilot, false));
            if replica.flight.refreshes && matches!(world.key.value, Value::Own { .. }) {
                add("reads redis, an entry near its end", &|pilot| {
                    read(pilot, true);
                });
            }
        }
        At::Read(Question::Back) => add("reads back", &read_back),
        At::Read(_) => add("reads beside another's fill", &read_beside),
        At::Claim(expected) => add("claims the key", &|pilot| claim(pilot, expected)),
        At::Select(lookup) => {
            add("asks postgres", &|pilot| select(pilot, lookup));
            if world.left.silences > 0 {
                add("asks postgres, which is silent", &|pilot| {
                    pilot.world.left.silences -= 1;
                    unanswered(pilot, lookup);
                });
            }
        }
        At::Settle => {
            add("settles a live entry", &settle);
            if world.left.stragglers > 0 && replica.connected {
                add("gives up with a settle on its way", &|pilot| {
                    pilot.world.left.stragglers -= 1;
                    pilot.world.straggler = Some(pilot.flight().standing);
                    *pilot.flight() = Flight::NONE;
                });
            }
        }
        At::SettleRefusal => add("settles a refusal", &settle_refusal),
        At::Publish => add("publishes a refusal", &publish),
        At::Keep { long } => add("inserts into the local map", &|pilot| keep(pilot, long)),
        At::KeepRefusal => add("keeps a refusal", &keep_refusal),
        At::Landing { live } => add("lands", &|pilot| land(pilot, live)),
    }
    if replica.flight.at != At::Ground && can_be_joined(world, r) {
        add("is joined by another request", &|pilot| {
            let flight = pilot.flight();
            flight.joined = true;
            flight.joined_behind = true;
        });
    }
}

/// Only a miss joins, and only who comes after the end is of interest.
fn can_be_joined(world: &World, r: usize) -> bool {
    let replica = &world.replicas[r];
    world.has_ended()
        && replica.local == Local::Miss
        && !replica.flight.late
        && !replica.flight.joined
}

/// `check::look_up` and `flight::join`.
fn begin(pilot: &mut Pilot<'_>, refreshes: bool) {
    let late = pilot.world.has_ended();
    pilot.world.replicas[pilot.r].flights_left -= 1;
    *pilot.flight() = Flight {
        at: At::AskOne(Question::First),
        refreshes,
        late,
        ..Flight::NONE
    };
}

fn note_generation(pilot: &mut Pilot<'_>, question: Question) {
    let flight = pilot.flight();
    flight.moved = false;
    if matches!(question, Question::First | Question::Alone) {
        flight.joined_behind = false;
    }
}

fn note_followed(pilot: &mut Pilot<'_>) {
    let replica = &mut pilot.world.replicas[pilot.r];
    replica.flight.followed = replica.followed;
    replica.flight.doubting = replica.doubting;
}

/// `coherence::ask`, whose two loads another thread can come between.
fn ask_one(pilot: &mut Pilot<'_>, question: Question) {
    if pilot.holds(Rule::GenerationBeforeFollowed) {
        note_generation(pilot, question);
    } else {
        note_followed(pilot);
    }
    pilot.go(At::AskTwo(question));
    let unsettled = pilot.model.scenario.mishaps;
    if unsettled.losses + unsettled.failovers + unsettled.restarts == 0 {
        // What the two halves see can then not differ.
        ask_two(pilot, question);
    }
}

fn ask_two(pilot: &mut Pilot<'_>, question: Question) {
    if pilot.holds(Rule::GenerationBeforeFollowed) {
        note_followed(pilot);
    } else {
        note_generation(pilot, question);
    }
    pilot.go(match question {
        Question::Alone => At::Select(Lookup::Alone),
        redis => At::Read(redis),
    });
}

/// `local::insert_live`: the question and the insert are under one lock.
fn keep(pilot: &mut Pilot<'_>, long: bool) {
    let flight = *pilot.flight();
    let stands = !flight.moved || !pilot.holds(Rule::GenerationCheck);
    let dead_already = flight.spent || is_expired(pilot);
    let local = &mut pilot.world.replicas[pilot.r].local;
    if stands && !dead_already {
        let backed = flight.backed;
        *local = Local::Live { long, backed };
    } else if *local == Local::Refused {
        *local = Local::Miss;
    }
    pilot.go(At::Landing { live: true });
}

/// `local::insert_refused`: a refusal that something has overtaken is not kept, but what was there
/// is not kept either.
fn keep_refusal(pilot: &mut Pilot<'_>) {
    let stands = !pilot.flight().moved || !pilot.holds(Rule::GenerationCheck);
    let local = &mut pilot.world.replicas[pilot.r].local;
    if stands {
        *local = Local::Refused;
    } else if matches!(local, Local::Live { .. }) {
        *local = Local::Miss;
    }
    pilot.go(At::Landing { live: false });
}

/// Everybody who waits gets the answer.
fn land(pilot: &mut Pilot<'_>, live: bool) {
    let flight = *pilot.flight();
    // The others take what the local map has of it, which is a hit like any other, or begin a flight
    // of their own.
    let joiners_stay =
        flight.joined && !(flight.joined_behind && pilot.holds(Rule::JoinersAskAnew));
    let fault = match (live, pilot.world.row) {
        (true, _) if flight.late && !flight.excused => {
            Some("a check that began after the token's end let it in")
        }
        (true, _) if joiners_stay && !flight.excused => {
            Some("a request that joined after the token's end was let in")
        }
        (false, Row::Live) => Some("a live token was refused"),
        _ => None,
    };
    pilot.world.fault = fault;
    *pilot.flight() = Flight::NONE;
}
