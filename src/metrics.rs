//! Every metric of the process, in a registry of its own.
//!
//! Names, help texts and labels are public: operators build dashboards on them. Labels come from
//! enums only and every combination exists from the start, so that an alert can see a zero.

use std::{collections::BTreeSet, sync::OnceLock};

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

use crate::health::{Health, State};

mod bearer;
mod coherence;
mod connections;
mod log;
mod reading;
mod traces;

pub use bearer::{BearerLimitMetrics, LeaseOutcome};
pub use coherence::{CoherenceMetrics, FlushReason};
pub use connections::{ConnectionFailure, ConnectionMetrics, OpenConnection, Protocol};
pub use log::{Line, LineDrop, LogMetrics};
pub use reading::{Distribution, Reading};
pub use traces::{SpanDrop, TraceMetrics};

/// Upper bounds of request durations in seconds. From what a refusal costs (well under a
/// millisecond) over an ordinary API call to a blocking workflow run of minutes.
const DURATION_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0, 600.0,
];

/// Where the answer to a token check came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// This process's own map.
    Local,
    /// Redis.
    Redis,
    /// Postgres.
    Postgres,
}

impl Tier {
    /// Every member, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Local, Self::Redis, Self::Postgres];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }
}

/// How a request ended, by whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The gateway answered by itself.
    Local,
    /// The gateway refused.
    Rejected,
    /// The upstream answered.
    Forwarded,
    /// The client left, or the connection broke.
    Aborted,
}

impl Outcome {
    /// Every member, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Local, Self::Rejected, Self::Forwarded, Self::Aborted];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Rejected => "rejected",
            Self::Forwarded => "forwarded",
            Self::Aborted => "aborted",
        }
    }
}

/// What became of a request, by the first digit of its status; `none` where none was sent.
pub const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// A counter for each member of an enum, resolved once: counting costs one atomic addition.
#[derive(Clone, Debug)]
struct PerLabel<const N: usize>([IntCounter; N]);

impl<const N: usize> PerLabel<N> {
    /// Registers a counter with one label and these values of it.
    fn new(
        registry: &Registry,
        (name, help): (&str, &str),
        label: &str,
        values: [&'static str; N],
    ) -> Self {
        let vec = counters(registry, name, help, &[label]);
        Self(values.map(|value| vec.with_label_values(&[value])))
    }

    fn values(&self) -> [u64; N] {
        self.0.each_ref().map(IntCounter::get)
    }
}

/// What is shown of each dependency.
#[derive(Debug)]
struct DependencyMetrics {
    up: IntGaugeVec,
    last_contact: GaugeVec,
}

impl DependencyMetrics {
    #[expect(clippy::expect_used, reason = "names and labels are constants")]
    fn new(registry: &Registry) -> Self {
        let up = IntGaugeVec::new(
            Opts::new(
                "dependency_up",
                "Whether calls are made: 1, or 0 while the circuit breaker is open.",
            ),
            &["dependency"],
        )
        .expect("a constant name");
        register(registry, up.clone());
        let last_contact = GaugeVec::new(
            Opts::new(
                "dependency_last_contact_timestamp_seconds",
                "When the dependency last gave a sign of life; 0: never.",
            ),
            &["dependency"],
        )
        .expect("a constant name");
        register(registry, last_contact.clone());
        Self { up, last_contact }
    }

    fn show(&self, health: &Health) {
        for dependency in health.dependencies() {
            let label = [dependency.name().as_str()];
            let up = dependency.state().0 == State::Up;
            self.up.with_label_values(&label).set(i64::from(up));
            let contact = dependency.last_contact();
            self.last_contact
                .with_label_values(&label)
                .set(contact.map_or(0.0, |at| at.unix_micros() as f64 / 1e6));
        }
    }
}

/// The process's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: PerLabel<4>,
    responses: PerLabel<6>,
    rejections: IntCounterVec,
    reasons: OnceLock<BTreeSet<&'static str>>,
    checks: [PerLabel<2>; 3],
    dependencies: DependencyMetrics,
    /// Requests being processed at this moment.
    pub requests_in_flight: IntGauge,
    /// Time from a request's head to its end, in seconds.
    pub request_duration: Histogram,
    /// Token checks that could not be decided.
    pub checks_undecided: IntCounter,
    /// Lookups made in Postgres.
    pub postgres_lookups: IntCounter,
    /// Fills that lost their lease, so that nothing was cached.
    pub fills_lost: IntCounter,
    /// Entries of Dify's that were used without asking Postgres, since Postgres was away.
    pub unverified_entries_used: IntCounter,
    /// Lookups that Postgres was spared, since it had as many as it may have.
    pub postgres_lookups_shed: IntCounter,
    /// Requests that wait for a token check.
    pub check_waiters: IntGauge,
    /// How local entries follow those in Redis.
    pub coherence: CoherenceMetrics,
    /// Connections of the public listeners.
    pub connections: ConnectionMetrics,
    /// How the limit per token is counted.
    pub bearer_limit: BearerLimitMetrics,
    /// What becomes of spans.
    pub traces: TraceMetrics,
    /// Tokens held in the local map.
    pub local_entries: IntGauge,
    /// Refusals held in the local map.
    pub local_refusals: IntGauge,
    /// User codes that were tried and lead nowhere.
    pub user_code_guesses: IntCounter,
    /// Guesses above the budget of all callers together.
    pub user_code_alarms: IntCounter,
    /// Access lines that were left out.
    pub access_lines_left_out: IntCounter,
}

impl Metrics {
    /// Registers everything, for a process that logs nothing.
    pub fn new() -> Self {
        Self::with(&LogMetrics::new())
    }

