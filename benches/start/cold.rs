//! Tokens that stand in no cache, at two gateways that have just been started.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use tokio::{
    sync::Barrier,
    task::{JoinHandle, spawn_local},
    time::{MissedTickBehavior, interval},
};
use tokio_postgres::Client;

use crate::{
    bounds,
    clients::{Answers, Clients},
    options::Options,
    report,
    stores::Stores,
    support::Gateway,
    upstream,
};

/// How often Postgres is asked what it is at.
const GLANCE: Duration = Duration::from_millis(5);

const LOOKUPS_NOW: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE application_name = 'difygate' AND state = 'active' AND query LIKE '%token_hash = $1%'";

const CONNECTIONS_NOW: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'difygate'";

/// What a phase did to the stores.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) answers: Answers,
    /// Lookups, as Postgres counts them.
    pub(crate) lookups: usize,
    /// Most lookups that were under way when somebody looked.
    pub(crate) at_a_time: i64,
    /// Connections of both gateways to Postgres afterwards; the pools give none back.
    pub(crate) connections: i64,
    /// Commands, as Redis counts them.
    pub(crate) commands: BTreeMap<String, usize>,
}

/// Two gateways that have just been started, with their clients.
struct Scene<'a> {
    stores: &'a Stores,
    gateways: [Gateway; bounds::GATEWAYS],
    clients: [Clients; bounds::GATEWAYS],
    faults: Vec<String>,
}

/// Plays everything and prints the tables; what was not as it has to be.
pub(crate) async fn run(options: &Options, stores: &Stores) -> Vec<String> {
    let tokens = options.tokens();
    let mut faults = Vec::new();
    report::cold_head(tokens, options);
    let random = |seed| shuffled(tokens, options.times, seed);
    let bound = bounds::in_random_order(tokens, options.connections);
    let mut scene = Scene::set(stores, options.connections).await;
    scene
        .phase("random orders, cold", [random(1), random(2)], bound)
        .await;
    scene
        .phase("random orders, warm", [random(3), random(4)], 0)
        .await;
    faults.append(&mut scene.faults);
    drop(scene);

    let mut scene = Scene::set(stores, options.connections).await;
    let bound = bounds::at_the_same_time(tokens);
    scene
        .phase("the same order, cold", [random(5), random(5)], bound)
        .await;
    faults.append(&mut scene.faults);
    drop(scene);

    let mut scene = Scene::set(stores, options.clients_each()).await;
    report::herd_head(options);
    let mut herds = Vec::new();
    for herd in 0..options.herds() {
        let order = vec![herd; options.clients_each()];
        let phase = scene.play([order.clone(), order]).await;
        scene
            .judge(&format!("herd {herd}"), &phase, bounds::OF_A_CROWD)
            .await;
        herds.push(phase);
    }
    report::herds(&herds);
    faults.append(&mut scene.faults);
    faults
}

impl<'a> Scene<'a> {
    async fn set(stores: &'a Stores, connections: usize) -> Self {
        stores.flush().await;
        // One each: a thousand new connections at once are more than a listener's queue takes.
        let upstreams = [upstream::serve().await, upstream::serve().await];
        let [one, two] = upstreams.map(|upstream| stores.gateway(upstream).start());
        let (one, two) = tokio::join!(one, two);
        let of = |gateway: &Gateway| Clients::of(gateway.addr(), connections);
        let clients = tokio::join!(of(&one), of(&two)).into();
        Self {
            stores,
            gateways: [one, two],
            clients,
            faults: Vec::new(),
        }
    }

    /// Plays a phase, judges it and prints its line.
    async fn phase(&mut self, name: &str, orders: [Vec<usize>; 2], bound: usize) {
        let phase = self.play(orders).await;
        self.judge(name, &phase, bound).await;
        report::phase(name, &phase, bound);
    }

    async fn play(&mut self, orders: [Vec<usize>; 2]) -> Phase {
        let stores = self.stores;
        let (before, observer) = (stores.lookups(), stores.observer().await);
        stores.count_anew().await;
        let watched = watch(stores.observer().await);
        let clients = self.clients.iter().map(Clients::count).sum();
        let gate = Rc::new(Barrier::new(clients));
        let [one, two] = &mut self.clients;
        let [first, second] = orders;
        let (mut answers, other) = tokio::join!(
            one.ask(&stores.tokens, first, &gate),
            two.ask(&stores.tokens, second, &gate),
        );
        answers.add(other);
        watched.stop.set(true);
        Phase {
            answers,
            at_a_time: watched.most.await.unwrap(),
            lookups: stores.lookups() - before,
            connections: count(&observer, CONNECTIONS_NOW).await,
            commands: stores.asked().await,
        }
    }

    async fn judge(&mut self, name: &str, phase: &Phase, bound: usize) {
        let mut fault = |what: String| self.faults.push(format!("{name}: {what}"));
        let answers = &phase.answers;
        for wrong in answers.wrong.iter().take(5) {
            fault(wrong.clone());
        }
        let (mut counted, mut shed, mut renewed) = (0.0, 0.0, 0.0);
        for gateway in &self.gateways {
            counted += gateway
                .metric("difygate_token_postgres_lookups_total")
                .await;
            shed += gateway
                .metric("difygate_token_postgres_lookups_shed_total")
                .await;
            renewed += gateway.metric("difygate_token_cache_refreshes_total").await;
        }
        // An entry is renewed near its end, a minute after it was made.
        let bound = bound + renewed as usize;
        if phase.lookups > bound {
            fault(format!(
                "{} lookups in Postgres, above {bound}",
                phase.lookups
            ));
        }
        if counted < phase.lookups as f64 {
            fault(format!(
                "{} lookups, the gateways say {counted}",
                phase.lookups
            ));
        }
        // Documented only for more lookups at once than Postgres is given.
        if answers.unavailable > 0 && shed == 0.0 {
            fault(format!(
                "{} times 503, and nothing was shed",
                answers.unavailable
            ));
        }
        if phase.at_a_time > (bounds::GATEWAYS * bounds::LOOKUPS_AT_A_TIME) as i64 {
            fault(format!("{} lookups at a time", phase.at_a_time));
        }
        if phase.connections > (bounds::GATEWAYS * bounds::CONNECTIONS) as i64 {
            fault(format!("{} connections to Postgres", phase.connections));
        }
    }
}

/// Somebody who glances at Postgres until told to stop.
struct Watched {
    stop: Rc<std::cell::Cell<bool>>,
    most: JoinHandle<i64>,
}

fn watch(observer: Client) -> Watched {
    let stop = Rc::new(std::cell::Cell::new(false));
    let told = Rc::clone(&stop);
    let most = spawn_local(async move {
        let mut glance = interval(GLANCE);
        glance.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut most = 0;
        while !told.get() {
            glance.tick().await;
            most = most.max(count(&observer, LOOKUPS_NOW).await);
        }
        most
    });
    Watched { stop, most }
}

async fn count(observer: &Client, sql: &str) -> i64 {
    observer.query_one(sql, &[]).await.unwrap().get(0)
}

/// Every token so many times, all of it in one random order.
fn shuffled(tokens: usize, times: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tokens * times).map(|ask| ask % tokens).collect();
    let mut state = seed;
    for last in (1..order.len()).rev() {
        // SplitMix64: the same orders in every run.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut drawn = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        drawn ^= drawn >> 31;
        order.swap(last, (drawn % (last as u64 + 1)) as usize);
    }
    order
}
