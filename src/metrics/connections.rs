//! Connections of the public listeners: how many are open, and what became of the others.

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use super::{PerLabel, counter, register};

/// How far a connection is, and what is spoken on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// PROXY header or TLS handshake are under way.
    Opening,
    /// HTTP/1.1, and whatever it was upgraded to.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// Every member, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Opening, Self::Http1, Self::Http2];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }
}

/// Why a connection ended before a request could come over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFailure {
    /// With `server.proxy_protocol`, it was none of `server.trusted_proxies`.
    Stranger,
    /// The PROXY header was missing, wrong or broken off.
    ProxyHeader,
    /// The TLS handshake failed.
    Tls,
    /// It was not open within `server.request_header_timeout`.
    Deadline,
}

impl ConnectionFailure {
    /// Every member, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Stranger, Self::ProxyHeader, Self::Tls, Self::Deadline];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::ProxyHeader => "proxy_header",
            Self::Tls => "tls",
            Self::Deadline => "deadline",
        }
    }
}

/// What is counted about connections.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    open: [IntGauge; 3],
    /// Connections that were accepted.
    pub accepted: IntCounter,
    /// Connections that had to wait for `server.max_connections`.
    pub waited: IntCounter,
    failed: PerLabel<4>,
}

impl ConnectionMetrics {
    /// Registers everything.
    #[expect(clippy::expect_used, reason = "names and labels are constants")]
    pub(super) fn new(registry: &Registry) -> Self {
        let open = IntGaugeVec::new(
            Opts::new(
                "connections",
                "Open connections of server.listen, by protocol; opening: PROXY header or TLS \
                 handshake are under way.",
            ),
            &["protocol"],
        )
        .expect("a constant name");
        register(registry, open.clone());
        Self {
            open: Protocol::ALL.map(|protocol| open.with_label_values(&[protocol.as_str()])),
            accepted: counter(
                registry,
                "connections_accepted_total",
                "Connections of server.listen that were accepted.",
            ),
            waited: counter(
                registry,
                "connections_waited_total",
                "Connections that had to wait, since server.max_connections were open.",
            ),
            failed: PerLabel::new(
                registry,
                (
                    "connections_failed_total",
                    "Connections that ended before a request could come, by reason.",
                ),
                "reason",
                ConnectionFailure::ALL.map(ConnectionFailure::as_str),
            ),
        }
    }

    /// Counts a connection as open, for as long as what is returned lives.
    pub fn begin(&self) -> OpenConnection {
        self.accepted.inc();
        OpenConnection::of(&self.open, Protocol::Opening)
    }

    /// Counts a connection that came to nothing.
    pub fn failed(&self, reason: ConnectionFailure) {
        self.failed.0[reason as usize].inc();
    }

    /// Returns how many are open.
    pub fn open(&self, protocol: Protocol) -> u64 {
        u64::try_from(self.open[protocol as usize].get()).unwrap_or_default()
    }

    /// Returns how many came to nothing for a reason.
    pub fn failures(&self, reason: ConnectionFailure) -> u64 {
        self.failed.0[reason as usize].get()
    }
}

/// An open connection's place in the gauge, given back however it ends.
#[derive(Debug)]
pub struct OpenConnection {
    open: [IntGauge; 3],
    protocol: Protocol,
}

impl OpenConnection {
    fn of(open: &[IntGauge; 3], protocol: Protocol) -> Self {
        open[protocol as usize].inc();
        Self {
            open: open.clone(),
            protocol,
        }
    }

    /// Tells what is spoken from now on.
    pub fn speaks(&mut self, protocol: Protocol) {
        self.open[self.protocol as usize].dec();
        self.open[protocol as usize].inc();
        self.protocol = protocol;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open[self.protocol as usize].dec();
    }
}
