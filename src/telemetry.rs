//! Logs: JSON or text on standard error, through tracing.
//!
//! Libraries are heard at `warn` and above only, at whatever level the gateway itself speaks:
//! below that, pingora prints whole request heads and the Postgres client prints parameters.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, registry,
    util::SubscriberInitExt as _, util::TryInitError,
};

use crate::config::{LogConfig, LogFormat, LogLevel};

/// Our own targets: the crate, its audit trail and its access log.
const OWN_TARGETS: [&str; 3] = ["difygate", "audit", "access"];

/// Starts logging as configured.
///
/// # Errors
///
/// When the process logs already.
pub fn init(config: &LogConfig) -> Result<(), TryInitError> {
    let own = level(config.level);
    let libraries = own.min(LevelFilter::WARN);
    // Nobody asked for less than the audit trail: it goes on at any level.
    let filter = Targets::new()
        .with_default(libraries)
        .with_targets(OWN_TARGETS.map(|target| (target, own)))
        // Every client that leaves in mid-request is an error to it; we say so in the access log.
        .with_target("pingora_proxy", LevelFilter::OFF)
        .with_target("audit", own.max(LevelFilter::INFO))
        .with_target("access", own.max(LevelFilter::INFO));
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match config.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    registry().with(lines.with_filter(filter)).try_init()?;
    log_panics();
    Ok(())
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
