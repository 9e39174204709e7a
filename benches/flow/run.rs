//! The run: everything set up, all logins at once, and a look at what they have left.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinSet, LocalSet},
    time::{MissedTickBehavior, interval},
};

use crate::{
    meter::Meter,
    options::Options,
    person::logs_in_and_out,
    report,
    support::{Browser, Database, Gateway, RedisSpace},
};

/// More than a run can use up.
const UNLIMITED: &str = "\"1000000/1h\"";

/// Logins that one person makes, each on a device of its own.
const FLOWS_EACH: usize = 20;

/// Runs all logins and prints the report; `false` if something was not as it should be.
pub(crate) async fn run(options: &Options) -> bool {
    let (database, redis) = (Database::create().await, RedisSpace::create().await);
    database.dify_setup().await;
    // As an operator would run it, but for the limits.
    let gateway = Gateway::builder()
        .database(&database)
        .redis(&redis)
        .unset("log.level")
        .unset("redis.timeout")
        .unset("log.format")
        .set("rate_limits.device_code", UNLIMITED)
        .set("rate_limits.approve", UNLIMITED)
        .set("rate_limits.account", UNLIMITED)
        .start()
        .await;
    let mut people = Vec::new();
    for number in 0..options.flows().div_ceil(FLOWS_EACH) {
        let email = format!("person-{number}@example.com");
        people.push(Browser::of(database.account(&email, "Person").await));
    }

    report::machine(options);
    let meter = Rc::new(Meter::new(gateway.addr(), options.requests));
    let begun = Instant::now();
    let failures = LocalSet::new()
        .run_until(all(options.flows(), &meter, &people))
        .await;
    let took = begun.elapsed();

    let live = database.client().await;
    let live = live
        .query_one(
            "SELECT count(*) FROM oauth_access_tokens WHERE revoked_at IS NULL",
            &[],
        )
        .await
        .unwrap();
    let live: i64 = live.get(0);
    let left = left_over(&redis).await;
    report::table(options.flows(), &meter, took);
    report::faults(&failures, &left, live);
    failures.is_empty() && left.is_empty() && live == 0
}

/// Runs the logins and says how far they are, every second.
async fn all(flows: usize, meter: &Rc<Meter>, people: &[Browser]) -> Vec<String> {
    let mut logins = JoinSet::new();
    for number in 0..flows {
        let meter = Rc::clone(meter);
        let browser = people[number / FLOWS_EACH].clone();
        logins.spawn_local(async move {
            logs_in_and_out(&meter, &browser, &format!("host-{number}")).await
        });
    }
    let mut failures = Vec::new();
    let mut progress = interval(Duration::from_secs(1));
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            login = logins.join_next() => match login {
                Some(outcome) => failures.extend(outcome.unwrap().err()),
                None => return failures,
            },
            _ = progress.tick() => report::progress(flows, logins.len(), failures.len(), meter),
        }
    }
}

/// Lists the keys that should not be there: windows may be, and refusals of revoked tokens.
async fn left_over(redis: &RedisSpace) -> Vec<String> {
    let mut left = Vec::new();
    for key in redis.keys().await {
        let expected = key.starts_with("rl:")
            || key.starts_with("auth:token:")
                // One that has ended since is no longer there at all.
                && redis.get(&key).await.is_none_or(|value| value == "invalid");
        if !expected {
            left.push(key);
        }
    }
    left
}
