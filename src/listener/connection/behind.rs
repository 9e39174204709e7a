//! What a client sends behind a request that is being worked on: the next request, or an empty line
//! as some old clients do (RFC 9112 sections 2.2 and 9.3.2).
//!
//! pingora would take the first byte of it for an offence and break the request off. Here it is
//! thrown away, and the connection ends with the answer: the client sends again what was not
//! answered. Reading goes on, since only who reads sees a client leave.

use std::{
    io,
    pin::Pin,
    sync::{PoisonError, atomic::Ordering},
    task::{Context, Poll},
};

use pingora::protocols::Stream;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::{Connection, MOST_DISCARDED};

/// Bytes that are thrown away at a time.
const PIECE: usize = 1024;

/// Bytes are missing between the request and what a tunnel would carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap;

impl Connection {
    /// Tells the connection below `stream` that all of the request has come: from now on nothing is
    /// read for it.
    pub fn end_body(stream: &Stream) {
        if let Some(connection) = (**stream).as_any().downcast_ref::<Self>() {
            connection.stop_watching();
            connection.is_whole.store(true, Ordering::Release);
        }
    }

    /// Tells the connection below `stream` that what comes from now on is no HTTP.
    ///
    /// # Errors
    ///
    /// [`Gap`] if some of that has been thrown away.
    pub fn switch_protocols(stream: &Stream) -> Result<(), Gap> {
        let Some(connection) = (**stream).as_any().downcast_ref::<Self>() else {
            return Ok(());
        };
        connection.stop_watching();
        connection.is_whole.store(false, Ordering::Release);
        if connection.discarded > 0 {
            return Err(Gap);
        }
        Ok(())
    }

    /// Tells whether something has come behind the request on the connection below `stream`, whose
    /// body has been read to its end, all `length` bytes of it.
    pub fn has_more(stream: &Stream, length: usize) -> bool {
        let connection = (**stream).as_any().downcast_ref::<Self>();
        connection.is_some_and(|connection| {
            let chunked = connection.chunked.load(Ordering::Acquire);
            connection.discarded > 0
                || connection
                    .watch
                    .has_more((!chunked).then_some(length as u64))
        })
    }

    fn stop_watching(&self) {
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Reads behind a request: only the client's leaving is ever told of.
    pub(super) fn poll_behind_request(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Who sends more than that is not watched any further.
        while self.discarded < MOST_DISCARDED {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.io).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if piece.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => self.discarded += piece.filled().len(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        self.send_unsent(cx)?;
        Poll::Pending
    }

    /// Tells whether the client may have sent something that nobody has read.
    pub(super) fn has_unread(&mut self) -> bool {
        let in_head = !self.head.is_awaited() && !*self.head_over.get_mut();
        in_head || *self.body_left.get_mut() || self.discarded > 0
    }
}
