//! A long time of mixed traffic, with a restart of everything but the gateways now and then: what it
//! holds must not grow, and every error must have an explanation.

use std::{fs, rc::Rc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    dice::Dice,
    schedule::{At, Event, Link, Pair, Strike},
    world::World,
};

/// Time between two samples.
const SAMPLE: Duration = Duration::from_secs(1);

/// Samples between two restarts.
const RESTART: usize = 15;

/// Growth of the mean resident memory from the first quarter of an hour's run to the last that is
/// allowed: caches fill, and the allocator keeps what it once had. Less than 4 % has been seen.
const MEMORY: f64 = 1.1;

/// File descriptors that the last quarter may hold more than the first at most: a pool's worth.
const DESCRIPTORS: f64 = 16.0;

/// What a gateway holds at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    rss_kib: f64,
    descriptors: f64,
    threads: f64,
}

/// Runs for so many minutes; returns how much was not as it must be.
pub(crate) async fn run(minutes: f64) -> usize {
    let world = World::create().await;
    let clients = world.opens().await;
    world.recovers().await;
    let mut pids = Vec::new();
    for replica in &world.replicas {
        pids.push(replica.operator.lock().await.current.pid());
    }
    let mut samples = vec![Vec::new(); pids.len()];
    let (mut seconds, mut dice) = (0, Dice::new(1));
    let begun = Instant::now();
    let mut ticks = interval(SAMPLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while begun.elapsed() < Duration::from_secs_f64(minutes * 60.0) {
        ticks.tick().await;
        for (samples, pid) in samples.iter_mut().zip(&pids) {
            samples.push(sample(*pid));
        }
        seconds += 1;
        let strikes = strikes(seconds, &mut dice);
        if strikes.is_empty() {
            continue;
        }
        let mut all = JoinSet::new();
        for strike in strikes {
            let event = Event {
                at: dice.below(300),
                length: 500,
                strike,
            };
            all.spawn_local(Rc::clone(&world).plays(event, Instant::now()));
        }
        all.join_all().await;
        world.recovers().await;
        world.logins_are_as_answered().await;
        world.unsettled_are_settled().await;
        world.all_are_refused().await;
    }
    world.over.set(true);
    clients.join_all().await;
    let evidence = world.record.evidence.take();
    for what in &evidence {
        eprintln!("UNEXPLAINED  {what}");
    }
    println!("{minutes} minutes, {seconds} samples of each gateway");
    println!("{} requests", world.record.requests.get());
    for (what, count) in &*world.record.counts.borrow() {
        println!("{count:>10}  {what}");
    }
    evidence.len() + samples.iter().map(|one| grown(one)).sum::<usize>()
}

/// Logins and revocations all the time, and a restart of one server after another.
fn strikes(second: usize, dice: &mut Dice) -> Vec<Strike> {
    let mut strikes = Vec::new();
    if second.is_multiple_of(2) {
        let logins = [Strike::Login, Strike::SignIn, Strike::Rotation];
        strikes.push(logins[dice.below(3) as usize]);
        strikes.push(match dice.below(4) {
            0 => Strike::RevokeAtGateway(0),
            1 => Strike::RevokeAtGateway(1),
            _ => Strike::RevokeAtDify,
        });
    }
    if second.is_multiple_of(RESTART) {
        strikes.push(match second / RESTART % 3 {
            0 => Strike::RestartPostgres,
            1 => Strike::RestartRedis,
            _ => Strike::Cut(Link {
                pair: Pair::GatewayUpstream,
                at: At::Both,
            }),
        });
    }
    strikes
}

fn sample(pid: u32) -> Sample {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|rest| rest.split_whitespace().next());
        value.and_then(|value| value.parse().ok()).unwrap()
    };
    Sample {
        rss_kib: value("VmRSS:"),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("only root may count what the gateway has open")
            .count() as f64,
        threads: value("Threads:"),
    }
}

/// Prints what each quarter had; returns in how many ways the last has more than the first may
/// become.
fn grown(samples: &[Sample]) -> usize {
    let quarters: Vec<_> = samples.chunks(samples.len().div_ceil(4).max(1)).collect();
    println!("{:<24}{:>44}{:>14}", "mean of", "each quarter", "allowed");
    let mut grown = 0;
    let mut compare = |name, of: fn(&Sample) -> f64, allowed: fn(f64) -> f64| {
        let mean = |quarter: &&[Sample]| quarter.iter().map(of).sum::<f64>() / quarter.len() as f64;
        let means: Vec<f64> = quarters.iter().map(mean).collect();
        let (Some(first), Some(last)) = (means.first(), means.last()) else {
            return;
        };
        let allowed = allowed(*first);
        let shown: String = means.iter().map(|mean| format!("{mean:>11.0}")).collect();
        println!("{name:<24}{shown:>44}{allowed:>14.0}");
        grown += usize::from(*last > allowed);
    };
    compare(
        "resident memory, KiB",
        |one| one.rss_kib,
        |first| first * MEMORY,
    );
    compare(
        "file descriptors",
        |one| one.descriptors,
        |first| first + DESCRIPTORS,
    );
    compare("threads", |one| one.threads, |first| first + 1.0);
    grown
}
