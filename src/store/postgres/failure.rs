//! What the client library's errors mean.

use tokio_postgres::{
    Error,
    error::{DbError, Severity, SqlState},
};

use super::STORE;
use crate::store::StoreError;

/// Reads what came of a statement.
///
/// Who ends the connection has not refused the statement: a pooler that has lost its server says so
/// with whatever code it likes, and the statement may have been carried out.
pub(super) fn of_statement(error: Error) -> StoreError {
    if error.as_db_error().is_some_and(ends_the_connection) {
        return unreachable(error);
    }
    of_opening(error)
}

/// Reads what came of an attempt to connect. There a refusal ends the connection as well, and is one
/// all the same: a wrong password, no such database.
pub(super) fn of_opening(error: Error) -> StoreError {
    match error.code() {
        Some(code) if !is_going_away(code) => rejected(error),
        _ => unreachable(error),
    }
}

/// What a row holds is not what the schema promises.
pub(super) fn decode(error: Error) -> StoreError {
    rejected(error)
}

/// There is no connection, or it broke.
pub(super) fn unreachable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unreachable {
        store: STORE,
        source: Some(Box::new(error)),
    }
}

fn rejected(error: Error) -> StoreError {
    StoreError::Rejected {
        store: STORE,
        source: Box::new(error),
    }
}

/// The severity is asked for in either form: the one that is never translated is missing in what
/// poolers send.
fn ends_the_connection(said: &DbError) -> bool {
    matches!(
        said.parsed_severity(),
        Some(Severity::Fatal | Severity::Panic)
    ) || matches!(said.severity(), "FATAL" | "PANIC")
}

/// Tells whether the server is going away, is not there yet or has become a replica: the connection
/// is useless, and another attempt may find a better one.
fn is_going_away(code: &SqlState) -> bool {
    // Classes of errors, PostgreSQL's appendix A: the connection's own, and the operator's hand on
    // the server. A statement that is cancelled is 57014.
    const CLASSES: [&str; 2] = ["08", "57P"];
    const CODES: [SqlState; 2] = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::TOO_MANY_CONNECTIONS,
    ];
    CODES.contains(code) || CLASSES.iter().any(|class| code.code().starts_with(class))
}
