//! The closed loop: keep-alive connections that each send the next request as soon as the last
//! response is complete.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    accounting::{Meter, Spent, resident_mib},
    connection::{Answer, Connection},
    stage::Target,
};

/// Time at the start of a round that does not count: connections open, caches fill.
const LEAD_IN: Duration = Duration::from_millis(400);

const LEADING_IN: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// Returns a request for which a token is shown.
pub(crate) fn request(target: &str, token: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\n\
         Host: dify.example\r\n\
         User-Agent: load/1\r\n\
         Accept: */*\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

/// What a round consists of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) target: &'a Target,
    /// Each connection sends one of them, over and over.
    pub(crate) requests: &'a [Arc<[u8]>],
    /// What has to come back.
    pub(crate) expected: Answer,
    pub(crate) connections: usize,
    pub(crate) length: Duration,
}

/// What a round has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Requests, or events of streams.
    pub(crate) per_second: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    /// The proxy's processor time for each.
    pub(crate) cpu_micros: f64,
    /// The authorizer's.
    pub(crate) beside_micros: f64,
    /// The proxy's memory at the end, its connections still open.
    pub(crate) resident_mib: f64,
}

impl Round {
    /// Puts a round's figures together.
    pub(crate) fn new(spent: Spent, mut latencies: Vec<Duration>, resident_mib: f64) -> Self {
        assert!(!latencies.is_empty(), "nothing was answered in a round");
        latencies.sort_unstable();
        let count = latencies.len() as f64;
        let quantile = |share: f64| {
            let latency = latencies[((count - 1.0) * share) as usize];
            latency.as_secs_f64() * 1e6
        };
        Self {
            per_second: count / spent.took.as_secs_f64(),
            p50_micros: quantile(0.5),
            p99_micros: quantile(0.99),
            cpu_micros: spent.own.as_secs_f64() * 1e6 / count,
            beside_micros: spent.beside.as_secs_f64() * 1e6 / count,
            resident_mib,
        }
    }
}

impl Order<'_> {
    /// Opens the connections, each with the request that it is for.
    pub(crate) async fn connect(&self) -> Result<Vec<(Connection, Arc<[u8]>)>, String> {
        let mut clients = Vec::new();
        for request in self.requests.iter().cycle().take(self.connections) {
            let connection = Connection::open(self.target.address).await;
            let connection = connection.map_err(|error| format!("no connection: {error}"))?;
            clients.push((connection, Arc::clone(request)));
        }
        Ok(clients)
    }

    /// Returns the time before the part that counts.
    pub(crate) fn lead_in(&self) -> Duration {
        LEAD_IN.min(self.length)
    }
}

/// Sends a request and compares what comes back.
pub(crate) async fn ask(
    connection: &mut Connection,
    request: &[u8],
    expected: Answer,
) -> Result<(), String> {
    match connection.exchange(request).await {
        Ok(answer) if answer == expected => Ok(()),
        Ok(answer) => Err(format!("{answer:?} instead of {expected:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs a round. An error says how many connections failed, and how the first of them did.
pub(crate) async fn run(order: &Order<'_>) -> Result<Round, String> {
    let phase = Arc::new(AtomicU8::new(LEADING_IN));
    let mut clients = JoinSet::new();
    for (mut connection, request) in order.connect().await? {
        let (phase, expected) = (Arc::clone(&phase), order.expected);
        clients.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let sent = Instant::now();
                ask(&mut connection, &request, expected).await?;
                match phase.load(Ordering::Relaxed) {
                    LEADING_IN => {}
                    COUNTING => latencies.push(sent.elapsed()),
                    _ => return Ok(latencies),
                }
            }
        });
    }
    sleep(order.lead_in()).await;
    let meter = Meter::start(order.target);
    phase.store(COUNTING, Ordering::Relaxed);
    sleep(order.length).await;
    phase.store(OVER, Ordering::Relaxed);
    let spent = meter.stop();
    let resident = resident_mib(&order.target.processes);
    let latencies = all_or_error(clients.join_all().await)?;
    Ok(Round::new(spent, latencies.concat(), resident))
}

/// Returns what all clients have found, or what went wrong.
pub(crate) fn all_or_error<T>(clients: Vec<Result<T, String>>) -> Result<Vec<T>, String> {
    let count = clients.len();
    let failed = clients.iter().filter(|client| client.is_err()).count();
    let all: Result<Vec<T>, String> = clients.into_iter().collect();
    all.map_err(|first| format!("{failed} of {count} connections failed: {first}"))
}
