//! How many files the process may have open, and for how many clients that is enough.
//!
//! Linux gives most processes a soft limit of 1,024, for the sake of programs that use `select`, and
//! a hard one far above it. At the limit nothing can be opened any more: no client's connection, but
//! no connection to the upstream, Redis or Postgres either. So clients have to wait before that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files of a client's connection: its own, and the upstream's while that is asked. Over HTTP/2 each
/// further request has one more (`server.max_extra_streams`).
const PER_CLIENT: u64 = 2;

/// Files that a serving thread waits with, and some to spare.
const PER_THREAD: u64 = 8;

/// Connections to a Redis server: one for commands, one that reports changes.
const PER_REDIS: u64 = 2;

/// Files for all else: the standard streams, listeners, who asks the admin listener, connections that
/// replace others before those have ended, name servers, what `SIGHUP` reads.
const RESERVE: u64 = 64;

/// Largest part of the files that connections to the upstream may have while nobody uses them.
const IDLE_PART: usize = 8;

/// Raises the soft limit to the hard one, and lowers `server.max_connections` to what even that does
/// not allow, which is then said; with it `server.max_extra_streams` and `upstream.keepalive`.
pub fn fit(config: &mut Config) {
    let Some(files) = raise() else { return };
    let configured = Shares::of(config);
    let in_force = configured.within(files, needed(config));
    config.server.max_connections = in_force.connections;
    if config.server.tls.is_some() {
        config.server.max_extra_streams = in_force.streams;
    }
    config.upstream.keepalive = in_force.idle;
    for (key, configured, in_force) in [
        (
            "server.max_connections",
            configured.connections,
            in_force.connections,
        ),
        (
            "server.max_extra_streams",
            configured.streams,
            in_force.streams,
        ),
        ("upstream.keepalive", configured.idle, in_force.idle),
    ] {
        if in_force < configured {
            tracing::warn!(
                key,
                configured,
                in_force,
                files,
                "the process may not have as many files open as so many connections need: raise \
                 the hard limit (systemd: LimitNOFILE=; shell: ulimit -Hn; container: --ulimit \
                 nofile=), or lower the key"
            );
        }
    }
}

/// How many there may be of what takes files for the sake of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shares {
    /// Client connections, each with a request.
    connections: usize,
    /// Requests beside those; none where HTTP/2 is not spoken.
    streams: usize,
    /// Connections to the upstream that wait for the next request.
    idle: usize,
}

impl Shares {
    /// Takes them from the configuration.
    fn of(config: &Config) -> Self {
        let server = &config.server;
        let streams = server.tls.as_ref().map_or(0, |_| server.max_extra_streams);
        Self {
            connections: server.max_connections,
            streams,
            idle: config.upstream.keepalive,
        }
    }

    /// Lowers them to what there is room for where `needed` of `files` are not theirs: clients and
    /// streams in the same proportion, always one of each that there may be.
    fn within(self, files: u64, needed: u64) -> Self {
        let idle = self.idle.min(few(files) / IDLE_PART).max(1);
        let room = files.saturating_sub(needed).saturating_sub(many(idle));
        let wanted = PER_CLIENT * many(self.connections) + many(self.streams);
        if wanted <= room {
            return Self { idle, ..self };
        }
        // Smaller than what is wanted, which keys bound at some millions.
        let streams = few(room * many(self.streams) / wanted);
        let connections = few((room - many(streams)) / PER_CLIENT);
        Self {
            connections: connections.max(1),
            streams: streams.max(self.streams.min(1)),
            idle,
        }
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
    let redis = many(config.redis.cluster_nodes.len().max(1));
    RESERVE
        + PER_THREAD * many(config.server.threads.get())
        + PER_REDIS * redis
        + many(config.postgres.pool_size)
        + many(config.server.listen.len())
}

fn many(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn few(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in force of 10,000 clients, so many streams and 256 idle connections.
    fn in_force(streams: usize, files: u64) -> (usize, usize, usize) {
        let configured = Shares {
            connections: 10_000,
            streams,
            idle: 256,
        };
        let Shares {
            connections,
            streams,
            idle,
        } = configured.within(files, 100);
        (connections, streams, idle)
    }

    #[test]
    fn what_is_not_needed_otherwise_is_the_clients() {
        assert_eq!(in_force(0, 20_356), (10_000, 0, 256));
        assert_eq!(in_force(0, 20_355), (9_999, 0, 256));
        assert_eq!(in_force(0, 1_024), (398, 0, 128));
        assert_eq!(in_force(0, 100), (1, 0, 12));
        assert_eq!(in_force(0, 5), (1, 0, 1));
    }

    #[test]
    fn streams_and_clients_are_fewer_in_proportion() {
        assert_eq!(in_force(2_500, 22_856), (10_000, 2_500, 256));
        assert_eq!(in_force(2_500, 1_024), (354, 88, 128));
        assert_eq!(in_force(2_500, 100), (1, 1, 12));
    }
}
