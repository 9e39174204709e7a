//! What the gateway says of itself, `/status.json`: members and units are in `docs/openapi.json`.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    Admin,
    history::{RATE_WINDOW, Recent, WHOLE_WINDOW},
};
use crate::metrics::{
    ConnectionFailure, Distribution, Metrics, Outcome, Protocol, Reading, STATUS_CLASSES, Tier,
};

/// Values by the names that metrics have for them.
type Named<T> = BTreeMap<&'static str, T>;

/// Everything at one moment. Times are UTC; rates are means of `rate_window_seconds`, quantiles and
/// `refusals` of `window_seconds`, all else is of now or since the start.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) time: String,
    pub(super) started: String,
    pub(super) uptime_seconds: u64,
    pub(super) status: &'static str,
    pub(super) listening: Vec<Listening>,
    pub(super) rate_window_seconds: u64,
    pub(super) window_seconds: u64,
    pub(super) dependencies: Vec<DependencyStatus>,
    pub(super) requests: Requests,
    pub(super) token_checks: TokenChecks,
    pub(super) revocations: Revocations,
    pub(super) connections: Connections,
    pub(super) refusals: Vec<Refusals>,
    pub(super) faults: Vec<FaultStatus>,
    /// What the curves are made of; they are for the eye, and `/metrics` is for programs.
    #[serde(skip)]
    pub(super) curves: Named<Vec<f64>>,
}

