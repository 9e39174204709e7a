//! What pingora's errors mean to the client.

use pingora::{Error, ErrorSource, ErrorType};

use super::{body, framing};
use crate::http::{Malformed, Rejection};

/// Turns pingora's error into a refusal, or `None` when nobody is left to be told.
pub(super) fn rejection_of(error: &Error) -> Option<Rejection> {
    if body::was_too_slow(error) {
        return Some(Rejection::SlowBody);
    }
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ErrorType::ReadError) if framing::is_misframed(error) => {
            Some(Rejection::Malformed(Malformed::Body))
        }
        (
            ErrorSource::Downstream,
            ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ReadError
            | ErrorType::ConnectionClosed
            // A stream that the client has reset.
            | ErrorType::H2Error,
        ) => None,
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Some(Rejection::SlowBody),
        // The head that would go on: no body has been read yet.
        (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader) => {
            Some(Rejection::Malformed(Malformed::Connection))
        }
        (ErrorSource::Downstream, _) => Some(Rejection::Malformed(Malformed::Body)),
        (
            _,
            ErrorType::ConnectTimedout
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout,
        ) => Some(Rejection::GatewayTimeout),
        (ErrorSource::Upstream, _) => Some(Rejection::BadGateway),
        (ErrorSource::Internal | ErrorSource::Unset, etype) => match etype {
            ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::SocketError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::InvalidCert => Some(Rejection::BadGateway),
            ErrorType::InvalidHTTPHeader => Some(Rejection::Malformed(Malformed::Connection)),
            _ => Some(Rejection::Internal),
        },
    }
}
