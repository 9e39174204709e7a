//! The gateway with a hot token against the bare proxy, in alternating rounds.

use std::sync::Arc;

use crate::{
    generator::{self, Round},
    options::{Options, Role},
    processes::Child,
    report,
    support::{Database, Gateway, GatewayBuilder, NewToken, RedisSpace},
};

/// Starts everything, takes turns, and prints the comparison.
pub(crate) async fn compare(options: &Options) {
    let upstream = Child::start(Role::Upstream, &[]);
    let arguments = [
        format!("--upstream={}", upstream.address()),
        format!("--threads={}", options.threads()),
    ];
    let bare = Child::start(Role::Bare, &arguments);
    let (database, redis) = (Database::create().await, RedisSpace::create().await);
    let gateway = builder(options, &database, &redis)
        .upstream(upstream.address())
        .start()
        .await;
    let account = database.account("ada@example.com", "Ada").await;
    let token = NewToken::account(account, "ada@example.com");
    let token = database.insert_token(&token).await.token;

    report::machine(options);
    let request: Arc<[u8]> = generator::request(&token).into();
    let targets = [
        (bare.address(), bare.pid()),
        (gateway.addr(), gateway.pid()),
    ];
    let measure = async |index: usize| -> Round {
        let (address, pid) = targets[index];
        let (connections, length) = (options.connections(), options.round());
        generator::run(address, pid, connections, &request, length).await
    };
    if !options.is_smoke() {
        // One round of each that does not count.
        for index in 0..targets.len() {
            measure(index).await;
        }
    }
    let mut rounds: Vec<[Round; 2]> = Vec::new();
    for number in 0..options.rounds() {
        // Whoever goes first in one round goes last in the next: a drift of the machine's speed
        // falls on both.
        let pair = if number % 2 == 0 {
            let bare = measure(0).await;
            [bare, measure(1).await]
        } else {
            let gateway = measure(1).await;
            [measure(0).await, gateway]
        };
        report::round(number + 1, &pair);
        rounds.push(pair);
    }
    report::comparison(&rounds);
}

/// A gateway as an operator would run it: what the test harness sets differently is set back.
pub(crate) fn builder(
    options: &Options,
    database: &Database,
    redis: &RedisSpace,
) -> GatewayBuilder {
    let builder = Gateway::builder()
        .database(database)
        .redis(redis)
        .unset("log.level")
        .unset("log.format")
        .set("server.threads", &options.threads().to_string());
    options
        .set
        .iter()
        .fold(builder, |builder, (key, value)| builder.set(key, value))
}
