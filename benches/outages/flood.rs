//! A flood of unknown tokens beside normal traffic: what the normal clients notice of it, and what
//! it costs the gateway and the stores.

use std::{rc::Rc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use self::{
    flooders::Flooders,
    normal::{Normal, Phase},
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

/// Parts of a flood, each with a quiet phase before it: what else the machine is doing falls on
/// both, and the medians say more than one long phase of each.
const SLICES: usize = 10;

/// Length of a quiet phase.
const QUIET: Duration = Duration::from_secs(2);

/// Between two phases, for what is under way to end.
const PAUSE: Duration = Duration::from_millis(200);

/// One flood, and the quiet phases in between.
#[derive(Debug)]
struct Leg {
    name: String,
    sent: usize,
    took: Duration,
    undecided: usize,
    slices: Vec<Slice>,
    costs: Costs,
}

/// p50 and p99 of normal requests, in seconds: quiet, and during the part of the flood after it.
#[derive(Clone, Copy, Debug)]
struct Slice {
    quiet: [f64; 2],
    flooded: [f64; 2],
}

impl Leg {
    /// The median over the slices of how much slower the slowest hundredth was.
    fn ratio(&self) -> f64 {
        self.median(|slice| slice.flooded[1] / slice.quiet[1])
    }

    fn median(&self, figure: impl Fn(&Slice) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.slices.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
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
        .unset("redis.timeout")
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
    let slices = if options.is_smoke() { 2 } else { SLICES };
    let mut leg = Leg {
        name: pace.map_or_else(
            || format!("{CLIENTS} clients, as fast as they are answered"),
            |pace| format!("{CLIENTS} clients, {pace} a second"),
        ),
        sent: 0,
        took: Duration::ZERO,
        undecided: 0,
        slices: Vec::new(),
        costs: Costs::default(),
    };
    for _ in 0..slices {
        sleep(PAUSE).await;
        normal.takes(Phase::Quiet);
        sleep(QUIET).await;
        normal.takes(Phase::None);
        let quiet = normal.quantiles(Phase::Quiet);

        let before = watch.costs().await;
        let flooders = Rc::new(Flooders::new(options.flood() / slices, pace));
        normal.takes(Phase::Flood);
        let peaks = flood(&flooders, gateway, watch).await;
        normal.takes(Phase::None);
        leg.costs.add(&watch.costs().await.since(&before, &peaks));
        leg.sent += flooders.sent.get();
        leg.took += flooders.begun.elapsed();
        leg.undecided += flooders.undecided.get();
        violations.append(&mut flooders.violations.borrow_mut());
        leg.slices.push(Slice {
            quiet,
            flooded: normal.quantiles(Phase::Flood),
        });
    }
    leg
}

/// Lets the flood in, and looks at what it costs until it is over.
async fn flood(flooders: &Rc<Flooders>, gateway: &Gateway, watch: &Watch<'_>) -> Costs {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn_local(Rc::clone(flooders).floods(Connection::to(gateway.addr())));
    }
    let mut peaks = Costs::default();
    while !clients.is_empty() {
        while let Some(outcome) = clients.try_join_next() {
            outcome.unwrap();
        }
        peaks.raise(&watch.load().await);
        sleep(PAUSE).await;
    }
    peaks
}

impl Leg {
    fn is_paced(&self) -> bool {
        self.name.ends_with("a second")
    }
}
