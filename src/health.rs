//! What is known about what the gateway depends on, and what has gone wrong lately.
//!
//! Each dependency has a state and the time since when; a change is logged once, here, and nowhere
//! else.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::AtomicBool, atomic::Ordering},
};

use crate::{
    clock::{Clock, Timestamp},
    metrics::LogMetrics,
    telemetry::Visible,
};

mod faults;

pub use faults::{Fault, Faults};

/// Something outside this process that requests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependencyName {
    /// The truth about tokens.
    Postgres,
    /// The shared cache.
    Redis,
    /// The Dify API.
    Upstream,
    /// Dify's enterprise service. Only sign-ins by SSO need it: `/readyz` tells of it, and does not
    /// depend on it.
    Enterprise,
}

impl DependencyName {
    /// Returns the name in logs, metrics and `/readyz`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Upstream => "upstream",
            Self::Enterprise => "enterprise",
        }
    }
}

/// Whether a dependency answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has asked yet.
    Unknown,
    /// The last contact succeeded.
    Up,
    /// The last contact failed.
    Down,
}

impl State {
    /// Returns the state's name in `/readyz`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One dependency's state, kept by whoever talks to it.
#[derive(Debug)]
pub struct Dependency {
    name: DependencyName,
    clock: Arc<dyn Clock>,
    state: Mutex<(State, Timestamp)>,
    last_contact: Mutex<Option<Timestamp>>,
}

impl Dependency {
    /// Starts with nothing known.
    pub fn new(name: DependencyName, clock: Arc<dyn Clock>) -> Arc<Self> {
        let since = clock.now();
        Arc::new(Self {
            name,
            clock,
            state: Mutex::new((State::Unknown, since)),
            last_contact: Mutex::default(),
        })
    }

    /// Returns the state and the time since when it holds.
    pub fn state(&self) -> (State, Timestamp) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether the last contact failed: then nobody should be made to wait for the next one.
    pub fn is_down(&self) -> bool {
        self.state().0 == State::Down
    }

    /// Returns when a contact last succeeded.
    pub fn last_contact(&self) -> Option<Timestamp> {
        let last = self.last_contact.lock();
        *last.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns which dependency this is.
    pub const fn name(&self) -> DependencyName {
        self.name
    }

    /// Tells that a contact succeeded.
    pub fn up(&self) {
        let now = Some(self.clock.now());
        *self
            .last_contact
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = now;
        if self.change(State::Up) {
            tracing::info!(dependency = self.name.as_str(), "dependency is up");
        }
    }

    /// Tells that a contact failed, and how.
    pub fn down(&self, error: &dyn std::error::Error) {
        if self.change(State::Down) {
            tracing::warn!(
                dependency = self.name.as_str(),
                error = %Chain(error),
                "dependency is down"
            );
        }
    }

    /// Returns whether the state was another one before.
    fn change(&self, to: State) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = state.0 != to;
        if changed {
            *state = (to, self.clock.now());
        }
        changed
    }
}

/// The whole process's condition, as `/readyz` tells it.
#[derive(Debug)]
pub struct Health {
    /// Postgres.
    pub postgres: Arc<Dependency>,
    /// Redis.
    pub redis: Arc<Dependency>,
    /// The Dify API.
    pub upstream: Arc<Dependency>,
    /// What was logged as a fault lately.
    pub faults: Arc<Faults>,
    /// What became of the log's lines.
    pub log: LogMetrics,
    enterprise: OnceLock<Arc<Dependency>>,
    clock: Arc<dyn Clock>,
    draining: AtomicBool,
}

/// What a load balancer should make of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Everything is up.
    Ready,
    /// Some requests cannot be served, but others can: traffic should keep coming, since every
    /// replica shares the same stores and would be just as affected.
    Degraded,
    /// No request can be served: the upstream is away, or neither store can judge a token.
    Unavailable,
    /// The process has been told to stop.
    Draining,
}

