//! Logs: JSON or text on standard error, through tracing; audit events in a stream of their own
//! where `log.audit` wants one.
//!
//! No request waits for a stream: lines go through a bounded queue, and what finds no room there,
//! or cannot be written, is counted and said.
//!
//! Libraries are heard at `warn` and above only, at whatever level the gateway itself speaks:
//! below that, pingora prints whole request heads and the Postgres client prints parameters. So many
//! of their lines are written in a second, and so much of each (`libraries`).

use std::{
    fs::{File, OpenOptions},
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry,
    filter::{FilterExt as _, Targets},
    fmt,
    layer::SubscriberExt as _,
    registry, reload,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::{
    config::{AuditStream, LogConfig, LogFormat, LogLevel},
    health::Health,
};

mod libraries;
mod panics;
mod queue;
mod rate;
mod remember;
mod shortened;
mod visible;
mod writer;

use libraries::{CHATTER, Gate, Lines};
use panics::log_panics;
pub use panics::print_panics;
use queue::{Entrance, Queue};
pub use rate::{Asked, LineRate};
use remember::Remember;
pub use shortened::shortened;
pub use visible::Visible;
use writer::Writer;

/// Our own targets: the crate, its audit trail and its access log.
const OWN_TARGETS: [&str; 3] = ["difygate", AUDIT, "access"];

/// The target of audit events.
const AUDIT: &str = "audit";

/// How long the end of the process waits for what a stream has left to be written …
const FLUSH_STEP: Duration = Duration::from_millis(100);

/// … so often. A process that was stopped for a while has lost one step, and not the log.
const FLUSH_STEPS: usize = 30;

/// The queue that audit events go to; a process has one log.
static AUDIT_QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The process logs already.
    #[error(transparent)]
    Initialized(#[from] TryInitError),
    /// A standard stream cannot be used, or no thread can be started for it.
    #[error("the log cannot be written: {0}")]
    Stream(#[from] io::Error),
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

/// The log of this process. Its end waits until everything is written, for three seconds a
/// stream at most.
#[derive(Debug)]
pub struct Logging {
    levels: LogLevels,
    queues: Vec<Arc<Queue>>,
}

impl Logging {
    /// Returns what is heard, to be changed.
    pub const fn levels(&self) -> &LogLevels {
        &self.levels
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        for _ in 0..FLUSH_STEPS {
            // In turn: one that is stuck must not cost the other its last words.
            let late = self.queues.iter().filter(|queue| !queue.flush(FLUSH_STEP));
            if late.count() == 0 {
                return;
            }
        }
    }
}

/// Starts logging as configured; `health` gets the gateway's own warnings and errors as well, and
/// the number of lines that are lost.
///
/// # Errors
///
/// [`TelemetryError`]; nothing is logged then.
pub fn init(config: &LogConfig, health: &Health) -> Result<Logging, TelemetryError> {
    let mut streams = Vec::new();
    let mut stream = |name, file| {
        let queue = Arc::new(Queue::new(health.log.clone()));
        streams.push(Writer {
            name,
            file,
            queue: Arc::clone(&queue),
        });
        queue
    };
    let log = stream("log", writer::unlocked(&io::stderr())?);
    let audit = match &config.audit {
        AuditStream::Log => None,
        AuditStream::Stdout => Some(stream("audit", writer::unlocked(&io::stdout())?)),
        AuditStream::File(path) => Some(stream("audit", append_to(path)?)),
    };
    let audit_elsewhere = audit.is_some();
    let (filter, handle) = reload::Layer::new(targets(config.level, audit_elsewhere));
    let lines: Boxed = match config.format {
        LogFormat::Json => json_lines(&log),
        LogFormat::Text => fmt::layer()
            .with_writer(Entrance {
                queue: Arc::clone(&log),
                json: false,
            })
            .with_ansi(false)
            .map_event_format(|own| Lines { own, json: false })
            .boxed(),
    };
    let gate = Gate::new(health.clock(), Arc::clone(&log));
    let audit_alone = Targets::new().with_target(AUDIT, LevelFilter::INFO);
    let layers: Vec<Boxed> = [
        Some(lines.with_filter(filter.and(gate)).boxed()),
        Some(
            Remember(Arc::clone(&health.faults))
                .with_filter(Remember::hears())
                .boxed(),
        ),
        audit
            .as_ref()
            .map(|audit| json_lines(audit).with_filter(audit_alone).boxed()),
    ]
    .into_iter()
    .flatten()
    .collect();
    registry().with(layers).try_init()?;
    // There was no log before this one.
    let _ = AUDIT_QUEUE.set(audit.unwrap_or(log));
    let queues = streams.iter().map(|it| Arc::clone(&it.queue)).collect();
    for stream in streams {
        stream.start()?;
    }
    log_panics();
    let levels = LogLevels {
        filter: handle,
        audit_elsewhere,
    };
    Ok(Logging { levels, queues })
}

/// Takes a place for an audit event that is about to be emitted. `false`: there is none, and the
/// event is counted as lost. Waits for nothing.
pub fn take_audit_place() -> bool {
    AUDIT_QUEUE
        .get()
        .is_none_or(|queue| queue.take_audit_place())
}

/// Like [`take_audit_place`], and waits for a place, two seconds at most.
pub async fn wait_for_audit_place() -> bool {
    match AUDIT_QUEUE.get() {
        Some(queue) => queue.wait_for_audit_place().await,
        None => true,
    }
}

/// Who is heard in the log, and from which level on.
fn targets(configured: LogLevel, audit_elsewhere: bool) -> Targets {
    let own = level(configured);
    let libraries = own.min(LevelFilter::WARN);
    let chatter = if own >= LevelFilter::DEBUG {
        libraries
    } else {
        LevelFilter::OFF
    };
    // Nobody asked for less than the audit trail: it goes on at any level.
    let audit = if audit_elsewhere {
        LevelFilter::OFF
    } else {
        own.max(LevelFilter::INFO)
    };
    Targets::new()
        .with_default(libraries)
        .with_targets(OWN_TARGETS.map(|target| (target, own)))
        .with_targets(CHATTER.map(|target| (target, chatter)))
        // Every client that leaves in mid-request is an error to it; we say so in the access log.
        .with_target("pingora_proxy", LevelFilter::OFF)
        // It tells of every node at every attempt, many times a second; the health of the
        // dependency says once what is the matter.
        .with_target("redis::cluster_handling", LevelFilter::OFF)
        .with_target(AUDIT, audit)
        .with_target("access", own.max(LevelFilter::INFO))
}

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

fn json_lines(queue: &Arc<Queue>) -> Boxed {
    fmt::layer()
        .with_writer(Entrance {
            queue: Arc::clone(queue),
            json: true,
        })
        .json()
        .flatten_event(true)
        .map_event_format(|own| Lines { own, json: true })
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
