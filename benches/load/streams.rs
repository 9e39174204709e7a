//! Streams of server-sent events, all open at once, each event on its way as soon as it was
//! written.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    accounting::{Meter, resident_mib},
    connection::Connection,
    generator::{Order, Round, all_or_error},
};

/// Longest wait until every stream has begun.
const PATIENCE: Duration = Duration::from_secs(30);

const LEADING_IN: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// Runs a round over as many streams as there are to be connections. What counts is events; their
/// latency is from when the upstream wrote them.
pub(crate) async fn run(order: &Order<'_>) -> Result<Round, String> {
    let phase = Arc::new(AtomicU8::new(LEADING_IN));
    let begun = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for (connection, request) in order.connect().await? {
        let (phase, begun) = (Arc::clone(&phase), Arc::clone(&begun));
        clients.spawn(async move {
            let read = read(connection, &request, &phase, &begun).await;
            // A stream that has failed is not waited for.
            read.inspect_err(|_| _ = begun.fetch_add(1, Ordering::Relaxed))
        });
    }
    let patience = Instant::now() + PATIENCE;
    while begun.load(Ordering::Relaxed) < order.connections && Instant::now() < patience {
        sleep(Duration::from_millis(10)).await;
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

async fn read(
    mut connection: Connection,
    request: &[u8],
    phase: &AtomicU8,
    begun: &AtomicUsize,
) -> Result<Vec<Duration>, String> {
    let explained = |error: std::io::Error| error.to_string();
    let mut events = Events::default();
    let mut latencies = Vec::new();
    let first = connection.open_stream(request).await.map_err(explained)?;
    events.raw.extend(first);
    let mut has_begun = false;
    loop {
        while let Some(event) = events.next()? {
            if !has_begun {
                has_begun = true;
                begun.fetch_add(1, Ordering::Relaxed);
            }
            match phase.load(Ordering::Relaxed) {
                LEADING_IN => {}
                COUNTING => latencies.push(event.age()),
                _ => return Ok(latencies),
            }
        }
        events
            .raw
            .extend_from_slice(connection.more().await.map_err(explained)?);
    }
}

/// Takes a chunked body of events apart.
#[derive(Debug, Default)]
struct Events {
    /// Chunks, as they come.
    raw: Vec<u8>,
    /// What was in them.
    text: Vec<u8>,
    /// Events so far.
    seen: u64,
}

#[derive(Debug)]
struct Event {
    /// Nanoseconds since 1970 when the upstream wrote it.
    written: u64,
}

impl Event {
    fn age(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.saturating_sub(Duration::from_nanos(self.written))
    }
}

impl Events {
    /// Returns the next complete event, which must be the one that is next.
    fn next(&mut self) -> Result<Option<Event>, String> {
        while let Some(line) = memchr::memmem::find(&self.raw, b"\r\n") {
            let size = str::from_utf8(&self.raw[..line]).ok();
            let size = size.and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let size = size.ok_or("a chunk has no size")?;
            if size == 0 {
                return Err("a stream has ended".to_owned());
            }
            let (begin, end) = (line + 2, line + 2 + size);
            if self.raw.len() < end + 2 {
                break;
            }
            self.text.extend_from_slice(&self.raw[begin..end]);
            self.raw.drain(..end + 2);
        }
        let Some(end) = memchr::memmem::find(&self.text, b"\n\n") else {
            return Ok(None);
        };
        let event = str::from_utf8(&self.text[..end]).map_err(|_| "an event is no text")?;
        let number = |name: &str| -> Option<u64> {
            let (_, rest) = event.split_once(name)?;
            rest.split(',').next()?.parse().ok()
        };
        let (seq, written) = number("\"seq\":")
            .zip(number("\"at\":"))
            .ok_or_else(|| format!("no event: {event}"))?;
        if seq != self.seen {
            return Err(format!("event {seq} after {} events", self.seen));
        }
        self.seen += 1;
        self.text.drain(..end + 2);
        Ok(Some(Event { written }))
    }
}
