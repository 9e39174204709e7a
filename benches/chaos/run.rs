//! Schedules, one after another in several worlds at a time.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use crate::{judge::Record, judge::raise, options::Options, schedule::Schedule, world::World};

/// Lines of a gateway's log that are printed beside what must not be.
const LOG: usize = 12;

/// Pieces of evidence that are printed of a seed.
const EVIDENCE: usize = 10;

/// What all worlds together have seen.
#[derive(Debug, Default)]
pub(crate) struct Total {
    next: Cell<u64>,
    played: Cell<u64>,
    requests: Cell<u64>,
    pub(crate) failed: RefCell<Vec<u64>>,
    counts: RefCell<BTreeMap<String, u64>>,
    longest_answer: Cell<Duration>,
    longest_acceptance: Cell<Duration>,
    longest_recovery: Cell<Duration>,
}

/// Plays all schedules that were asked for.
pub(crate) async fn run(options: Rc<Options>) -> Rc<Total> {
    let total = Rc::new(Total::default());
    total.next.set(options.seeds().start);
    let mut lanes = JoinSet::new();
    for _ in 0..options.lanes() {
        lanes.spawn_local(lane(Rc::clone(&options), Rc::clone(&total)));
    }
    while let Some(ended) = lanes.join_next().await {
        ended.unwrap();
    }
    total
}

async fn lane(options: Rc<Options>, total: Rc<Total>) {
    let world = World::create().await;
    let clients = world.opens().await;
    world.recovers().await;
    let end = options.seeds().end;
    while total.next.get() < end {
        let seed = total.next.replace(total.next.get() + 1);
        let schedule = Schedule::of(seed);
        if options.verbose {
            println!("seed {seed}\n{schedule}");
        }
        play(&world, &schedule).await;
        total.played.set(total.played.get() + 1);
        let evidence = world.record.evidence.take();
        if !evidence.is_empty() {
            report(&world, seed, &schedule, &evidence).await;
            total.failed.borrow_mut().push(seed);
        }
    }
    world.over.set(true);
    clients.join_all().await;
    for replica in &world.replicas {
        let finished = replica.operator.lock().await.finish().await;
        finished.unwrap_or_else(|why| world.record.note(why));
    }
    let late = world.record.evidence.take();
    if !late.is_empty() {
        eprintln!("after the last seed of a world: {late:#?}");
        total.failed.borrow_mut().push(end - 1);
    }
    total.add(&world.record);
}

async fn play(world: &Rc<World>, schedule: &Schedule) {
    let mut events = JoinSet::new();
    let begun = Instant::now();
    for event in &schedule.events {
        events.spawn_local(Rc::clone(world).plays(*event, begun));
    }
    while let Some(ended) = events.join_next().await {
        if let Err(panicked) = ended {
            world.record.note(format!("a tool failed: {panicked}"));
        }
    }
    world.recovers().await;
    world.logins_are_as_answered().await;
    world.unsettled_are_settled().await;
    world.all_are_refused().await;
}

async fn report(world: &World, seed: u64, schedule: &Schedule, evidence: &[String]) {
    eprintln!("SEED {seed} FAILED\n{schedule}");
    for what in evidence.iter().take(EVIDENCE) {
        eprintln!("  VIOLATION  {what}");
    }
    if evidence.len() > EVIDENCE {
        eprintln!("  … and {} more", evidence.len() - EVIDENCE);
    }
    for (gateway, replica) in world.replicas.iter().enumerate() {
        let log = replica.operator.lock().await.current.log_text();
        let lines: Vec<_> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(LOG)..] {
            eprintln!("  log of {gateway}  {line}");
        }
    }
    eprintln!("again: cargo bench --locked --bench chaos -- --seed {seed}");
}

impl Total {
    fn add(&self, record: &Record) {
        self.requests
            .set(self.requests.get() + record.requests.get());
        for (what, count) in &*record.counts.borrow() {
            *self.counts.borrow_mut().entry(what.clone()).or_default() += count;
        }
        raise(&self.longest_answer, record.longest_answer.get());
        raise(&self.longest_acceptance, record.longest_acceptance.get());
        raise(&self.longest_recovery, record.longest_recovery.get());
    }

    /// Prints what there was.
    pub(crate) fn print(&self) {
        println!(
            "{} schedules, {} requests",
            self.played.get(),
            self.requests.get()
        );
        for (what, count) in &*self.counts.borrow() {
            println!("{count:>10}  {what}");
        }
        println!(
            "longest: answer to a check {:?}, acceptance after a revocation {:?}, recovery {:?}",
            self.longest_answer.get(),
            self.longest_acceptance.get(),
            self.longest_recovery.get()
        );
    }
}
