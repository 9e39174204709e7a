//! Clients that send the next request as soon as the last response is complete.

use std::{
    net::SocketAddr,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::upstream::{CHUNKS, STREAM};

/// Longest wait for anything; a stream takes two seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a client uses connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Again and again, until a response says that it is the last.
    Reused,
    /// A new one for each request.
    New,
    /// As long as a stream takes.
    Stream,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reused => "connections used again",
            Self::New => "new connections",
            Self::Stream => "streams of two seconds",
        }
    }
}

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Load {
    target: SocketAddr,
    token: String,
    answered: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    pub(crate) const fn new(target: SocketAddr, token: String) -> Self {
        Self {
            target,
            token,
            answered: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn request(&self, path: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\n\r\n",
            self.token
        )
    }
}

/// What became of a client's requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    pub(crate) connections: u64,
    pub(crate) failures: Vec<String>,
    pub(crate) slowest: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.connections += other.connections;
        self.failures.extend(other.failures);
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// Sends requests until the load is over.
pub(crate) async fn run(kind: Kind, load: Arc<Load>) -> (Kind, Tally) {
    let request = match kind {
        Kind::Reused | Kind::New => load.request("/openapi/v1/apps"),
        Kind::Stream => load.request(STREAM),
    };
    let mut tally = Tally::default();
    let mut connection = None;
    while !load.stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let is_new = connection.is_none();
        tally.connections += u64::from(is_new);
        let exchange = exchange(kind, connection.take(), &load, &request);
        match timeout(PATIENCE, exchange).await {
            Ok(Ok((used, is_last))) => {
                tally.answered += 1;
                load.answered.fetch_add(1, Ordering::Relaxed);
                let keep = kind == Kind::Reused && !is_last;
                connection = keep.then_some(used);
                if kind != Kind::Stream {
                    tally.slowest = tally.slowest.max(begun.elapsed());
                }
            }
            Ok(Err(why)) => tally.failures.push(why),
            Err(_) => tally.failures.push("no answer in time".to_owned()),
        }
    }
    (kind, tally)
}

type Connection = BufReader<TcpStream>;

/// Sends one request and reads its whole response; tells whether it is the connection's last.
async fn exchange(
    kind: Kind,
    connection: Option<Connection>,
    load: &Load,
    request: &str,
) -> Result<(Connection, bool), String> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => {
            let stream = TcpStream::connect(load.target).await;
            BufReader::new(stream.map_err(|error| format!("connecting: {error}"))?)
        }
    };
    let sent = connection.write_all(request.as_bytes()).await;
    sent.map_err(|error| format!("sending: {error}"))?;
    let mut status = String::new();
    let mut length = 0;
    let mut is_last = false;
    loop {
        let line = line(&mut connection).await?;
        if status.is_empty() {
            status = line;
        } else if let Some((name, value)) = line.split_once(':') {
            let value = value.trim();
            match &*name.to_ascii_lowercase() {
                "content-length" => length = value.parse().map_err(|_| line.clone())?,
                "connection" => is_last |= value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        } else if line.is_empty() {
            break;
        } else {
            return Err(format!("not a header: {line:?}"));
        }
    }
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(status);
    }
    if kind == Kind::Stream {
        read_stream(&mut connection).await?;
    } else {
        let mut body = vec![0; length];
        let read = connection.read_exact(&mut body).await;
        read.map_err(|error| format!("reading a body: {error}"))?;
    }
    Ok((connection, is_last))
}

async fn read_stream(connection: &mut Connection) -> Result<(), String> {
    let mut chunks = 0;
    loop {
        let length = line(connection).await?;
        let length = usize::from_str_radix(&length, 16).map_err(|_| length)?;
        let mut chunk = vec![0; length + 2];
        let read = connection.read_exact(&mut chunk).await;
        read.map_err(|error| format!("reading a stream: {error}"))?;
        if length == 0 {
            break;
        }
        chunks += String::from_utf8_lossy(&chunk).matches("data:").count();
    }
    if chunks == CHUNKS {
        Ok(())
    } else {
        Err(format!("{chunks} of {CHUNKS} events"))
    }
}

async fn line(connection: &mut Connection) -> Result<String, String> {
    let mut line = String::new();
    match connection.read_line(&mut line).await {
        Ok(0) => Err("closed before the response was complete".to_owned()),
        Ok(_) => Ok(line.trim_end().to_owned()),
        Err(error) => Err(format!("reading a head: {error}")),
    }
}
