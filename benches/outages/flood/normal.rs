//! The normal traffic: clients with hot tokens, each sending at its own steady pace on a thread
//! apart from the flood's.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::connection::{Answer, Connection};

const CLIENTS: usize = 8;

/// Between two requests of a client: 800 a second in all.
const EVERY: Duration = Duration::from_millis(10);

/// What is being measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    None,
    Quiet,
    Flood,
    Over,
}

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    /// By the phase that a request was due in.
    latencies: [Mutex<Vec<Duration>>; 3],
    violations: Mutex<Vec<String>>,
}

/// The clients, on a thread of their own.
#[derive(Debug)]
pub(crate) struct Normal {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Normal {
    pub(crate) fn start(gateway: SocketAddr, requests: Vec<Vec<u8>>) -> Self {
        let shared = Arc::new(Shared::default());
        let clients = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(use_gateway(gateway, requests.into(), clients));
        });
        Self { shared, thread }
    }

    /// Measures for this phase from now on.
    pub(crate) fn takes(&self, phase: Phase) {
        self.shared.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Takes what was measured; returns p50 and p99 in seconds.
    pub(crate) fn quantiles(&self, phase: Phase) -> [f64; 2] {
        let mut latencies = self.shared.latencies[phase as usize].lock().unwrap();
        let mut latencies = std::mem::take(&mut *latencies);
        latencies.sort_unstable();
        [0.5, 0.99].map(|share| quantile(&latencies, share).as_secs_f64())
    }

    /// Ends the clients; returns what was not as it must be.
    pub(crate) fn end(self) -> Vec<String> {
        self.takes(Phase::Over);
        self.thread.join().unwrap();
        std::mem::take(&mut *self.shared.violations.lock().unwrap())
    }
}

async fn use_gateway(gateway: SocketAddr, requests: Arc<[Vec<u8>]>, shared: Arc<Shared>) {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (requests, shared) = (Arc::clone(&requests), Arc::clone(&shared));
        clients.spawn(async move {
            let mut connection = Connection::to(gateway);
            // Spread over the interval, so that they do not come in bursts.
            tokio::time::sleep(EVERY / CLIENTS as u32 * number as u32).await;
            let mut due = interval(EVERY);
            // What is late is counted from when it was due: a client that waits for one slow
            // answer would otherwise leave out the others that would have been slow.
            due.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for turn in number.. {
                let at = due.tick().await;
                let phase = shared.phase.load(Ordering::Relaxed);
                if phase == Phase::Over as u8 {
                    return;
                }
                let request = &requests[turn % requests.len()];
                let answer = connection.exchange(request).await;
                let took = Instant::now() - at;
                if answer != Answer::Status(200) {
                    let text = format!("a hot token got {answer:?}");
                    shared.violations.lock().unwrap().push(text);
                }
                let latencies = &shared.latencies[usize::from(phase)];
                latencies.lock().unwrap().push(took);
            }
        });
    }
    clients.join_all().await;
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((last * share) as usize)
        .copied()
        .unwrap_or_default()
}
