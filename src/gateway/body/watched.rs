//! A stream of HTTP/2 whose body is watched.
//!
//! pingora reads a stream's body without any limit of time and has no place to put one, so the
//! stream goes by what pingora calls a custom session: everything is handed on as it is, except for
//! the reading of the body.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    protocols::{
        Digest,
        http::{
            HttpTask,
            custom::{CustomMessageWrite, server},
            v2::server::HttpSession,
        },
        l4::socket::SocketAddr,
    },
};

use crate::listener::{Neighbours, Pace};

/// How long to hold still before another body of the connection is looked at again, which keeps
/// the client from sending this one.
const EXCUSE: Duration = Duration::from_secs(1);

/// The stream.
pub(super) struct Watched {
    stream: HttpSession,
    pace: Pace,
    neighbours: Arc<Neighbours>,
    /// Whether the neighbours count this body among those that nobody reads.
    unread: bool,
}

impl Watched {
    /// Begins to watch.
    pub(super) fn new(stream: HttpSession, pace: Pace) -> Self {
        let neighbours = stream.digest().and_then(Neighbours::of).unwrap_or_default();
        let mut watched = Self {
            stream,
            pace,
            neighbours,
            unread: false,
        };
        watched.leave();
        watched
    }

    /// The body is left unread.
    fn leave(&mut self) {
        if !self.unread {
            self.unread = true;
            self.neighbours.leave();
        }
    }

    /// It is read, or over.
    fn take_up(&mut self) {
        if self.unread {
            self.unread = false;
            self.neighbours.take_up();
        }
    }

    /// Reads the next piece, unless it comes too slowly.
    async fn read(&mut self) -> Result<Option<Bytes>> {
        self.take_up();
        let reading = Reading(self);
        let Self {
            stream,
            pace,
            neighbours,
            ..
        } = &mut *reading.0;
        let mut read = pin!(stream.read_body_bytes());
        let piece = poll_fn(|cx| {
            if let Poll::Ready(piece) = read.as_mut().poll(cx) {
                return Poll::Ready(Ok(piece));
            }
            loop {
                match pace.waits(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(_) if neighbours.any_unread() => pace.excuse(EXCUSE),
                    Poll::Ready(slow) => return Poll::Ready(Err(slow)),
                }
            }
        })
        .await;
        match piece {
            Ok(piece) => {
                let length = piece
                    .as_ref()
                    .ok()
                    .and_then(Option::as_ref)
                    .map_or(0, Bytes::len);
                pace.received(length);
                piece
            }
            Err(slow) => {
                let why = "while reading downstream request body";
                Err(Error::because(ErrorType::ReadError, why, slow).into_down())
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.take_up();
    }
}

/// A read under way. It may well be given up: pingora begins it anew after every piece of a
/// response.
struct Reading<'a>(&'a mut Watched);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.pace.pauses();
        if !self.0.stream.is_body_done() {
            self.0.leave();
        }
    }
}

#[async_trait]
impl server::Session for Watched {
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read().await
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.stream.is_body_done() {
            self.take_up();
            return self.stream.read_body_or_idle(no_body_expected).await;
        }
        self.read().await
    }

    fn req_header(&self) -> &RequestHeader {
        self.stream.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.stream.req_header_mut()
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        while self.read().await?.is_some() {}
        Ok(())
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.stream.write_response_header(resp, end)
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.stream.write_response_header_ref(resp, end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.stream.write_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.stream.write_trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.stream.response_duplex_vec(tasks).await
    }

    /// HTTP/2 has none.
    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.stream.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.stream.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.stream.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.stream.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.stream.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.stream.response_written()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.stream.shutdown();
    }

    fn is_body_done(&mut self) -> bool {
        self.stream.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.stream.finish()
    }

    fn is_body_empty(&mut self) -> bool {
        self.stream.is_body_empty()
    }

    fn body_bytes_sent(&self) -> usize {
        self.stream.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.stream.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.stream.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.stream.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.stream.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.stream.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.stream.pseudo_raw_h1_request_header()
    }

    fn enable_retry_buffering(&mut self) {
        self.stream.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.stream.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.stream.get_retry_buffer()
    }

    /// There is nothing beside HTTP on this connection.
    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
