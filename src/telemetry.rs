//! Logs: JSON or text on standard error, through tracing; audit events in a stream of their own
//! where `log.audit` wants one.
//!
//! Libraries are heard at `warn` and above only, at whatever level the gateway itself speaks:
//! below that, pingora prints whole request heads and the Postgres client prints parameters.

use std::{
    fs::{File, OpenOptions},
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt as _, registry, reload,
    util::SubscriberInitExt as _, util::TryInitError,
};

use crate::{
    config::{AuditStream, LogConfig, LogFormat, LogLevel},
    health::Faults,
};

mod remember;
mod shortened;

use remember::Remember;
pub use shortened::shortened;

/// Our own targets: the crate, its audit trail and its access log.
const OWN_TARGETS: [&str; 3] = ["difygate", AUDIT, "access"];

/// The target of audit events.
const AUDIT: &str = "audit";

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The process logs already.
    #[error(transparent)]
    Initialized(#[from] TryInitError),
    /// The audit file cannot be written.
    #[error("log.audit: cannot append to {path}: {error}")]
    AuditFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

/// What is heard at which level; it can be changed while the process runs.
#[derive(Clone)]
pub struct LogLevels {
    filter: reload::Handle<Targets, Registry>,
    audit_elsewhere: bool,
}

impl LogLevels {
    /// Hears from now on at the level of `config`; nothing else of it is looked at.
    pub fn set(&self, config: &LogConfig) {
        // It fails only when the log is gone, and then there is nobody to tell.
        let _ = self
            .filter
            .reload(targets(config.level, self.audit_elsewhere));
    }
}

impl std::fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogLevels(…)")
    }
}

/// Starts logging as configured; `faults` gets the gateway's own warnings and errors as well.
///
/// # Errors
///
/// [`TelemetryError`]; nothing is logged then.
pub fn init(config: &LogConfig, faults: &Arc<Faults>) -> Result<LogLevels, TelemetryError> {
    let audit: Option<Boxed> = match &config.audit {
        AuditStream::Log => None,
        AuditStream::Stdout => Some(json_lines(io::stdout)),
        AuditStream::File(path) => Some(json_lines(Mutex::new(append_to(path)?))),
    };
    let audit_elsewhere = audit.is_some();
    let (filter, handle) = reload::Layer::new(targets(config.level, audit_elsewhere));
    let lines: Boxed = match config.format {
        LogFormat::Json => json_lines(io::stderr),
        LogFormat::Text => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(false)
            .boxed(),
    };
    let audit_alone = Targets::new().with_target(AUDIT, LevelFilter::INFO);
    let layers: Vec<Boxed> = [
        Some(lines.with_filter(filter).boxed()),
        Some(
            Remember(Arc::clone(faults))
                .with_filter(Remember::hears())
                .boxed(),
        ),
        audit.map(|audit| audit.with_filter(audit_alone).boxed()),
    ]
    .into_iter()
    .flatten()
    .collect();
    registry().with(layers).try_init()?;
    log_panics();
    Ok(LogLevels {
        filter: handle,
        audit_elsewhere,
    })
}

/// Who is heard in the log, and from which level on.
fn targets(configured: LogLevel, audit_elsewhere: bool) -> Targets {
    let own = level(configured);
    let libraries = own.min(LevelFilter::WARN);
    // Nobody asked for less than the audit trail: it goes on at any level.
    let audit = if audit_elsewhere {
        LevelFilter::OFF
    } else {
        own.max(LevelFilter::INFO)
    };
    Targets::new()
        .with_default(libraries)
        .with_targets(OWN_TARGETS.map(|target| (target, own)))
        // Every client that leaves in mid-request is an error to it; we say so in the access log.
        .with_target("pingora_proxy", LevelFilter::OFF)
        // It tells of every node at every attempt, many times a second; the health of the
        // dependency says once what is the matter.
        .with_target("redis::cluster_handling", LevelFilter::OFF)
        .with_target(AUDIT, audit)
        .with_target("access", own.max(LevelFilter::INFO))
}

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

fn json_lines<W>(writer: W) -> Boxed
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    fmt::layer()
        .with_writer(writer)
        .json()
        .flatten_event(true)
        .boxed()
}

/// Opens the audit file, for its owner's eyes alone where it is new: it names people.
fn append_to(path: &PathBuf) -> Result<File, TelemetryError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| TelemetryError::AuditFile {
            path: path.clone(),
            error,
        })
}

const fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Logs where a panic happened, and not what it said: the message may quote a request.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "a task panicked; its request was given up");
    }));
}
