//! Fills that a revocation overtakes, while Postgres's answer is on its way.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use crate::{
    client::Client,
    options::Options,
    report,
    stores::Dify,
    support::{Database, Gateway, IssuedToken, RedisSpace, Relay, Upstream, assert_eventually},
};

/// How long the relay holds back what goes to Postgres, and what comes from it.
const HELD_BACK: Duration = Duration::from_millis(3);

/// Revocations come at a moment drawn from this time after the request that causes the fill:
/// before its lookup, while the answer is under way, after it.
const SPREAD_MICROS: u64 = 12_000;

/// Longest that a replica may go on after the acknowledgement. A fill that survived would serve
/// for a minute.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Trials at once: as many as the gateway lets look up at a time.
const AT_ONCE: usize = 12;

/// What is done to the token.
#[derive(Clone, Copy, Debug)]
enum Race {
    /// It is revoked as Dify does it.
    Revocation,
    /// … and then a fill of Dify's own, which lost the same race, puts a stale entry.
    StaleEntry,
}

struct Scene {
    gateway: Gateway,
    dify: Dify,
    slots: Semaphore,
    resurrected_in_redis: Cell<usize>,
    resurrected_here: Cell<usize>,
}

/// Runs the trials and prints what came of them; how many tokens came back to life.
pub(crate) async fn run(options: &Options) -> usize {
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let redis = RedisSpace::create().await;
    let relay = Relay::to(database.addr()).await;
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .postgres_addr(relay.local_addr(), database.name())
        .redis(&redis)
        .unset("log.level")
        .unset("redis.timeout")
        .set("token_cache.untracked_ttl", "\"60s\"")
        .start()
        .await;
    assert_eventually!(
        gateway.metric("difygate_token_cache_followed").await == 1.0,
        "changes are followed"
    );
    relay.delay(HELD_BACK);
    let scene = Rc::new(Scene {
        gateway,
        dify: Dify::new(&database, &redis).await,
        slots: Semaphore::new(AT_ONCE),
        resurrected_in_redis: Cell::new(0),
        resurrected_here: Cell::new(0),
    });
    println!();
    for race in [Race::Revocation, Race::StaleEntry] {
        let before = lost(&scene).await;
        trials_of(&scene, race, options.trials()).await;
        report::race(
            &format!("{race:?}"),
            options.trials(),
            lost(&scene).await - before,
            scene.resurrected_in_redis.get(),
            scene.resurrected_here.get(),
        );
    }
    upstream.take_requests();
    scene.resurrected_in_redis.get() + scene.resurrected_here.get()
}

/// How many fills found their lease gone: the races that were really provoked.
async fn lost(scene: &Scene) -> f64 {
    let name = "difygate_token_cache_fills_lost_total";
    scene.gateway.metric(name).await
}

async fn trials_of(scene: &Rc<Scene>, race: Race, trials: usize) {
    let mut running = JoinSet::new();
    for number in 0..trials {
        let scene = Rc::clone(scene);
        running.spawn_local(async move {
            let _slot = scene.slots.acquire().await.unwrap();
            trial(&scene, race, number).await;
        });
    }
    let mut over = 0;
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
        over += 1;
        report::progress(&format!("{race:?}"), over, trials);
    }
}

async fn trial(scene: &Rc<Scene>, race: Race, number: usize) {
    let token = scene.dify.issue().await;
    let mut client = Client::new(scene.gateway.addr(), &token.token).await;
    let filling = tokio::task::spawn_local(async move {
        client.ask().await;
        client
    });
    sleep(moment(number)).await;
    scene.dify.revoke(&token).await;
    let acknowledged = std::time::Instant::now();
    if matches!(race, Race::StaleEntry) {
        scene.dify.put_stale(&token).await;
    }
    // Whatever the request that was under way was told, it has left nothing behind.
    let mut client = filling.await.unwrap();
    if matches!(race, Race::Revocation) && scene.dify.has_live(&token).await {
        count(&scene.resurrected_in_redis);
    }
    loop {
        match client.ask().await.status {
            401 => break,
            200 if acknowledged.elapsed() < HEARD_WITHIN => {}
            _ => return count(&scene.resurrected_here),
        }
    }
    stays_refused(scene, &mut client, &token).await;
}

/// Once refused, a token is never accepted again; and what Redis has of it is put right by those
/// who ask, even where Dify wrote it.
async fn stays_refused(scene: &Scene, client: &mut Client, token: &IssuedToken) {
    let begun = std::time::Instant::now();
    loop {
        if client.ask().await.status != 401 {
            return count(&scene.resurrected_here);
        }
        if !scene.dify.has_live(token).await {
            return;
        }
        if begun.elapsed() > HEARD_WITHIN {
            return count(&scene.resurrected_in_redis);
        }
    }
}

/// A moment within the spread, another one for each trial: multiples of the golden section fall
/// evenly.
fn moment(number: usize) -> Duration {
    let golden = 0x9E37_79B9_7F4A_7C15_u64;
    let drawn = (number as u64).wrapping_mul(golden) >> 32;
    Duration::from_micros((drawn * SPREAD_MICROS) >> 32)
}

fn count(violations: &Cell<usize>) {
    violations.set(violations.get() + 1);
}
