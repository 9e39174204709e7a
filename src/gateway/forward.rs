//! What the upstream gets to see: the header rules of `contract/surfaces.md`, "Forwarding".

use http::{
    HeaderMap, Request,
    header::{self, HeaderName, HeaderValue},
    request,
};
use pingora::{Error, ErrorType, Result, http::RequestHeader, proxy::Session};

use super::{Ctx, Gateway};
use crate::{
    config::{ForwardAuthorization, ForwardIdentity},
    http::headers::{self, Meaning, meaning_of},
};

mod identity;
mod origin;

use self::{identity::add_identity, origin::add_forwarded};

pub(super) use self::origin::{FORWARDED_PROTO, own_scheme};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers that say where a request came from, what it is called, and in which trace it is.
const ADDED: usize = 6;

/// Most headers that say who sent it.
const ADDED_IDENTITY: usize = 8;

/// Takes away a `Connection` header's power over what we keep or add, before pingora obeys it.
pub(super) fn disarm_connection(session: &mut Session) {
    let head = session.req_header_mut();
    let mut values = head
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let Some(first) = values.next() else { return };
    let harmless = match values.next() {
        None => headers::harmless_connection(first),
        Some(second) => {
            let all: Vec<&str> = [first, second].into_iter().chain(values).collect();
            let joined = all.join(", ");
            Some(headers::harmless_connection(&joined).unwrap_or(joined))
        }
    };
    if let Some(harmless) = harmless {
        head.remove_header(&header::CONNECTION);
        if !harmless.is_empty()
            && let Ok(value) = HeaderValue::from_str(&harmless)
        {
            let _ = head.insert_header(header::CONNECTION, value);
        }
    }
}

impl Gateway {
    /// Rewrites the head that goes on to the upstream. Runs after pingora's own hop-by-hop rules,
    /// so that what is put in here stays in.
    pub(super) fn rewrite(
        &self,
        session: &Session,
        upstream: &mut RequestHeader,
        ctx: &Ctx,
    ) -> Result<()> {
        let strip =
            ctx.guarded && self.settings.forward.authorization == ForwardAuthorization::Strip;
        let identity = match self.settings.forward.identity {
            ForwardIdentity::None => 0,
            ForwardIdentity::Headers | ForwardIdentity::Signed => ADDED_IDENTITY,
        };
        edit_headers(upstream, ADDED + identity, |headers| {
            if strip {
                headers.remove(header::AUTHORIZATION);
            }
            drop_forged(headers, ctx.peer_trusted);
            add_forwarded(session, headers, ctx.peer_trusted)?;
            headers.insert(REQUEST_ID, value(ctx.request_id_bytes())?);
            if let Some(trace) = &ctx.trace {
                trace.pass_on(headers)?;
            }
            let Some(entry) = &ctx.principal else {
                return Ok(());
            };
            match self.settings.forward.identity {
                ForwardIdentity::None => Ok(()),
                ForwardIdentity::Headers => add_identity(headers, entry),
                ForwardIdentity::Signed => {
                    add_identity(headers, entry)?;
                    self.add_signed_identity(headers, entry)
                }
            }
        })
    }
}

/// Edits a head's headers as the plain map that they are.
///
/// pingora keeps every name's spelling in a second map and edits both at each step. Names mean the
/// same in any case (RFC 9110 section 5.1), so the second map is let go: the head goes on in lower
/// case. There will be `added` headers more at most.
fn edit_headers(
    head: &mut RequestHeader,
    added: usize,
    edit: impl FnOnce(&mut HeaderMap) -> Result<()>,
) -> Result<()> {
    let from_uri = head.uri.path_and_query().map(|target| target.as_str());
    // What a URI cannot hold as it came would be lost.
    let raw_target =
        (from_uri.map(str::as_bytes) != Some(head.raw_path())).then(|| head.raw_path().to_vec());
    let placeholder = RequestHeader::from(Request::new(()).into_parts().0);
    let mut parts = request::Parts::from(std::mem::replace(head, placeholder));
    parts.headers.reserve(added);
    let edited = edit(&mut parts.headers);
    *head = RequestHeader::from(parts);
    if let Some(target) = raw_target {
        head.set_raw_path(&target)?;
    }
    edited
}

/// Removes what only the gateway, or only a trusted proxy, may say.
pub fn drop_forged(headers: &mut HeaderMap, peer_trusted: bool) {
    let forged = |name: &HeaderName| match meaning_of(name.as_str()) {
        Meaning::Identity | Meaning::RequestId | Meaning::Path | Meaning::Shadow => true,
        // A trusted proxy's word counts, but only under its right name.
        Meaning::Forwarding => !peer_trusted || name.as_str().contains(['_', '.']),
        Meaning::Other => false,
    };
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| forged(name))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

fn value(bytes: &[u8]) -> Result<HeaderValue> {
    HeaderValue::from_bytes(bytes)
        .map_err(|error| Error::because(ErrorType::InternalError, "a header value", error))
}
