//! A master that is deposed, its successor, and its way back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{RedisResult, Value, aio::MultiplexedConnection, cmd};
use tokio::{task::spawn_blocking, time::sleep};

use super::Stage;

/// Pause between two looks at the sentinels.
const AGAIN: Duration = Duration::from_millis(50);

/// Pause between two looks at whether the other server is promoted: nobody is to know it much
/// earlier than Dify.
const LOOK: Duration = Duration::from_millis(5);

/// Longest wait for the sentinels to do their part.
const SENTINELS_PATIENCE: Duration = Duration::from_secs(40);

impl Stage {
    /// Kills the master, or freezes it, in turn.
    pub(super) async fn depose(&self, round: usize) {
        let master = self.master().await.unwrap_or_default();
        let sentinels = Arc::clone(self.sentinels());
        let order = move || match round % 2 {
            0 => sentinels.stop(master),
            _ => sentinels.freeze(master),
        };
        spawn_blocking(order).await.unwrap();
    }

    async fn master(&self) -> Option<usize> {
        let sentinels = Arc::clone(self.sentinels());
        spawn_blocking(move || sentinels.master()).await.unwrap()
    }

    /// The number of the server that Dify takes for the master.
    fn known_master(&self) -> usize {
        let known = self.addresses.redis.get();
        usize::from(self.sentinels().space(1).addr() == known)
    }

    /// Waits until the other server is promoted, which is when Dify goes there, and until the
    /// sentinels say so.
    pub(super) async fn succeeded(&self) {
        let (begun, successor) = (Instant::now(), 1 - self.known_master());
        let space = self.sentinels().space(successor);
        let mut connection = space.connection().await;
        while !is_master(&mut connection).await {
            assert!(begun.elapsed() < SENTINELS_PATIENCE, "nobody is promoted");
            sleep(LOOK).await;
        }
        self.addresses.redis.set(space.addr());
        while self.master().await != Some(successor) {
            assert!(begun.elapsed() < SENTINELS_PATIENCE, "nobody says so");
            sleep(AGAIN).await;
        }
    }

    /// Brings the deposed master back, and waits until it follows its successor.
    pub(super) async fn rejoin(&self, round: usize) {
        let deposed = 1 - self.known_master();
        let sentinels = Arc::clone(self.sentinels());
        let back = move || match round % 2 {
            0 => sentinels.restart(deposed),
            _ => sentinels.thaw(deposed),
        };
        spawn_blocking(back).await.unwrap();
        let begun = Instant::now();
        let mut connection = self.sentinels().space(deposed).connection().await;
        // As an operator's supervisor would have it; the sentinels would take ten seconds.
        let master = self.addresses.redis.get();
        let mut follow = cmd("REPLICAOF");
        follow.arg(master.ip().to_string()).arg(master.port());
        let () = follow.query_async(&mut connection).await.unwrap();
        loop {
            let mut info = cmd("INFO");
            info.arg("replication");
            // It drops its clients when it becomes a replica.
            let info: String = match info.query_async(&mut connection).await {
                Ok(info) => info,
                Err(_) => {
                    connection = self.sentinels().space(deposed).connection().await;
                    continue;
                }
            };
            if info.contains("role:slave") && info.contains("master_link_status:up") {
                return;
            }
            assert!(
                begun.elapsed() < SENTINELS_PATIENCE,
                "the old master does not follow:\n{info}"
            );
            sleep(AGAIN).await;
        }
    }
}

/// Asks a server whether it is a master; one that changes its role drops its clients.
async fn is_master(connection: &mut MultiplexedConnection) -> bool {
    let role: RedisResult<Vec<Value>> = cmd("ROLE").query_async(connection).await;
    match role {
        Ok(role) => role.first() == Some(&Value::BulkString(b"master".to_vec())),
        // It has just been promoted, if it has not been killed.
        Err(_) => true,
    }
}
