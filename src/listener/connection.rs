//! An accepted connection, as pingora wants one, and what pingora leaves to be desired between
//! two requests: a deadline for a whole header section, and an answer of ours to a malformed one.
//!
//! Reads are not buffered: pingora's parser has a buffer of its own, and thousands of idle
//! connections should not each hold another.

use std::{
    fmt,
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use pingora::protocols::{ALPN, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf},
    sync::oneshot,
    time::{Sleep, sleep},
};

use super::{
    Pace,
    body_watch::BodyWatch,
    chunked::Misframed,
    linger::{MOST_DISCARDED, Remains, way_back},
    transport::{Carrier, Transport, seen_by_pingora},
};

mod behind;

pub use behind::Gap;

/// Size of a connection's write buffer in bytes: a response's head and a small body leave in one
/// segment and one system call. Larger writes go past it.
const WRITE_BUFFER: usize = 4 * 1024;

/// What becomes of header sections that never turn into a request.
pub trait HeadPolicy: Send + Sync + fmt::Debug {
    /// Returns how many bytes a header section may have.
    fn max_bytes(&self) -> usize;

    /// Returns the whole answer to one that has more.
    fn too_large(&self, peer: SocketAddr) -> Vec<u8>;

    /// Returns how long a header section may take from its first byte to its last.
    fn timeout(&self) -> Duration;

    /// Returns the whole answer, head and body, to a header section that cannot be parsed.
    fn malformed(&self, peer: SocketAddr) -> Vec<u8>;
}

/// An accepted connection.
#[derive(Debug)]
pub struct Connection {
    io: BufWriter<Transport>,
    heads: Arc<dyn HeadPolicy>,
    /// Whether a request has been parsed and not ended yet.
    in_request: AtomicBool,
    /// Whether one has been parsed since the last read: the next bytes begin another head.
    head_over: AtomicBool,
    /// Whether a body is left of the last request: what comes next belongs to it.
    body_left: AtomicBool,
    head: HeadProgress,
    /// How many bytes have come since the last request ended.
    head_bytes: usize,
    /// Whether that is too many, and no end of a header section among them.
    too_large: bool,
    /// How the body keeps up that is being read. Locked by who has the connection lent alone.
    body: Mutex<Option<Box<Pace>>>,
    /// What the raw bytes say about a chunked body.
    watch: BodyWatch,
    /// Whether the body under way is chunked.
    chunked: AtomicBool,
    /// Whether what came along with the head is no chunked body.
    misframed: AtomicBool,
    /// Whether all of the request has come: what comes now is none of it.
    is_whole: AtomicBool,
    /// How many bytes came behind a request and were thrown away: no other can come over this
    /// connection.
    discarded: usize,
    /// Where the socket goes that is not to be closed at once.
    way_back: Option<oneshot::Sender<Carrier>>,
}

/// How far the header section has come that is being read.
#[derive(Debug)]
enum HeadProgress {
    /// Nothing of it is there.
    Awaited,
    /// Some of it is there; most come whole, so that no timer is set before another read is
    /// needed.
    Begun,
    /// The rest has to come before the timer goes off.
    Timed(Pin<Box<Sleep>>),
}

impl HeadProgress {
    const fn is_awaited(&self) -> bool {
        matches!(self, Self::Awaited)
    }
}

impl Connection {
    /// Takes a connection over. What remains of it is there once it has been dropped.
    pub(super) fn new(transport: Transport, heads: Arc<dyn HeadPolicy>) -> (Self, Remains) {
        let (way_back, remains) = way_back();
        let connection = Self {
            io: BufWriter::with_capacity(WRITE_BUFFER, transport),
            heads,
            in_request: AtomicBool::new(false),
            head_over: AtomicBool::new(false),
            body_left: AtomicBool::new(false),
            head: HeadProgress::Awaited,
            head_bytes: 0,
            too_large: false,
            body: Mutex::new(None),
            watch: BodyWatch::default(),
            chunked: AtomicBool::new(false),
            misframed: AtomicBool::new(false),
            is_whole: AtomicBool::new(false),
            discarded: 0,
            way_back: Some(way_back),
        };
        (connection, remains)
    }

    fn transport(&self) -> &Transport {
        self.io.get_ref()
    }

    /// Tells whether something is on its way that nobody has flushed.
    fn has_unsent(&self) -> bool {
        !self.io.buffer().is_empty() || self.transport().has_unsent()
    }

    /// Tells the connection below `stream` that a request has been parsed.
    pub fn begin_request(stream: &Stream) {
        if let Some(connection) = (**stream).as_any().downcast_ref::<Self>() {
            connection.in_request.store(true, Ordering::Release);
            connection.head_over.store(true, Ordering::Release);
            connection.chunked.store(false, Ordering::Release);
            connection.is_whole.store(false, Ordering::Release);
        }
    }

    /// Tells the connection below `stream` that it has ended, and whether some of its body is still
    /// to come, or something behind it.
    pub fn end_request(stream: &Stream, body_left: bool) {
        if let Some(connection) = (**stream).as_any().downcast_ref::<Self>() {
            connection.in_request.store(false, Ordering::Release);
            connection.body_left.store(body_left, Ordering::Release);
        }
    }

    /// Tells the connection below `stream` that a body is to come, unless it knows already.
    pub fn expect_body(stream: &Stream, pace: impl FnOnce() -> Pace) {
        if let Some(connection) = (**stream).as_any().downcast_ref::<Self>() {
            let mut body = connection
                .body
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            body.get_or_insert_with(|| Box::new(pace()));
        }
    }

    fn body(&mut self) -> Option<&mut Pace> {
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        body.as_deref_mut()
    }