    /// Registers everything, and what the log counts.
    #[expect(
        clippy::expect_used,
        reason = "names and labels are constants; a test builds them once"
    )]
    pub fn with(log: &LogMetrics) -> Self {
        let registry = Registry::new_custom(Some("difygate".into()), None)
            .expect("the namespace is a valid metric name");
        log.show_in(&registry);
        let rejections = counters(
            &registry,
            "rejections_total",
            "Requests refused by the gateway itself, by reason.",
            &["reason"],
        );
        Self {
            requests: PerLabel::new(
                &registry,
                ("requests_total", "Requests ended, by how."),
                "outcome",
                Outcome::ALL.map(Outcome::as_str),
            ),
            responses: PerLabel::new(
                &registry,
                ("responses_total", "Requests ended, by the status's class."),
                "class",
                STATUS_CLASSES,
            ),
            checks: token_checks(&registry),
            rejections,
            reasons: OnceLock::new(),
            dependencies: DependencyMetrics::new(&registry),
            coherence: CoherenceMetrics::new(&registry),
            connections: ConnectionMetrics::new(&registry),
            bearer_limit: BearerLimitMetrics::new(&registry),
            traces: TraceMetrics::new(&registry),
            requests_in_flight: gauge(
                &registry,
                "requests_in_flight",
                "Requests being processed at this moment.",
            ),
            request_duration: histogram(
                &registry,
                "request_duration_seconds",
                "Time from a request's head to its end.",
                &DURATION_BUCKETS,
            ),
            checks_undecided: counter(
                &registry,
                "token_checks_undecided_total",
                "Token checks that neither store could decide; answered 503.",
            ),
            postgres_lookups: counter(
                &registry,
                "token_postgres_lookups_total",
                "Token lookups made in Postgres.",
            ),
            fills_lost: counter(
                &registry,
                "token_cache_fills_lost_total",
                "Fills that found their lease gone, so that nothing was cached.",
            ),
            unverified_entries_used: counter(
                &registry,
                "token_cache_unverified_entries_used_total",
                "Entries written by Dify that were used unverified while Postgres was away.",
            ),
            postgres_lookups_shed: counter(
                &registry,
                "token_postgres_lookups_shed_total",
                "Token lookups not made, since Postgres had as many as it may have; answered 503.",
            ),
            check_waiters: gauge(
                &registry,
                "token_check_waiters",
                "Requests that wait for a token check at this moment.",
            ),
            local_entries: gauge(
                &registry,
                "token_cache_local_entries",
                "Live tokens held in the local map.",
            ),
            local_refusals: gauge(
                &registry,
                "token_cache_local_refusals",
                "Refused tokens held in the local map.",
            ),
            user_code_guesses: counter(
                &registry,
                "user_code_guesses_total",
                "User codes that were tried and lead nowhere.",
            ),
            access_lines_left_out: counter(
                &registry,
                "access_lines_left_out_total",
                "Lines of the access log that were left out, since there were too many in a second.",
            ),
            user_code_alarms: counter(
                &registry,
                "user_code_alarms_total",
                "Such user codes above the budget of all callers together.",
            ),
            registry,
        }
    }

    /// Counts a request that has ended, with the status that was sent; 0 for none.
    pub fn request(&self, outcome: Outcome, status: u16) {
        self.requests.0[outcome as usize].inc();
        let class = usize::from(status / 100).min(STATUS_CLASSES.len() - 1);
        self.responses.0[class].inc();
    }

    /// Counts a token check.
    pub fn check(&self, tier: Tier, live: bool) {
        self.checks[tier as usize].0[usize::from(!live)].inc();
    }

    /// Counts a refusal.
    pub fn rejection(&self, reason: &'static str) {
        self.rejections.with_label_values(&[reason]).inc();
    }

    /// Makes every reason exist before it first occurs; to be called once, with all of them.
    pub fn know_rejections(&self, reasons: impl IntoIterator<Item = &'static str>) {
        for reason in self.reasons.get_or_init(|| reasons.into_iter().collect()) {
            self.rejections.with_label_values(&[reason]);
        }
    }

    /// Writes everything in Prometheus's text format.
    pub fn render(&self, health: &Health) -> String {
        self.dependencies.show(health);
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Live and refused, for each tier.
fn token_checks(registry: &Registry) -> [PerLabel<2>; 3] {
    let checks = counters(
        registry,
        "token_checks_total",
        "Token checks decided, by the tier that had the answer and the result.",
        &["tier", "result"],
    );
    let results = ["live", "refused"];
    Tier::ALL.map(|tier| {
        PerLabel(results.map(|result| checks.with_label_values(&[tier.as_str(), result])))
    })
}

#[expect(
    clippy::expect_used,
    reason = "every name is a constant and registered once"
)]
fn register(registry: &Registry, collector: impl Collector + 'static) {
    registry
        .register(Box::new(collector))
        .expect("no two metrics share a name");
}

#[expect(clippy::expect_used, reason = "names and labels are constants")]
fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name, help), labels).expect("a constant name");
    register(registry, counters.clone());
    counters
}

#[expect(clippy::expect_used, reason = "names are constants")]
fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let counter = IntCounter::new(name, help).expect("a constant name");
    register(registry, counter.clone());
    counter
}

#[expect(clippy::expect_used, reason = "names are constants")]
fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect("a constant name");
    register(registry, gauge.clone());
    gauge
}

#[expect(clippy::expect_used, reason = "names and buckets are constants")]
fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let histogram = Histogram::with_opts(options).expect("ascending buckets");
    register(registry, histogram.clone());
    histogram
}
