//! A flood of unknown tokens beside normal traffic: what the normal clients notice of it, and what
//! it costs the gateway and the stores.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use self::{
    flooders::Flooders,
    normal::{Normal, Phase, quantile},
    watch::{Costs, Watch},
};
use crate::{
    connection::{Connection, request},
    options::Options,
    support::{Database, Gateway, NewToken, RedisSpace},
    upstream,
};

mod flooders;
mod normal;
mod verdict;
mod watch;

/// Clients that flood.
const CLIENTS: usize = 32;

/// Hot tokens of the normal traffic.
const HOT: usize = 16;

/// Tokens a second that the paced flood sends, answered or not as long as a client is free.
const PACE: usize = 1_000;

/// Length of the quiet phase before each flood.
const QUIET: Duration = Duration::from_secs(5);

/// One flood, and the quiet before it.
#[derive(Debug)]
struct Leg {
    name: String,
    sent: usize,
    took: Duration,
    undecided: usize,
    /// p50 and p99, quiet and during the flood.
    quiet: [Duration; 2],
    flooded: [Duration; 2],
    costs: Costs,
}

impl Leg {
    fn ratio(&self) -> f64 {
        self.flooded[1].as_secs_f64() / self.quiet[1].as_secs_f64()
    }
}

/// What the floods have shown.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    legs: Vec<Leg>,
    pub(crate) violations: Vec<String>,
}

/// Floods a gateway, first at a set pace, then as fast as it answers.
pub(crate) async fn run(options: &Options) -> Flood {
    let (database, redis) = (Database::create().await, RedisSpace::create().await);
    let account = database.account("ada@example.com", "Ada").await;
    let mut hot = Vec::new();
    for _ in 0..HOT {
        let token = NewToken::account(account, "ada@example.com");
        let token = database.insert_token(&token).await;
        hot.push(request("GET", "/openapi/v1/apps", &token.token));
    }
    let builder = Gateway::builder()
        .upstream(upstream::serve().await)
        .database(&database)
        .redis(&redis)
        .unset("log.level")
        .unset("log.format");
    let builder = options
        .set
        .iter()
        .fold(builder, |builder, (key, value)| builder.set(key, value));
    let gateway = builder.start().await;
    let normal = Normal::start(gateway.addr(), hot);
    let watch = Watch::new(&gateway, &database, &redis).await;

    let mut flood = Flood::default();
    for pace in [Some(PACE), None] {
        let leg = leg(
            options,
            &gateway,
            &normal,
            &watch,
            pace,
            &mut flood.violations,
        )
        .await;
        flood.check(&leg, options);
        flood.legs.push(leg);
    }
    flood.violations.extend(normal.end());
    for violation in flood.violations.iter().take(20) {
        eprintln!("VIOLATION  flood: {violation}");
    }
    flood
}

async fn leg(
    options: &Options,
    gateway: &Gateway,
    normal: &Normal,
    watch: &Watch<'_>,
    pace: Option<usize>,
    violations: &mut Vec<String>,
) -> Leg {
    let quiet_length = if options.is_smoke() { QUIET / 5 } else { QUIET };
    normal.takes(Phase::None);
    sleep(Duration::from_secs(1)).await;
    normal.takes(Phase::Quiet);
    sleep(quiet_length).await;
    normal.takes(Phase::None);
    let quiet = normal.latencies(Phase::Quiet);

    let before = watch.costs().await;
    let flooders = Rc::new(Flooders::new(options.flood(), pace));
    normal.takes(Phase::Flood);
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn_local(Rc::clone(&flooders).floods(Connection::to(gateway.addr())));
    }
    let mut peaks = Costs::default();
    while !clients.is_empty() {
        while let Some(outcome) = clients.try_join_next() {
            outcome.unwrap();
        }
        peaks.raise(&watch.load().await);
        sleep(Duration::from_millis(200)).await;
    }
    let took = begun.elapsed();
    normal.takes(Phase::None);
    let costs = watch.costs().await.since(&before, &peaks);
    let flooded = normal.latencies(Phase::Flood);
    violations.append(&mut flooders.violations.borrow_mut());
    let both = |latencies: &[Duration]| [quantile(latencies, 0.5), quantile(latencies, 0.99)];
    Leg {
        name: pace.map_or_else(
            || format!("{CLIENTS} clients, as fast as they are answered"),
            |pace| format!("{CLIENTS} clients, {pace} a second"),
        ),
        sent: flooders.sent.get(),
        took,
        undecided: flooders.undecided.get(),
        quiet: both(&quiet),
        flooded: both(&flooded),
        costs,
    }
}

impl Leg {
    fn is_paced(&self) -> bool {
        self.name.ends_with("a second")
    }
}
