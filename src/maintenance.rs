//! `difygate migrate` and `difygate prune`: one job on the database, told line by line.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    clock::Clock,
    config::{Config, PostgresConfig},
    health::Health,
    retention::{self, Pruned},
    store::postgres::{self, PgSessionStore, PostgresLink},
};

/// Longest time that one statement of a job may take. Nobody waits for an answer to a request, and
/// a table may be large.
const STATEMENT_TIME: Duration = Duration::from_secs(60);

/// Creates or verifies the token table and says what was done.
///
/// # Errors
///
/// When Postgres cannot say, or when something is wrong that a person has to put right.
pub async fn migrate(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<()> {
    let migration = link(config, clock)?.migrate().await?;
    let mut out = io::stdout();
    for line in &migration.done {
        writeln!(out, "{line}")?;
    }
    if migration.wrong.is_empty() {
        return Ok(());
    }
    for line in &migration.wrong {
        writeln!(out, "error: {line}")?;
    }
    anyhow::bail!(
        "{} things are not as they have to be",
        migration.wrong.len()
    )
}

/// Runs one retention pass and says how far it is.
///
/// # Errors
///
/// When Postgres cannot say; the batches before stay done.
pub async fn prune(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<()> {
    let sessions = PgSessionStore::new(link(config, clock)?);
    let mut out = io::stdout();
    let days = config.tokens.retention_days;
    let progress = |rows| {
        // The pass goes on even where nobody reads along.
        let _ = writeln!(io::stdout(), "deleted {rows} rows so far");
    };
    let Pruned { rows, gave_way } = retention::prune(&sessions, days, progress).await?;
    writeln!(
        out,
        "deleted {rows} rows that were dead for more than {days} days"
    )?;
    if gave_way {
        writeln!(
            out,
            "another process is pruning at this moment and does the rest"
        )?;
    }
    Ok(())
}

/// Returns the statements that give the role of the configuration what the gateway needs.
///
/// # Errors
///
/// When the configuration names no role.
pub fn grants(config: &Config) -> anyhow::Result<String> {
    let role = postgres::role(&config.postgres)?
        .context("postgres.url names no role; say which with --role")?;
    Ok(grants_to(&role))
}

/// Returns the statements that give a role what the gateway needs.
pub fn grants_to(role: &str) -> String {
    postgres::grants(role)
}

fn link(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<PostgresLink>> {
    let config = PostgresConfig {
        timeout: STATEMENT_TIME,
        ..config.postgres.clone()
    };
    let health = Arc::clone(&Health::new(clock).postgres);
    Ok(PostgresLink::new(&config, health)?)
}
