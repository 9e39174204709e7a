//! Lines on their way to a stream. Whoever logs puts a line here and goes on; one thread for each
//! stream writes. A reader that has stopped, or a disk that is slow, holds up that thread alone.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::{AUDIT, visible::visible_line};
use crate::metrics::{Line, LineDrop, LogMetrics};

/// Most bytes of the log that wait: some 3,000 access lines, three seconds of a flood's.
const MOST_LOG_BYTES: usize = 1024 * 1024;

/// Most audit events that wait, beside the log's lines: 5 KiB each at the very most. They have places
/// of their own, so that no flood of access lines takes them.
const MOST_AUDIT_EVENTS: usize = 1_024;

/// Longest wait of an endpoint for a place. It is rare, and a person waits for the answer.
const AUDIT_PATIENCE: Duration = Duration::from_secs(2);

/// The lines of one stream.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Notified when a line has come.
    filled: Condvar,
    /// Notified when none is left.
    emptied: Condvar,
    /// One permit for each audit event that may still come.
    audit_room: Semaphore,
    metrics: LogMetrics,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<(Line, Box<[u8]>)>,
    log_bytes: usize,
    /// Whether a line has been taken and is not written yet.
    writing: bool,
    lost: Lost,
}

/// What has been lost since that was last said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) lines: u64,
    pub(super) audit_events: u64,
    /// Lines of libraries that there were too many of.
    pub(super) left_out: u64,
}

impl Queue {
    pub(super) fn new(metrics: LogMetrics) -> Self {
        Self {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            audit_room: Semaphore::new(MOST_AUDIT_EVENTS),
            metrics,
        }
    }

    /// Takes a place for an audit event that is about to be written, if there is one.
    pub(super) fn take_audit_place(&self) -> bool {
        let taken = self.audit_room.try_acquire();
        let taken = taken.map(tokio::sync::SemaphorePermit::forget).is_ok();
        if !taken {
            self.lose(Line::Audit, LineDrop::QueueFull);
        }
        taken
    }

    /// Like [`Queue::take_audit_place`], and waits for a place, two seconds at most.
    pub(super) async fn wait_for_audit_place(&self) -> bool {
        if let Ok(Ok(permit)) = timeout(AUDIT_PATIENCE, self.audit_room.acquire()).await {
            permit.forget();
            return true;
        }
        self.lose(Line::Audit, LineDrop::QueueFull);
        false
    }

    fn put(&self, kind: Line, line: &[u8]) {
        let mut waiting = self.lock();
        if kind == Line::Log {
            if waiting.log_bytes + line.len() > MOST_LOG_BYTES {
                drop(waiting);
                return self.lose(kind, LineDrop::QueueFull);
            }
            waiting.log_bytes += line.len();
        }
        waiting.lines.push_back((kind, line.into()));
        self.metrics.waiting.inc();
        drop(waiting);
        self.filled.notify_one();
    }

    /// Waits for the next line and takes it.
    pub(super) fn next(&self) -> (Line, Box<[u8]>) {
        let mut waiting = self.lock();
        loop {
            if let Some((kind, line)) = waiting.lines.pop_front() {
                waiting.writing = true;
                if kind == Line::Log {
                    waiting.log_bytes -= line.len();
                }
                return (kind, line);
            }
            let woken = self.filled.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes that the line which was taken is written, or never will be. Returns what else has been
    /// lost before, once there is room again to say so.
    pub(super) fn done(&self, kind: Line, written: bool) -> Option<Lost> {
        if kind == Line::Audit {
            self.audit_room.add_permits(1);
        }
        if !written {
            self.lose(kind, LineDrop::Unwritten);
        }
        self.metrics.waiting.dec();
        let mut waiting = self.lock();
        waiting.writing = false;
        if waiting.lines.is_empty() {
            self.emptied.notify_all();
        }
        let there_is_room = written && waiting.log_bytes <= MOST_LOG_BYTES / 2;
        (there_is_room && waiting.lost != Lost::default())
            .then(|| std::mem::take(&mut waiting.lost))
    }

    /// Waits until everything is written, for `limit` at most; tells whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let is_busy = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        let waited = self.emptied.wait_timeout_while(self.lock(), limit, is_busy);
        let (guard, late) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(guard);
        !late.timed_out()
    }

    /// Counts a library's line for which there is no room in its second.
    pub(super) fn leave_out(&self) {
        self.metrics.drop(Line::Log, LineDrop::TooMany);
    }

    /// Notes how many lines were left out in the seconds before, so that it is said.
    pub(super) fn say_left_out(&self, lines: u64) {
        self.lock().lost.left_out += lines;
    }

    fn lose(&self, kind: Line, why: LineDrop) {
        self.metrics.drop(kind, why);
        let mut waiting = self.lock();
        match kind {
            Line::Log => waiting.lost.lines += 1,
            Line::Audit => waiting.lost.audit_events += 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue(…)")
    }
}

/// A queue as `tracing` writes to it.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) queue: std::sync::Arc<Queue>,
    /// Whether lines are JSON.
    pub(super) json: bool,
}

/// Where one event goes.
pub(super) struct Entry<'q> {
    queue: &'q Queue,
    json: bool,
    kind: Line,
}

