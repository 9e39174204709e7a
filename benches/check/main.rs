//! The token check's steps, each beside the naive way of doing the same.
//!
//! `difygate` is what the gateway does; `naive` is the first thing that comes to mind. Lookups are
//! measured with one token over and over, and with all of them in turn, where the memory of the
//! machine is what one waits for.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench breaks off at the first surprise"
)]

mod threads;

use std::{
    collections::HashMap,
    hint::black_box,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::{Criterion, criterion_group, criterion_main};
use difygate::{
    check::{
        self, Hit, TokenChecker,
        entry::{Cached, REFUSED, Subject, TokenContext},
    },
    clock::{Clock, SystemClock},
    config::{RateLimit, RateLimitsConfig},
    current::Current,
    entropy::OsEntropy,
    metrics::Metrics,
    rate_limit::bearer::BearerLimiter,
    route::{CanonicalPath, Decision, RouteTable, Surface},
    store::{
        TokenCache,
        embedded::{EmbeddedCache, EmbeddedTokens, EmbeddedWindows},
    },
    token::{BearerToken, TokenHash, TokenKind},
};
use http::Method;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Tokens in the map: the default of `token_cache.capacity`.
const TOKENS: usize = 100_000;

/// Refused tokens in the map, which holds 65,536 of them at most.
const REFUSALS: usize = 50_000;

/// Life of everything here: longer than any bench runs.
const TTL: Duration = Duration::from_secs(86_400);

const TARGET: &[u8] = b"/openapi/v1/apps?page=1&limit=20";

fn header(number: usize) -> Vec<u8> {
    let body = Sha256::digest(number.to_le_bytes());
    format!("Bearer dfoa_{}", URL_SAFE_NO_PAD.encode(body)).into_bytes()
}

fn hash_of(header: &[u8]) -> TokenHash {
    BearerToken::from_authorization(header).unwrap().hash()
}

fn context(number: usize) -> TokenContext {
    TokenContext {
        token_id: Uuid::from_u128(number as u128),
        subject: Subject::Account {
            id: Uuid::from_u128(1),
            email: format!("person-{number:06}@example.com").into(),
        },
        client_id: Some("difyctl".into()),
        expires_at: None,
    }
}

/// A checker that knows live and refused tokens, and the headers they come in.
struct Filled {
    checker: TokenChecker,
    live: Vec<Vec<u8>>,
    refused: Vec<Vec<u8>>,
}

impl Filled {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let cache = Arc::new(EmbeddedCache::new(Arc::clone(&clock)));
        let checker = TokenChecker::new(
            check::Stores {
                tokens: Arc::new(EmbeddedTokens::new(Arc::clone(&clock))),
                cache: Arc::clone(&cache) as Arc<dyn TokenCache>,
                clock,
                entropy: Arc::new(OsEntropy),
                metrics: Arc::new(Metrics::new()),
            },
            check::Settings {
                capacity: TOKENS,
                positive_ttl: TTL,
                negative_ttl: TTL,
                untracked_ttl: TTL,
                deadline: Duration::from_secs(5),
                lookups: 12,
            },
        );
        let filled = Self {
            checker,
            live: (0..TOKENS).map(header).collect(),
            refused: (TOKENS..TOKENS + REFUSALS).map(header).collect(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            for (number, header) in filled.live.iter().enumerate() {
                filled
                    .learn(&cache, header, &Cached::write(&context(number)))
                    .await;
            }
            for header in &filled.refused {
                filled.learn(&cache, header, REFUSED).await;
            }
        });
        filled
    }

    /// Lets the checker find `value` in the shared cache.
    async fn learn(&self, cache: &EmbeddedCache, header: &[u8], value: &[u8]) {
        let token = BearerToken::from_authorization(header).unwrap();
        cache.overwrite(&token.hash(), value, TTL).await.unwrap();
        self.checker.check(&token).await.unwrap();
    }
}

/// The naive map: one lock, the digits for a key, an end for each entry, a copy for an answer.
type NaiveMap = Mutex<HashMap<String, (Instant, Option<String>)>>;