    /// Reads within a request: its body, or whether the client is still there.
    fn poll_within_request(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if *self.is_whole.get_mut() {
            return self.poll_behind_request(cx);
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            let received = buf.filled().len() - before;
            self.watch.count(received);
            if let Some(pace) = self.body() {
                pace.received(received);
            }
            if *self.chunked.get_mut() && self.watch.take_body(&buf.filled()[before..]).is_err() {
                buf.set_filled(before);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, Misframed)));
            }
            return read;
        }
        self.send_unsent(cx)?;
        match self.body() {
            Some(pace) => pace.waits(cx).map(|slow| Err(slow.into())),
            None => Poll::Pending,
        }
    }

    /// Nobody waits with something unsent in hand: pingora does not flush the beginning of a body
    /// whose length is known.
    fn send_unsent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.has_unsent()
            && let Poll::Ready(Err(error)) = Pin::new(&mut self.io).poll_flush(cx)
        {
            return Err(error);
        }
        Ok(())
    }

    /// A client that is to read is not waited for to write.
    fn unless_unread<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_pending()
            && let Some(pace) = self.body()
        {
            pace.pauses();
        }
        written
    }

    /// Tells the connection below `stream` that the request's body is chunked. From here on reads
    /// fail with [`Misframed`] where it is not in order.
    ///
    /// # Errors
    ///
    /// [`Misframed`] if that can be told already.
    pub fn expect_chunks(stream: &Stream) -> Result<(), Misframed> {
        let Some(connection) = (**stream).as_any().downcast_ref::<Self>() else {
            return Ok(());
        };
        connection.chunked.store(true, Ordering::Release);
        if connection.misframed.load(Ordering::Acquire) {
            return Err(Misframed);
        }
        Ok(())
    }

    /// Tells whether the request line of the request on `stream` is one as it came; pingora mends
    /// what is none.
    pub fn is_request_line_sound(stream: &Stream) -> bool {
        let connection = (**stream).as_any().downcast_ref::<Self>();
        connection.is_none_or(|connection| connection.watch.is_line_sound())
    }

    /// Returns the answer to send in place of `written`, if that is pingora's own to a header
    /// section that it could not use. Bytes of an upstream are only ever written within a request.
    fn in_place_of(&self, written: &[u8]) -> Option<Vec<u8>> {
        if self.in_request.load(Ordering::Acquire) {
            return None;
        }
        let by_pingora = written.windows(15).any(|part| part == b"Server: Pingora");
        (by_pingora && written.starts_with(b"HTTP/1.1 400 "))
            .then(|| self.heads.malformed(self.transport().peer))
    }

    /// Tells whether a header section is coming that has too many bytes already. One that is whole
    /// before it does is judged like any request.
    fn is_too_large(&mut self) -> bool {
        self.too_large |= self.head_bytes > self.heads.max_bytes()
            && !self.watch.is_behind_head()
            && !*self.body_left.get_mut();
        self.too_large
    }

    /// Watches over the time that a header section takes; ready when that is over.
    fn poll_head_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.head {
            HeadProgress::Awaited => Poll::Pending,
            HeadProgress::Begun => {
                let mut timer = Box::pin(sleep(self.heads.timeout()));
                let over = timer.as_mut().poll(cx);
                self.head = HeadProgress::Timed(timer);
                over
            }
            HeadProgress::Timed(timer) => timer.as_mut().poll(cx),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(self.head_over.get_mut()) {
            self.head = HeadProgress::Awaited;
            self.head_bytes = 0;
        }
        if *self.in_request.get_mut() {
            return self.poll_within_request(cx, buf);
        }
        if self.discarded > 0 {
            // What comes now is the rest of something. To pingora it looks as if the client had left.
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        // What is left of a body now is drained in the time of a head.
        *self.body.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        while let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(cx, buf) {
            let received = buf.filled().len() - before;
            if self.head.is_awaited() && received > 0 {
                self.head = HeadProgress::Begun;
            }
            let misframed = self.watch.take_head(&buf.filled()[before..]).is_err();
            *self.misframed.get_mut() = misframed;
            self.head_bytes += received;
            if received == 0 || !self.is_too_large() {
                return Poll::Ready(read);
            }
            // pingora would keep it. It gets to see the client leave, once the answer is on its way.
            buf.set_filled(before);
            if self.watch.is_behind_head() || self.head_bytes > MOST_DISCARDED {
                let answer = self.heads.too_large(self.transport().peer);
                // A socket takes that much at once; who reads nothing has had its chance.
                let _ = Pin::new(&mut self.io).poll_write(cx, &answer);
                let _ = Pin::new(&mut self.io).poll_flush(cx);
                return Poll::Ready(Ok(()));
            }
        }
        ready!(self.poll_head_deadline(cx));
        // To pingora it looks as if the client had left, which it may as well: it gets no answer.
        self.head = HeadProgress::Awaited;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(answer) = self.in_place_of(buf) else {
            let written = Pin::new(&mut self.io).poll_write(cx, buf);
            return self.unless_unread(written);
        };
        // Nothing is buffered between two requests, and the answer is smaller than the buffer: it
        // is taken whole.
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        let taken = ready!(Pin::new(&mut self.io).poll_write(cx, &answer))?;
        debug_assert_eq!(taken, answer.len());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.unless_unread(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.unless_unread(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for Connection {
    /// Gives the socket back where closing it would reset it.
    fn drop(&mut self) {
        if self.has_unread()
            && let Some(way_back) = self.way_back.take()
        {
            // Nobody waits for it when the process ends.
            let _ = way_back.send(self.io.get_mut().take_carrier());
        }
    }
}

seen_by_pingora!(Connection, ALPN::H1);
