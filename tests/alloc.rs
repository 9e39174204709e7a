//! A hit in the local map allocates nothing, from the bytes of the request to the decision.
//!
//! A binary of its own, since counting replaces the allocator of everything in it. The count is
//! the calling thread's, so that tests beside this one do not disturb it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what breaks an assumption of a test fails it"
)]

use std::{hint::black_box, sync::Arc, time::Duration};

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
    token::BearerToken,
    trace::{Sampling, Tracer},
};
use http::Method;
use uuid::Uuid;

const AUTHORIZATION: &[u8] = b"Bearer dfoa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const TARGET: &[u8] = b"/openapi/v1/apps?page=1&limit=20";

/// Longer than any test runs.
const TTL: Duration = Duration::from_secs(3_600);

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passes,
    Refused,
    Unknown,
}

/// A checker whose local map has learnt `value` about the token.
fn checker_that_knows(value: &[u8]) -> TokenChecker {
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
            capacity: 100,
            positive_ttl: TTL,
            negative_ttl: TTL,
            untracked_ttl: TTL,
            deadline: Duration::from_secs(5),
            lookups: 12,
        },
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let token = BearerToken::from_authorization(AUTHORIZATION).unwrap();
        cache.overwrite(&token.hash(), value, TTL).await.unwrap();
        checker.check(&token).await.unwrap();
    });
    checker
}

fn live() -> Vec<u8> {
    Cached::write(&TokenContext {
        token_id: Uuid::from_u128(1),
        subject: Subject::Account {
            id: Uuid::from_u128(2),
            email: "ada@example.com".into(),
        },
        client_id: Some("difyctl".into()),
        expires_at: None,
    })
}

fn table() -> RouteTable {
    let surface = Surface {
        legacy_paths: true,
        enterprise: false,
        device_page: true,
    };
    RouteTable::new(&[], surface).unwrap()
}

/// What the gateway does with a request before it knows where it goes.
fn decide(table: &RouteTable, checker: &TokenChecker) -> Outcome {
    let path = CanonicalPath::parse(black_box(TARGET)).unwrap();
    let Decision::Bearer(rule) = table.decide(&path, &Method::GET).unwrap() else {
        panic!("the path is guarded");
    };
    let token = BearerToken::from_authorization(black_box(AUTHORIZATION)).unwrap();
    let kind = token.kind();
    match checker.look_up(&token.hash()) {
        Hit::Live(entry)
            if entry.context.subject.kind() == kind
                && rule.accept.contains(&kind)
                && rule.scope.is_none_or(|scope| kind.permits(scope)) =>
        {
            Outcome::Passes
        }
        Hit::Live(_) | Hit::Refused => Outcome::Refused,
        Hit::Miss => Outcome::Unknown,
    }
}

/// Decides once, and says how many allocations that took.
fn allocations(checker: &TokenChecker) -> (Outcome, u64) {
    let table = table();
    let mut outcome = Outcome::Unknown;
    let counted = allocation_counter::measure(|| outcome = decide(&table, checker));
    (outcome, counted.count_total)
}

#[test]
fn a_local_hit_allocates_nothing() {
    let checker = checker_that_knows(&live());
    assert_eq!(allocations(&checker), (Outcome::Passes, 0));
}

/// A thread that needs a token all the time comes to hold its entry by a pointer of its own.
#[test]
fn a_hot_token_allocates_once_in_each_thread() {
    let checker = checker_that_knows(&live());
    let hundred = || (0..100).map(|_| allocations(&checker).1).sum::<u64>();
    assert_eq!((hundred(), hundred()), (1, 0));
}

#[test]
fn a_local_refusal_allocates_nothing() {
    let checker = checker_that_knows(REFUSED);
    assert_eq!(allocations(&checker), (Outcome::Refused, 0));
}

/// A limiter that has let one token through often, or that is off.
fn limiter_that_has_met(token: Uuid, bearer: Option<u32>) -> BearerLimiter {
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
    let limiter = BearerLimiter::new(
        Arc::new(EmbeddedWindows::new(Arc::clone(&clock))),
        clock,
        Arc::new(Metrics::new()),
        Current::new(limits),
        100,
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for _ in 0..100 {
            limiter.admit(token).await.unwrap();
        }
    });
    limiter
}

#[test]
fn a_request_counted_against_its_tokens_limit_allocates_nothing() {
    let checker = checker_that_knows(&live());
    let table = table();
    let token = Uuid::from_u128(1);
    for bearer in [Some(1_000_000), None] {
        let limiter = limiter_that_has_met(token, bearer);
        for _ in 0..100 {
            decide(&table, &checker);
        }
        let counted = allocation_counter::measure(|| {
            for _ in 0..10 {
                assert_eq!(decide(&table, &checker), Outcome::Passes);
                assert_eq!(limiter.admit_at_once(token), Some(Ok(())));
            }
        });
        assert_eq!(counted.count_total, 0, "{bearer:?}");
    }
    // So does a refusal for a full window, up to the answer.
    let limiter = limiter_that_has_met(token, Some(100));
    let mut ask = tokio::runtime::Builder::new_current_thread();
    let asked = ask.build().unwrap().block_on(limiter.admit(token));
    assert!(asked.is_err());
    let counted = allocation_counter::measure(|| {
        assert!(
            limiter
                .admit_at_once(token)
                .is_some_and(|told| told.is_err())
        );
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_request_that_is_not_recorded_finds_its_trace_without_allocating() {
    let (queue, _spans) = tokio::sync::mpsc::channel(16);
    let sampling = Sampling {
        ratio: 0.0,
        trust_proxies: true,
    };
    let tracer = Tracer::new(sampling, queue, &OsEntropy, Arc::new(Metrics::new()));
    let mut headers = http::HeaderMap::new();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent", parent.parse().unwrap());

    let counted = allocation_counter::measure(|| {
        let begun = tracer.begin(black_box(&http::HeaderMap::new()), false);
        let continued = tracer.begin(black_box(&headers), false);
        assert!(!begun.sampled && !continued.sampled);
    });

    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(black_box(Box::new(1))));
    assert_eq!(counted.count_total, 1);
    // A path that has to be decoded is one that cannot be borrowed.
    let counted = allocation_counter::measure(|| {
        let path = CanonicalPath::parse(black_box(b"/openapi/v1/%61pps")).unwrap();
        assert_eq!(path.as_str(), "/openapi/v1/apps");
    });
    assert!(counted.count_total > 0);
}