#[expect(
    clippy::disallowed_methods,
    reason = "naive code has no clock of its own"
)]
fn naive_map(filled: &Filled) -> NaiveMap {
    let end = Instant::now() + TTL;
    let live = filled.live.iter().enumerate().map(|(number, header)| {
        let value = Cached::write(&context(number));
        (naive_hash(header), Some(String::from_utf8(value).unwrap()))
    });
    let refused = filled
        .refused
        .iter()
        .map(|header| (naive_hash(header), None));
    let all = live.chain(refused);
    Mutex::new(all.map(|(hash, value)| (hash, (end, value))).collect())
}

#[expect(
    clippy::disallowed_methods,
    reason = "naive code has no clock of its own"
)]
fn naive_look_up(map: &NaiveMap, hash: &str) -> Option<String> {
    let map = map.lock().unwrap();
    let (end, value) = map.get(hash).expect("the map was filled");
    assert!(Instant::now() < *end);
    value.clone()
}

fn naive_parse(header: &[u8]) -> Option<String> {
    let header = String::from_utf8_lossy(header).to_string();
    let token = header
        .strip_prefix("Bearer ")
        .or_else(|| header.strip_prefix("bearer "))?
        .trim();
    let body = token
        .strip_prefix("dfoa_")
        .or_else(|| token.strip_prefix("dfoe_"))?;
    let decoded = URL_SAFE_NO_PAD.decode(body).ok()?;
    (decoded.len() == 32).then(|| token.to_owned())
}

fn naive_hash(header: &[u8]) -> String {
    let token = naive_parse(header).unwrap();
    let digest = Sha256::digest(token.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Goes round and round.
fn in_turn<'a, T>(items: &'a [T]) -> impl FnMut() -> &'a T {
    let mut items = items.iter().cycle();
    move || items.next().unwrap()
}

fn token_parse(criterion: &mut Criterion) {
    let header = header(0);
    let mut group = criterion.benchmark_group("token_parse");
    group.bench_function("difygate", |bencher| {
        bencher.iter(|| BearerToken::from_authorization(black_box(&header)).map(|t| t.kind()));
    });
    group.bench_function("naive", |bencher| {
        bencher.iter(|| naive_parse(black_box(&header)));
    });
}

fn token_hash(criterion: &mut Criterion) {
    let header = header(0);
    let token = BearerToken::from_authorization(&header).unwrap();
    let text = naive_parse(&header).unwrap();
    let mut group = criterion.benchmark_group("token_hash");
    group.bench_function("difygate", |bencher| {
        bencher.iter(|| black_box(&token).hash().to_hex());
    });
    group.bench_function("naive", |bencher| {
        bencher.iter(|| -> String {
            let digest = Sha256::digest(black_box(text.as_bytes()));
            digest.iter().map(|byte| format!("{byte:02x}")).collect()
        });
    });
}

/// Looks tokens up by their hash, in the gateway's map and in the naive one.
fn look_up(criterion: &mut Criterion, name: &str, filled: &Filled, headers: &[Vec<u8>]) {
    let is_known = |hit: Hit| match hit {
        Hit::Live(entry) => Some(entry),
        Hit::Refused => None,
        Hit::Miss => panic!("the map was filled"),
    };
    let map = naive_map(filled);
    let mut group = criterion.benchmark_group(name);
    for (scenario, count) in [("one_token", 1), ("all_tokens", headers.len())] {
        let hashes: Vec<TokenHash> = headers[..count].iter().map(|h| hash_of(h)).collect();
        group.bench_function(format!("{scenario}/difygate"), |bencher| {
            let mut next = in_turn(&hashes);
            bencher.iter(|| is_known(filled.checker.look_up(black_box(next()))));
        });
        let digits: Vec<String> = headers[..count].iter().map(|h| naive_hash(h)).collect();
        group.bench_function(format!("{scenario}/naive"), |bencher| {
            let mut next = in_turn(&digits);
            bencher.iter(|| naive_look_up(&map, black_box(next())));
        });
    }
}

