//! `[log]`: what is logged, and how.

use super::parse::{Parsed, choice};
use super::reader::Reader;
use super::value::Value;

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

/// The gateway's log, on standard output.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The least severe level that is logged.
    pub level: LogLevel,
    /// How a line is written.
    pub format: LogFormat,
    /// Which requests get a line.
    pub access: AccessLog,
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

impl LogConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            level: reader.value("log.level", level),
            format: reader.value("log.format", choice(FORMATS)),
            access: reader.value("log.access", choice(ACCESSES)),
        }
    }
}

fn level(value: &Value) -> Parsed<LogLevel> {
    choice(PYTHON_LEVELS)(value).or_else(|_| choice(LEVELS)(value))
}