impl Readiness {
    /// Returns the name in `/readyz`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
            Self::Draining => "draining",
        }
    }

    /// Tells whether traffic should come here.
    pub const fn accepts_traffic(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

impl Health {
    /// Starts with nothing known about anything.
    pub fn new(clock: &Arc<dyn Clock>) -> Arc<Self> {
        let dependency = |name| Dependency::new(name, Arc::clone(clock));
        Arc::new(Self {
            postgres: dependency(DependencyName::Postgres),
            redis: dependency(DependencyName::Redis),
            upstream: dependency(DependencyName::Upstream),
            faults: Faults::new(clock),
            log: LogMetrics::new(),
            enterprise: OnceLock::new(),
            clock: Arc::clone(clock),
            draining: AtomicBool::new(false),
        })
    }

    /// Returns the clock by which all this happens.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Adds the enterprise service to the dependencies, since there is one.
    pub fn with_enterprise(&self) -> Arc<Dependency> {
        let begin = || Dependency::new(DependencyName::Enterprise, Arc::clone(&self.clock));
        Arc::clone(self.enterprise.get_or_init(begin))
    }

    /// Returns every dependency that there is.
    pub fn dependencies(&self) -> impl Iterator<Item = &Dependency> {
        [&self.postgres, &self.redis, &self.upstream]
            .into_iter()
            .chain(self.enterprise.get())
            .map(|dependency| &**dependency)
    }

    /// Makes `/readyz` refuse from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Tells whether the process has been told to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Sums the states up.
    pub fn readiness(&self) -> Readiness {
        if self.is_draining() {
            return Readiness::Draining;
        }
        let [postgres, redis, upstream] =
            [&self.postgres, &self.redis, &self.upstream].map(|d| d.state().0 == State::Up);
        match (upstream, postgres, redis) {
            (true, true, true) => Readiness::Ready,
            (true, true, false) | (true, false, true) => Readiness::Degraded,
            (false, _, _) | (true, false, false) => Readiness::Unavailable,
        }
    }
}

/// Displays an error with its causes, outermost first, in one line.
///
/// Of each the first line is shown, without what a terminal obeys. Postgres quotes whole rows in the
/// lines behind it (`DETAIL: Failing row contains …`), with hashes and e-mails in them.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_first_line(f, self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            f.write_str(": ")?;
            write_first_line(f, error)?;
            cause = error.source();
        }
        Ok(())
    }
}

fn write_first_line(f: &mut fmt::Formatter<'_>, error: &dyn std::error::Error) -> fmt::Result {
    let said = error.to_string();
    write!(f, "{}", Visible(said.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[derive(Debug, thiserror::Error)]
    #[error("postgres refused the request")]
    struct Refused(#[source] std::io::Error);

    #[test]
    fn an_error_is_one_line_without_rows_and_without_what_a_terminal_obeys() {
        let said =
            "ERROR: a \u{9b}2Jvalue\r\nDETAIL: Failing row contains (ada@example.com).\nHINT: no";
        let error = Refused(std::io::Error::other(said));
        assert_eq!(
            Chain(&error).to_string(),
            r"postgres refused the request: ERROR: a \u{9b}2Jvalue"
        );
    }

    fn health() -> Arc<Health> {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(0)));
        Health::new(&clock)
    }

    #[test]
    fn one_store_down_degrades_and_both_make_unavailable() {
        let (health, error) = (health(), std::io::Error::other("gone"));
        assert_eq!(health.readiness(), Readiness::Unavailable);
        health.dependencies().for_each(Dependency::up);
        assert_eq!(health.readiness(), Readiness::Ready);
        health.postgres.down(&error);
        assert_eq!(health.readiness(), Readiness::Degraded);
        health.redis.down(&error);
        assert_eq!(health.readiness(), Readiness::Unavailable);
    }

    #[test]
    fn the_enterprise_service_is_told_of_and_not_depended_on() {
        let health = health();
        let enterprise = health.with_enterprise();
        health.dependencies().for_each(Dependency::up);

        enterprise.down(&std::io::Error::other("gone"));

        assert_eq!(health.readiness(), Readiness::Ready);
        let states: Vec<State> = health.dependencies().map(|d| d.state().0).collect();
        assert_eq!(states, [State::Up, State::Up, State::Up, State::Down]);
    }

    #[test]
    fn draining_beats_everything() {
        let health = health();
        health.dependencies().for_each(Dependency::up);
        health.drain();
        assert_eq!(health.readiness(), Readiness::Draining);
        assert!(!health.readiness().accepts_traffic());
    }
}
