//! How slowly a request's body may come, over either protocol.
//!
//! Over HTTP/1.1 the connection itself sees that a read waits. Over HTTP/2 the codec reads for all
//! streams at once, so each stream is watched where pingora reads its body.

use std::{io, mem};

use pingora::{Error, protocols::http::ServerSession, proxy::Session};

use super::{Gateway, http1};
use crate::listener::{Connection, Pace, TooSlow};

mod watched;

use watched::Watched;

impl Gateway {
    /// Watches over the body that is still to come, if there is one.
    pub(super) fn watch_body(&self, session: &mut Session) {
        let Some(rate) = self.settings.body_rate else {
            return;
        };
        if session.is_body_done() {
            return;
        }
        let waits = http1::waits_to_be_asked(session.req_header());
        // Over HTTP/2 nobody is asked: pingora sends no 100 there.
        let waits_to_be_asked = waits && session.as_http1().is_some();
        let pace = || Pace::new(rate, waits_to_be_asked, self.clock.clone());
        if let Some(stream) = session.stream() {
            Connection::expect_body(stream, pace);
            if !waits_to_be_asked {
                // pingora's own limit between two reads, which would be the shorter one where the
                // slack is long.
                session.set_read_timeout(None);
            }
            return;
        }
        if session.as_http2().is_none() {
            return;
        }
        let placeholder = ServerSession::new_custom(Box::new(()));
        let downstream = &mut *session.downstream_session;
        *downstream = match mem::replace(downstream, placeholder) {
            ServerSession::H2(stream) => {
                ServerSession::new_custom(Box::new(Watched::new(stream, pace())))
            }
            other => other,
        };
    }
}

/// Ends the watch over HTTP/1.1: all of the body has come. Over HTTP/2 it ends by itself.
pub(super) fn is_over(session: &Session) {
    if let Some(stream) = session.stream() {
        Connection::end_body(stream);
    }
}

/// Tells whether a request failed because its body came too slowly.
pub(super) fn was_too_slow(error: &Error) -> bool {
    let cause = error.root_cause();
    let told = cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    cause.is::<TooSlow>() || told.is_some_and(|told| told.is::<TooSlow>())
}
