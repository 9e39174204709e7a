//! The load: keep-alive connections that each send the next request as soon as the last response
//! is complete.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};

use crate::processes::cpu_time;

/// Time at the start of a round that does not count: connections open, caches fill.
const LEAD_IN: Duration = Duration::from_millis(500);

const LEADING_IN: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: vec![0; 8 * 1024],
        }
    }

    /// Sends a request, reads the whole response and returns its status.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.unwrap();
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await.unwrap();
            assert!(read > 0, "the proxy has closed a connection");
            filled += read;
            let response = &self.buffer[..filled];
            let Some(end) = response.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = str::from_utf8(&response[..end]).unwrap();
            if filled == end + 4 + content_length(head) {
                return head[9..12].parse().unwrap();
            }
        }
    }
}

fn content_length(head: &str) -> usize {
    head.split("\r\n")
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .expect("every response has a Content-Length")
        .1
        .parse()
        .unwrap()
}

/// Returns the request for which a token is shown.
pub(crate) fn request(token: &str) -> Vec<u8> {
    format!(
        "GET /openapi/v1/apps?page=1&limit=20 HTTP/1.1\r\n\
         Host: dify.example\r\n\
         User-Agent: load/1\r\n\
         Accept: */*\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

/// What a round has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) cpu_micros: f64,
}

/// Sends the same request over `connections` for `length`; `pid` is the proxy's.
pub(crate) async fn run(
    address: SocketAddr,
    pid: u32,
    connections: usize,
    request: &Arc<[u8]>,
    length: Duration,
) -> Round {
    let phase = Arc::new(AtomicU8::new(LEADING_IN));
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let mut connection = Connection::open(address).await;
        let (request, phase) = (Arc::clone(request), Arc::clone(&phase));
        clients.spawn(async move {
            let mut latencies = Vec::with_capacity(1 << 16);
            loop {
                let sent = Instant::now();
                assert_eq!(connection.exchange(&request).await, 200);
                match phase.load(Ordering::Relaxed) {
                    LEADING_IN => {}
                    COUNTING => latencies.push(sent.elapsed()),
                    _ => return latencies,
                }
            }
        });
    }
    sleep(LEAD_IN.min(length)).await;
    let (cpu_before, begun) = (cpu_time(pid), Instant::now());
    phase.store(COUNTING, Ordering::Relaxed);
    sleep(length).await;
    phase.store(OVER, Ordering::Relaxed);
    let (cpu, took) = (cpu_time(pid) - cpu_before, begun.elapsed());

    let mut latencies = clients.join_all().await.concat();
    latencies.sort_unstable();
    assert!(!latencies.is_empty(), "no request was answered in a round");
    let count = latencies.len() as f64;
    let quantile = |share: f64| {
        let latency: Duration = latencies[((count - 1.0) * share) as usize];
        latency.as_secs_f64() * 1e6
    };
    Round {
        requests_per_second: count / took.as_secs_f64(),
        p50_micros: quantile(0.5),
        p99_micros: quantile(0.99),
        cpu_micros: cpu.as_secs_f64() * 1e6 / count,
    }
}