fn lookups(criterion: &mut Criterion) {
    let filled = Filled::new();
    look_up(criterion, "local_hit", &filled, &filled.live);
    look_up(criterion, "negative_hit", &filled, &filled.refused);
    full_decision(criterion, &filled);
    threads::bench(criterion, &filled);
}

/// From the bytes of the header, and of the request target, to the decision.
fn full_decision(criterion: &mut Criterion, filled: &Filled) {
    let surface = Surface {
        legacy_paths: true,
        enterprise: false,
        device_page: true,
    };
    let table = RouteTable::new(&[], surface).unwrap();
    let rule = |target| {
        let path = CanonicalPath::parse(target).unwrap();
        match table.decide(&path, &Method::GET).unwrap() {
            Decision::Bearer(rule) => rule,
            other => panic!("{other:?} for a guarded path"),
        }
    };
    let known_rule = rule(TARGET);
    let passes = |rule: &difygate::route::BearerRule, header: &[u8]| {
        let token = BearerToken::from_authorization(header).unwrap();
        let Hit::Live(entry) = filled.checker.look_up(&token.hash()) else {
            panic!("the map was filled");
        };
        let kind = token.kind();
        entry.context.subject.kind() == kind
            && rule.accept.contains(&kind)
            && rule.scope.is_none_or(|scope| kind.permits(scope))
    };
    let map = naive_map(filled);
    let naive = |header: &[u8]| {
        let found = naive_look_up(&map, &naive_hash(header)).unwrap();
        let context: serde_json::Value = serde_json::from_str(&found).unwrap();
        context["subject_issuer"] == "dify:account"
            && TokenKind::Account
                .scopes()
                .iter()
                .any(|s| s.as_str() == "full")
    };
    let mut group = criterion.benchmark_group("full_decision");
    for (scenario, count) in [("one_token", 1), ("all_tokens", filled.live.len())] {
        let headers = &filled.live[..count];
        group.bench_function(format!("token/{scenario}/difygate"), |bencher| {
            let mut next = in_turn(headers);
            bencher.iter(|| passes(known_rule, black_box(next())));
        });
        group.bench_function(format!("token/{scenario}/naive"), |bencher| {
            let mut next = in_turn(headers);
            bencher.iter(|| naive(black_box(next())));
        });
        group.bench_function(format!("path_and_token/{scenario}/difygate"), |bencher| {
            let mut next = in_turn(headers);
            bencher.iter(|| passes(rule(black_box(TARGET)), black_box(next())));
        });
    }
}

/// Counting a request against its token's limit, which comes on top of the decision: switched off,
/// from a lease, and refused. The naive way asks the store each time, which is no match.
fn bearer_limit(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Leases are fetched in the background, as in the gateway.
    let _entered = runtime.enter();
    let token = Uuid::from_u128(1);
    let mut group = criterion.benchmark_group("bearer_limit");
    for (scenario, bearer) in [("off", None), ("leased", Some(u32::MAX)), ("full", Some(1))] {
        let limiter = limiter(bearer);
        group.bench_function(scenario, |bencher| {
            bencher.iter(|| {
                let at_once = limiter.admit_at_once(black_box(token));
                at_once.unwrap_or_else(|| runtime.block_on(limiter.admit(token)))
            });
        });
    }
}

fn limiter(bearer: Option<u32>) -> BearerLimiter {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let quota = |count| RateLimit { count, window: TTL };
    let limits = RateLimitsConfig {
        device_code: quota(1),
        lookup: quota(1),
        sso_initiate: quota(1),
        approve: quota(1),
        approve_external: quota(1),
        account: quota(1),
        bearer: bearer.map(quota),
    };
    BearerLimiter::new(
        Arc::new(EmbeddedWindows::new(Arc::clone(&clock))),
        clock,
        Arc::new(Metrics::new()),
        Current::new(limits),
        TOKENS,
    )
}

criterion_group!(benches, token_parse, token_hash, lookups, bearer_limit);
criterion_main!(benches);