impl<'q> MakeWriter<'q> for Entrance {
    type Writer = Entry<'q>;

    fn make_writer(&'q self) -> Entry<'q> {
        Entry {
            queue: &self.queue,
            json: self.json,
            kind: Line::Log,
        }
    }

    fn make_writer_for(&'q self, event: &Metadata<'_>) -> Entry<'q> {
        let kind = match event.target() {
            AUDIT => Line::Audit,
            _ => Line::Log,
        };
        Entry {
            queue: &self.queue,
            json: self.json,
            kind,
        }
    }
}

impl io::Write for Entry<'_> {
    /// An event comes in one piece, which is its line: whoever's text is in it, it is finished here.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.put(self.kind, &visible_line(line, self.json));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_bounded_and_leaves_audit_events_their_places() {
        let queue = Queue::new(LogMetrics::new());
        let line = [b'x'; 1_024];
        for _ in 0..2 * MOST_LOG_BYTES / line.len() {
            queue.put(Line::Log, &line);
        }
        assert_eq!(queue.metrics.waiting.get(), 1_024);
        for _ in 0..MOST_AUDIT_EVENTS {
            assert!(queue.take_audit_place());
            queue.put(Line::Audit, &line);
        }
        assert!(!queue.take_audit_place());

        let mut said = Vec::new();
        for _ in 0..1_024 + MOST_AUDIT_EVENTS {
            let (kind, _) = queue.next();
            said.extend(queue.done(kind, true));
        }
        let (lines, audit_events) = (1_024, 1);
        assert_eq!(
            said,
            [Lost {
                lines,
                audit_events,
                left_out: 0
            }]
        );
        assert!(queue.take_audit_place());
        assert_eq!(queue.metrics.waiting.get(), 0);
        assert!(queue.flush(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_waits_for_a_place_but_not_for_ever() {
        let queue = Queue::new(LogMetrics::new());
        for _ in 0..MOST_AUDIT_EVENTS {
            assert!(queue.take_audit_place());
            queue.put(Line::Audit, b"event\n");
        }
        assert!(!queue.wait_for_audit_place().await);

        let (placed, ()) = tokio::join!(queue.wait_for_audit_place(), async {
            let (kind, _) = queue.next();
            queue.done(kind, true);
        });
        assert!(placed);
    }

    #[test]
    fn what_could_not_be_written_is_said_with_the_first_line_that_is() {
        let queue = Queue::new(LogMetrics::new());
        let said = [false, false, true, true].map(|written| {
            queue.put(Line::Log, b"line\n");
            let (kind, _) = queue.next();
            queue.done(kind, written).map(|lost| lost.lines)
        });
        assert_eq!(said, [None, None, Some(2), None]);
    }

    #[test]
    fn a_line_has_nothing_that_a_terminal_obeys_when_it_is_in_the_queue() {
        for (json, written) in [(true, r#""a\u009bb""#), (false, r#""a\u{9b}b""#)] {
            let queue = std::sync::Arc::new(Queue::new(LogMetrics::new()));
            let entrance = Entrance { queue, json };
            let line = "\"a\u{9b}b\"\n".as_bytes();

            io::Write::write_all(&mut entrance.make_writer(), line).unwrap();

            let (_, waiting) = entrance.queue.next();
            assert_eq!(&*waiting, format!("{written}\n").as_bytes());
        }
    }
}
