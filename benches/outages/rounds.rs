//! The scenarios, each round after round on stores and gateways that live on.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    connection::Connection,
    judge::{Record, increment},
    load::{Load, is_well},
    options::Options,
    report,
    scenario::Scenario,
    stage::Stage,
};

/// Between two strikes, for the caches to fill again.
const CALM: Duration = Duration::from_millis(500);

/// Longest life of an entry in Redis, as in `config.toml.example`.
const POSITIVE_TTL: Duration = Duration::from_secs(60);

/// The same where nobody wants to wait for a minute.
const SHORT_POSITIVE_TTL: Duration = Duration::from_secs(5);

/// When recovery is given up on.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// Pause between two looks at whether all is well.
const LOOK: Duration = Duration::from_millis(10);

/// Plays all scenarios that are wanted.
pub(crate) async fn run(options: &Options) -> Vec<Record> {
    let mut records = Vec::new();
    let mut stage: Option<Stage> = None;
    for scenario in Scenario::ALL {
        if !options.wants(scenario.name()) {
            continue;
        }
        let ttl = if options.is_smoke() && scenario == Scenario::DifyCutOff {
            SHORT_POSITIVE_TTL
        } else {
            POSITIVE_TTL
        };
        let fits =
            |stage: &Stage| stage.topology == scenario.topology() && stage.positive_ttl == ttl;
        let stage = match stage.take().filter(fits) {
            Some(fitting) => stage.insert(fitting),
            None => stage.insert(Stage::set(scenario.topology(), ttl, options).await),
        };
        records.push(play(stage, scenario, options.rounds()).await);
    }
    records
}

async fn play(stage: &Stage, scenario: Scenario, rounds: usize) -> Record {
    let record = Rc::new(Record::new(scenario));
    let load = Load::new(stage, &record, scenario != Scenario::DifyCutOff);
    let everybody = load.start(stage);
    load.stocked().await;
    let mut connections: Vec<_> = load.gateways.iter().map(|to| Connection::to(*to)).collect();
    well_again(stage, &load, &mut connections).await;
    for round in 0..rounds {
        sleep(CALM).await;
        load.struck.set(true);
        stage.strike(scenario, round).await;
        stage.restore(scenario).await;
        load.struck.set(false);
        let after = well_again(stage, &load, &mut connections).await;
        record.recovered(after);
        stage.tidy(scenario, round).await;
        increment(&record.rounds);
    }
    load.end(everybody).await;
    // What else held the record has ended.
    drop(load);
    let record = Rc::try_unwrap(record).unwrap();
    eprintln!("{}", report::line(&record));
    record
}

/// Waits until all is well; returns how long it took.
async fn well_again(stage: &Stage, load: &Load, connections: &mut [Connection]) -> Duration {
    let begun = Instant::now();
    while !(is_well(load, connections).await && stage.is_followed().await) {
        if begun.elapsed() > GIVEN_UP {
            load.record.note(format!("not well after {GIVEN_UP:?}"));
            break;
        }
        sleep(LOOK).await;
    }
    begun.elapsed()
}
