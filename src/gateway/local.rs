//! Requests that the gateway answers by itself, up to the door of [`crate::endpoints`].

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use http::{Method, header};
use pingora::{Error, proxy::Session};

use super::{
    Ctx, Gateway, body,
    forward::{FORWARDED_PROTO, own_scheme},
    http1,
};
use crate::{
    endpoints::LocalRequest,
    http::{Malformed, Rejection, Reply, body::MAX_BODY},
    route::{Generation, LocalEndpoint},
};

/// Longest time that a body of at most [`MAX_BODY`] bytes may take to arrive: as long as a head.
const BODY_TIME: Duration = Duration::from_secs(10);

impl Gateway {
    /// Answers a request for a local endpoint; `path` is its canonical path.
    pub(super) async fn serve(
        &self,
        session: &mut Session,
        ctx: &Ctx,
        endpoint: LocalEndpoint,
        path: &str,
    ) -> Result<Reply, Rejection> {
        if !self.endpoints.serves(endpoint) {
            return Err(Rejection::NotFound);
        }
        // Elsewhere a body means nothing; it is drained with the answer.
        let body = if endpoint.method() == Method::POST {
            self.watch_body(session);
            let body = read_body(session).await?;
            body::is_over(session);
            body
        } else {
            Vec::new()
        };
        let head = session.req_header();
        let request = LocalRequest {
            query: head.uri.query().unwrap_or_default(),
            generation: Generation::of(path),
            segment: path.rsplit('/').next().unwrap_or_default(),
            headers: &head.headers,
            body: &body,
            client: ctx.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            scheme: scheme_of(session, ctx),
        };
        self.endpoints.answer(endpoint, &request).await
    }
}

/// Reads a whole body, within bounds of size and time.
async fn read_body(session: &mut Session) -> Result<Vec<u8>, Rejection> {
    let headers = &session.req_header().headers;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY) {
        return Err(Rejection::BodyTooLarge);
    }
    let waits = http1::waits_to_be_asked(session.req_header());
    let reading = async {
        if waits {
            // RFC 9110 section 10.1.1: the client sends the body when it is asked to.
            let asked = session.write_continue_response().await;
            asked.map_err(|_| Rejection::Malformed(Malformed::Body))?;
        }
        let mut body = Vec::new();
        while let Some(chunk) = session.read_request_body().await.map_err(refusal_of)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(Rejection::BodyTooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    tokio::time::timeout(BODY_TIME, reading)
        .await
        .unwrap_or(Err(Rejection::SlowBody))
}

/// Why a body could not be read to its end.
fn refusal_of(error: Box<Error>) -> Rejection {
    if body::was_too_slow(&error) {
        Rejection::SlowBody
    } else {
        Rejection::Malformed(Malformed::Body)
    }
}

/// Returns the scheme that the client used, by what may be believed: a trusted proxy says what the
/// client spoke to it, otherwise it is what is spoken here.
pub(super) fn scheme_of(session: &Session, ctx: &Ctx) -> &'static str {
    let said = session.req_header().headers.get(FORWARDED_PROTO);
    let said = said.filter(|_| ctx.peer_trusted);
    match said.and_then(|said| said.to_str().ok()) {
        Some(said) if said.trim().eq_ignore_ascii_case("https") => "https",
        Some(_) => "http",
        None => own_scheme(session),
    }
}
