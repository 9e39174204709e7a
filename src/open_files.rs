//! How many files the process may have open, and for how many clients that is enough.
//!
//! Linux gives most processes a soft limit of 1,024, for the sake of programs that use `select`, and
//! a hard one far above it. At the limit nothing can be opened any more: no client's connection, but
//! no connection to the upstream, Redis or Postgres either. So clients have to wait before that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files of a client's connection: its own, and the upstream's while that is asked.
const PER_CLIENT: u64 = 2;

/// Files that a serving thread waits with, and some to spare.
const PER_THREAD: u64 = 8;

/// Connections to a Redis server: one for commands, one that reports changes.
const PER_REDIS: u64 = 2;

/// Files for all else: the standard streams, listeners, who asks the admin listener, connections that
/// replace others before those have ended, name servers, what `SIGHUP` reads.
const RESERVE: u64 = 64;

/// Raises the soft limit to the hard one, and lowers `server.max_connections` to what even that does
/// not allow, which is then said.
pub fn fit(config: &mut Config) {
    let Some(files) = raise() else { return };
    let room = room_for(files, needed(config));
    let configured = config.server.max_connections;
    if room < configured {
        config.server.max_connections = room;
        tracing::warn!(
            key = "server.max_connections",
            configured,
            in_force = room,
            files,
            "the process may not have as many files open as so many connections need: raise the \
             hard limit (systemd: LimitNOFILE=; shell: ulimit -Hn; container: --ulimit nofile=), \
             or lower the key"
        );
    }
}

/// Returns how many files may be open once that is as many as possible; `None` if there is no limit.
fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it was");
            current
        }
    }
}

/// Returns how many files are needed besides those of clients.
fn needed(config: &Config) -> u64 {
    let many = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let redis = many(config.redis.cluster_nodes.len().max(1));
    RESERVE
        + PER_THREAD * many(config.server.threads.get())
        + PER_REDIS * redis
        + many(config.postgres.pool_size)
        + many(config.server.listen.len())
}

/// Returns how many clients there is room for where `needed` of `files` are not theirs; always one.
fn room_for(files: u64, needed: u64) -> usize {
    let clients = files.saturating_sub(needed) / PER_CLIENT;
    usize::try_from(clients).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_otherwise_is_the_clients() {
        assert_eq!(room_for(1_024, 100), 462);
        assert_eq!(room_for(20_100, 100), 10_000);
        assert_eq!(room_for(100, 100), 1);
        assert_eq!(room_for(10, 100), 1);
    }
}
