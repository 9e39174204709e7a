//! What the gateway weighs when idle, and what each cached token adds.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use difygate::token::BearerToken;
use sha2::{Digest as _, Sha256};
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use crate::{
    cells::SMALL,
    connection::Connection,
    generator, machine,
    options::{Options, Role},
    processes::Child,
    report, stage,
    support::{Database, Gateway, RedisSpace},
    upstream,
};

/// Keep-alive connections, each of which uses its share of the tokens.
const CONNECTIONS: usize = 64;

/// Tokens that are used before the baseline is taken: every connection to and from the gateway,
/// and every buffer, is there by then. They stay in the map and weigh on both sides.
const WARM_UP_TOKENS: usize = 2_000;

/// Rows per statement.
const CHUNK: usize = 10_000;

/// The gateway counts its entries once a second; after two, the count is of now.
const COUNTED: Duration = Duration::from_secs(2);

/// Measures and prints.
pub(crate) async fn measure(options: &Options) {
    let tokens = options.tokens();
    let upstream = Child::start(Role::Upstream, &[]);
    let (database, redis) = (Database::create().await, RedisSpace::create().await);
    let account = database.account("ada@example.com", "Ada").await;
    print!("{}", machine::describe(options));
    let all: Vec<String> = (0..tokens + WARM_UP_TOKENS).map(token).collect();
    insert(&database, account, &all).await;

    // As long as the configuration allows: all of them have to be there at once.
    let gateway = stage::builder(options, &database, &redis)
        .upstream(upstream.address())
        .set("token_cache.untracked_ttl", r#""60s""#)
        .set("token_cache.capacity", &(2 * all.len()).to_string())
        .start()
        .await;
    sleep(COUNTED).await;
    let idle = gateway.rss_kib();
    println!("idle: {idle} KiB");

    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(gateway.addr()).await.unwrap());
    }
    let (warm_up, counted) = all.split_at(WARM_UP_TOKENS);
    let connections = drive(connections, warm_up).await;
    sleep(COUNTED).await;
    let (before, held_before) = (gateway.rss_kib(), held(&gateway).await);
    println!("warm: {before} KiB, {held_before} tokens cached");

    let mut connections = connections;
    for (number, part) in counted.chunks(CHUNK).enumerate() {
        connections = drive(connections, part).await;
        let used = number * CHUNK + part.len();
        println!("  {used} tokens used: {} KiB", gateway.rss_kib());
    }
    sleep(COUNTED).await;
    let (after, held_after) = (gateway.rss_kib(), held(&gateway).await);
    let added = held_after - held_before;
    report::memory(idle, before, after, added);
    if added < tokens as u64 {
        println!(
            "{} of {tokens} tokens were not there to the end: this machine is too slow for their \
             60 s, and the figure is for those that were",
            tokens as u64 - added
        );
    }
}

/// Uses each token once, spread over the connections, which are handed back.
async fn drive(connections: Vec<Connection>, tokens: &[String]) -> Vec<Connection> {
    let tokens: Arc<[String]> = tokens.into();
    let count = connections.len();
    let mut clients = JoinSet::new();
    for (number, mut connection) in connections.into_iter().enumerate() {
        let tokens = Arc::clone(&tokens);
        clients.spawn(async move {
            for token in tokens.iter().skip(number).step_by(count) {
                let request = generator::request(&upstream::target(SMALL), token);
                let answer = connection.exchange(&request).await.unwrap();
                assert_eq!(answer.status, 200);
            }
            connection
        });
    }
    clients.join_all().await
}

async fn held(gateway: &Gateway) -> u64 {
    let held = gateway.metric("difygate_token_cache_local_entries").await;
    assert!(
        held > 0.0,
        "nothing is cached, or the metric has another name"
    );
    held as u64
}

/// The token number `number`: always the same one, and nobody else's.
fn token(number: usize) -> String {
    let body = Sha256::digest(number.to_le_bytes());
    format!("dfoa_{}", URL_SAFE_NO_PAD.encode(body))
}

async fn insert(database: &Database, account: Uuid, tokens: &[String]) {
    let client = database.client().await;
    let mut number = 0;
    for part in tokens.chunks(CHUNK) {
        let hashes: Vec<String> = part
            .iter()
            .map(|token| {
                let token = BearerToken::parse(token.as_bytes()).unwrap();
                token.hash().to_hex().as_str().to_owned()
            })
            .collect();
        let emails: Vec<String> = (number..number + part.len())
            .map(|number| format!("person-{number:06}@example.com"))
            .collect();
        client
            .execute(
                "INSERT INTO oauth_access_tokens (id, subject_email, subject_issuer, account_id, \
                 client_id, device_label, prefix, token_hash, expires_at) \
                 SELECT gen_random_uuid(), email, 'dify:account', $1, 'difyctl', 'bench', 'dfoa_', \
                 hash, now() + interval '1 day' FROM unnest($2::text[], $3::text[]) AS t (hash, email)",
                &[&account, &hashes, &emails],
            )
            .await
            .unwrap();
        number += part.len();
        println!("  {number} of {} rows inserted", tokens.len());
    }
    client
        .batch_execute("ANALYZE oauth_access_tokens")
        .await
        .unwrap();
}
