//! Dead rows of the token table are deleted after a while (`contract/tokens.md`, "Retention").

use std::{sync::Arc, time::Duration};

use crate::{
    health::Chain,
    store::{SessionStore, StoreError},
};

/// Rows in one batch. Each batch is a transaction of its own, short enough to be in nobody's way.
pub const BATCH: u32 = 500;

/// How long after its start a process prunes for the first time: not while everything starts, and
/// not so late that a deployment which restarts often never gets there.
const FIRST_PASS: Duration = Duration::from_secs(5 * 60);

/// How often it does so afterwards.
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// What a pass has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Rows deleted.
    pub rows: u64,
    /// Whether another process was at it, so that this one stopped.
    pub gave_way: bool,
}

/// Deletes every row that has been dead for more than `days`, batch by batch; `progress` hears of
/// the rows so far after each.
///
/// # Errors
///
/// When the store cannot say; the batches before stay done.
pub async fn prune(
    sessions: &dyn SessionStore,
    days: u16,
    mut progress: impl FnMut(u64),
) -> Result<Pruned, StoreError> {
    let mut rows = 0;
    loop {
        let Some(batch) = sessions.prune(days, BATCH).await? else {
            return Ok(Pruned {
                rows,
                gave_way: true,
            });
        };
        rows += batch;
        if batch > 0 {
            progress(rows);
        }
        if batch < u64::from(BATCH) {
            return Ok(Pruned {
                rows,
                gave_way: false,
            });
        }
    }
}

/// Prunes once a day for ever. Every replica does; one at a time gets a turn, and the others then
/// find little left to do.
pub async fn keep_pruning(sessions: Arc<dyn SessionStore>, days: u16) {
    tokio::time::sleep(FIRST_PASS).await;
    loop {
        match prune(&*sessions, days, |_| {}).await {
            Ok(Pruned { rows, gave_way }) => tracing::info!(rows, gave_way, "dead tokens deleted"),
            Err(error) => tracing::warn!(
                error = %Chain(&error),
                "dead tokens could not be deleted; the next try is in a day"
            ),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
