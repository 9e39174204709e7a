//! An HTTP/2 connection, as pingora wants one: the bytes as they are.
//!
//! The codec below pingora has limits of its own for everything that comes after the preface. That
//! the preface comes at all is seen to here.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pingora::protocols::ALPN;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::transport::{Transport, seen_by_pingora};

/// Length of the client's preface, in bytes (RFC 9113 section 3.4).
const PREFACE: usize = 24;

/// A connection on which HTTP/2 was agreed.
#[derive(Debug)]
pub(super) struct Http2Connection {
    transport: Transport,
    /// How many bytes are still due, and until when; `None` once they have come.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
}

impl Http2Connection {
    /// Takes a connection over, whose preface has to come within `deadline`.
    pub(super) fn new(transport: Transport, deadline: Duration) -> Self {
        Self {
            transport,
            preface: Some((PREFACE, Box::pin(sleep(deadline)))),
        }
    }

    const fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl AsyncRead for Http2Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.transport).poll_read(cx, buf);
        let Some((due, deadline)) = &mut self.preface else {
            return read;
        };
        if read.is_pending() {
            return deadline
                .as_mut()
                .poll(cx)
                .map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        *due = due.saturating_sub(buf.filled().len() - before);
        if *due == 0 {
            self.preface = None;
        }
        read
    }
}

impl AsyncWrite for Http2Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

seen_by_pingora!(Http2Connection, ALPN::H2);
