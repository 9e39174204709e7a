//! How long each call took, and how long the gateway was busy with any.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use crate::support::{RequestBuilder, Response};

/// The calls of a login, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Code,
    PendingPoll,
    Approve,
    GrantedPoll,
    Account,
    Revoke,
}

impl Call {
    pub(crate) const ALL: [Self; 6] = [
        Self::Code,
        Self::PendingPoll,
        Self::Approve,
        Self::GrantedPoll,
        Self::Account,
        Self::Revoke,
    ];

    /// Returns what the table calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::PendingPoll => "token, pending",
            Self::Approve => "approve",
            Self::GrantedPoll => "token, granted",
            Self::Account => "account",
            Self::Revoke => "revoke",
        }
    }
}

/// Sends requests, so many at a time, and takes their times.
#[derive(Debug)]
pub(crate) struct Meter {
    gateway: SocketAddr,
    slots: Semaphore,
    latencies: [RefCell<Vec<Duration>>; Call::ALL.len()],
    under_way: Cell<usize>,
    busy_since: Cell<Instant>,
    busy: Cell<Duration>,
}

impl Meter {
    pub(crate) fn new(gateway: SocketAddr, slots: usize) -> Self {
        Self {
            gateway,
            slots: Semaphore::new(slots),
            latencies: Default::default(),
            under_way: Cell::new(0),
            busy_since: Cell::new(Instant::now()),
            busy: Cell::new(Duration::ZERO),
        }
    }

    /// Sends a request over a connection of its own, as a command does that runs and ends. The
    /// wait for a slot is the generator's, not the gateway's, and does not count.
    pub(crate) async fn sends(&self, call: Call, request: &RequestBuilder) -> Response {
        let _slot = self.slots.acquire().await.unwrap();
        let sent = Instant::now();
        if self.under_way.replace(self.under_way.get() + 1) == 0 {
            self.busy_since.set(sent);
        }
        let response = request.send(self.gateway).await;
        self.latencies[call as usize]
            .borrow_mut()
            .push(sent.elapsed());
        self.under_way.set(self.under_way.get() - 1);
        if self.under_way.get() == 0 {
            let busy = self.busy_since.get().elapsed();
            self.busy.set(self.busy.get() + busy);
        }
        response
    }

    /// Returns how long at least one request was under way.
    pub(crate) const fn busy(&self) -> Duration {
        self.busy.get()
    }

    /// Returns how long each of a kind of call took, the shortest first.
    pub(crate) fn latencies(&self, call: Call) -> Vec<Duration> {
        let mut latencies = self.latencies[call as usize].borrow().clone();
        latencies.sort_unstable();
        latencies
    }
}