/// Where something listens.
#[derive(Clone, Debug, Serialize)]
pub struct Listening {
    /// `gateway` or `admin`.
    pub listener: &'static str,
    /// The address that is bound.
    pub address: String,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct DependencyStatus {
    pub(super) name: &'static str,
    pub(super) state: &'static str,
    pub(super) since: String,
    pub(super) since_seconds: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Requests {
    pub(super) in_flight: u64,
    pub(super) total: u64,
    pub(super) per_second: f64,
    pub(super) outcomes_per_second: Named<f64>,
    pub(super) classes_per_second: Named<f64>,
    pub(super) duration_seconds: Quantiles,
}

#[derive(Debug, Serialize)]
pub(super) struct TokenChecks {
    pub(super) total: u64,
    pub(super) per_second: f64,
    pub(super) tiers_per_second: Named<f64>,
    /// The part that the local map had the answer to; `None` where nothing was asked.
    pub(super) local_ratio: Option<f64>,
    pub(super) local_entries: u64,
    pub(super) local_refusals: u64,
    pub(super) waiting: u64,
    pub(super) undecided: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Revocations {
    pub(super) followed: bool,
    pub(super) changes: u64,
    pub(super) last_lag_seconds: f64,
    pub(super) lag_seconds: Quantiles,
}

#[derive(Debug, Serialize)]
pub(super) struct Connections {
    pub(super) open: u64,
    pub(super) protocols: Named<u64>,
    pub(super) accepted: u64,
    pub(super) accepted_per_second: f64,
    pub(super) waited: u64,
    pub(super) failed: Named<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Refusals {
    pub(super) reason: &'static str,
    pub(super) count: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct FaultStatus {
    pub(super) what: String,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) last_seconds_ago: u64,
    pub(super) times: u64,
}

/// Estimates; `None` of nothing.
#[derive(Debug, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

impl Status {
    /// Looks at everything.
    pub(super) fn of(admin: &Admin) -> Self {
        let recent = admin.history.recent();
        let now = admin.clock.now();
        let ago = |since| crate::clock::Timestamp::until(since, now).as_secs();
        let dependencies = admin.health.dependencies().map(|dependency| {
            let (state, since) = dependency.state();
            DependencyStatus {
                name: dependency.name().as_str(),
                state: state.as_str(),
                since: since.to_rfc3339_zulu(),
                since_seconds: ago(since),
            }
        });
        let faults = admin.health.faults.newest_first().into_iter();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            time: now.to_rfc3339_zulu(),
            started: admin.started.to_rfc3339_zulu(),
            uptime_seconds: ago(admin.started),
            status: admin.health.readiness().as_str(),
            listening: admin.about.listening.clone(),
            rate_window_seconds: RATE_WINDOW.as_secs(),
            window_seconds: WHOLE_WINDOW.as_secs(),
            dependencies: dependencies.collect(),
            requests: Requests::of(&admin.metrics, &recent),
            token_checks: TokenChecks::of(&admin.metrics, &recent),
            revocations: Revocations::of(&admin.metrics, &recent),
            connections: Connections::of(&admin.metrics, &recent),
            refusals: refusals(&recent),
            faults: faults
                .map(|fault| FaultStatus {
                    what: fault.what,
                    first: fault.first.to_rfc3339_zulu(),
                    last: fault.last.to_rfc3339_zulu(),
                    last_seconds_ago: ago(fault.last),
                    times: fault.times,
                })
                .collect(),
            curves: curves(&recent),
        }
    }

    /// Returns how long the process has run.
    pub(super) const fn uptime(&self) -> Duration {
        Duration::from_secs(self.uptime_seconds)
    }
}

impl Requests {
    fn of(metrics: &Metrics, recent: &Recent<'_>) -> Self {
        let outcomes = recent.rates(|reading| reading.requests);
        let classes = recent.rates(|reading| reading.responses);
        let durations = of_window(recent, |reading| &reading.durations);
        Self {
            in_flight: gauge(&metrics.requests_in_flight),
            total: recent.now().requests.iter().sum(),
            per_second: rounded(outcomes.iter().sum()),
            outcomes_per_second: named(Outcome::ALL.map(Outcome::as_str), outcomes.map(rounded)),
            classes_per_second: named(STATUS_CLASSES, classes.map(rounded)),
            duration_seconds: durations,
        }
    }
}

impl TokenChecks {
    fn of(metrics: &Metrics, recent: &Recent<'_>) -> Self {
        let tiers = recent.rates(|reading| reading.checks);
        let sum: f64 = tiers.iter().sum();
        Self {
            total: recent.now().checks.iter().sum(),
            per_second: rounded(sum),
            tiers_per_second: named(Tier::ALL.map(Tier::as_str), tiers.map(rounded)),
            local_ratio: (sum > 0.0).then(|| rounded(tiers[Tier::Local as usize] / sum)),
            local_entries: gauge(&metrics.local_entries),
            local_refusals: gauge(&metrics.local_refusals),
            waiting: gauge(&metrics.check_waiters),
            undecided: metrics.checks_undecided.get(),
        }
    }
}

impl Revocations {
    fn of(metrics: &Metrics, recent: &Recent<'_>) -> Self {
        Self {
            followed: metrics.coherence.followed.get() == 1,
            changes: metrics.coherence.invalidations.get(),
            last_lag_seconds: metrics.coherence.last_revocation_lag(),
            lag_seconds: of_window(recent, |reading| &reading.lags),
        }
    }
}

impl Connections {
    fn of(metrics: &Metrics, recent: &Recent<'_>) -> Self {
        let now = recent.now();
        let [accepted_per_second] = recent.rates(|reading| [reading.accepted]);
        Self {
            open: now.open.iter().sum(),
            protocols: named(Protocol::ALL.map(Protocol::as_str), now.open),
            accepted: now.accepted,
            accepted_per_second: rounded(accepted_per_second),
            waited: metrics.connections.waited.get(),
            failed: named(
                ConnectionFailure::ALL.map(ConnectionFailure::as_str),
                now.failed,
            ),
        }
    }
}

/// What was refused in the window, the most frequent reason first.
fn refusals(recent: &Recent<'_>) -> Vec<Refusals> {
    let before: BTreeMap<_, _> = recent.oldest().refusals.iter().copied().collect();
    let now = recent.now().refusals.iter();
    let mut refusals: Vec<Refusals> = now
        .map(|(reason, count)| Refusals {
            reason,
            count: count.saturating_sub(before.get(reason).copied().unwrap_or_default()),
        })
        .filter(|refusals| refusals.count > 0)
        .collect();
    refusals.sort_by_key(|refusals| std::cmp::Reverse(refusals.count));
    refusals
}

/// What is drawn: rates a second, numbers and seconds, one value for each reading.
fn curves(recent: &Recent<'_>) -> Named<Vec<f64>> {
    let rate = |before: u64, after: u64, seconds| after.saturating_sub(before) as f64 / seconds;
    let sum = |counts: &[u64]| counts.iter().sum::<u64>();
    BTreeMap::from([
        (
            "requests",
            recent.curve(|a, b, s| rate(sum(&a.requests), sum(&b.requests), s)),
        ),
        (
            "checks",
            recent.curve(|a, b, s| rate(sum(&a.checks), sum(&b.checks), s)),
        ),
        ("connections", recent.curve(|_, b, _| sum(&b.open) as f64)),
        (
            "lag",
            recent.curve(|a, b, _| b.lags.since(&a.lags).mean().unwrap_or_default()),
        ),
    ])
}

/// The quantiles of what has come in within the window.
fn of_window(recent: &Recent<'_>, of: impl Fn(&Reading) -> &Distribution) -> Quantiles {
    let within = of(recent.now()).since(of(recent.oldest()));
    Quantiles {
        p50: within.quantile(0.5).map(precise),
        p99: within.quantile(0.99).map(precise),
    }
}

fn named<T: Copy, const N: usize>(names: [&'static str; N], values: [T; N]) -> Named<T> {
    names.into_iter().zip(values).collect()
}

fn gauge(gauge: &prometheus::IntGauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or_default()
}

/// Rounds to thousandths: more is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Rounds to microseconds.
fn precise(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
