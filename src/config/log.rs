//! `[log]`: what is logged, and how.

use std::path::PathBuf;

use super::parse::{Parsed, choice, text};
use super::reader::Reader;
use super::value::{Mismatch, Value};

const LEVELS: &[(&str, LogLevel)] = &[
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// Python's names for levels, as Dify's `LOG_LEVEL` has them.
const PYTHON_LEVELS: &[(&str, LogLevel)] = &[
    ("warning", LogLevel::Warn),
    ("critical", LogLevel::Error),
    ("fatal", LogLevel::Error),
];

const FORMATS: &[(&str, LogFormat)] = &[("json", LogFormat::Json), ("text", LogFormat::Text)];

const ACCESSES: &[(&str, AccessLog)] = &[
    ("off", AccessLog::Off),
    ("errors", AccessLog::Errors),
    ("all", AccessLog::All),
];

/// A path is the third choice; see [`audit`].
const AUDIT_STREAMS: &[(&str, AuditStream)] =
    &[("log", AuditStream::Log), ("stdout", AuditStream::Stdout)];

/// The gateway's log, on standard error.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The least severe level that is logged.
    pub level: LogLevel,
    /// How a line is written.
    pub format: LogFormat,
    /// Which requests get a line.
    pub access: AccessLog,
    /// Where audit events go.
    pub audit: AuditStream,
}

/// Severities, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing at all.
    Off,
    /// What the gateway failed to do.
    Error,
    /// What will become an error if nobody looks.
    Warn,
    /// What an operator wants to have seen.
    Info,
    /// What helps to find a cause.
    Debug,
    /// Everything.
    Trace,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For reading at a terminal.
    Text,
}

/// Which requests get a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those that failed.
    Errors,
    /// Every one.
    All,
}

/// Where audit events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditStream {
    /// Into the log, with `"target": "audit"`.
    Log,
    /// To standard output, always as JSON; the log goes to standard error.
    Stdout,
    /// To the end of this file, always as JSON.
    File(PathBuf),
}

impl LogConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            level: reader.value("log.level", level),
            format: reader.value("log.format", choice(FORMATS)),
            access: reader.value("log.access", choice(ACCESSES)),
            audit: reader.value("log.audit", audit),
        }
    }
}

fn level(value: &Value) -> Parsed<LogLevel> {
    choice(PYTHON_LEVELS)(value).or_else(|_| choice(LEVELS)(value))
}

fn audit(value: &Value) -> Parsed<AuditStream> {
    choice(AUDIT_STREAMS)(value).or_else(|mismatch| match text(value) {
        Ok(path) if path.starts_with('/') => Ok(AuditStream::File(path.into())),
        _ => Err(Mismatch {
            need: format!("{}, or an absolute path", mismatch.need),
            ..mismatch
        }),
    })
}
