//! What the upstream gets to see: the header rules of `contract/surfaces.md`, "Forwarding".

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderName, HeaderValue};
use pingora::{
    Error, ErrorType, OrErr as _, Result, http::RequestHeader, protocols::l4::socket,
    proxy::Session,
};

use super::{Ctx, Gateway, ctx::RequestId};
use crate::{
    check::entry::Entry,
    clock::Timestamp,
    config::ForwardIdentity,
    http::headers::{self, Meaning, meaning_of},
    jws::IdentityClaims,
    token::TokenKind,
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Least life that a cached signed identity must have left when it is sent, in seconds: it has to
/// survive the way to the upstream and a request that waits there.
const LEAST_IDENTITY_LIFE: u64 = 10;

/// Takes away a `Connection` header's power over what we keep or add, before pingora obeys it.
pub(super) fn disarm_connection(session: &mut Session) {
    let head = session.req_header_mut();
    let all = head.headers.get_all(header::CONNECTION);
    let values: Vec<&str> = all.iter().filter_map(|v| v.to_str().ok()).collect();
    let harmless = match values.as_slice() {
        [] => return,
        [one] => headers::harmless_connection(one),
        several => {
            let joined = several.join(", ");
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
    /// Finds out who is at the other end, and takes the request's name from a trusted proxy.
    pub(super) fn identify(&self, session: &Session, ctx: &mut Ctx) -> Option<IpAddr> {
        let peer = peer_of(session)?;
        let head = session.req_header();
        ctx.peer_trusted = self.trusted_proxies.contains(peer.ip());
        if !ctx.peer_trusted {
            return Some(peer.ip().to_canonical());
        }
        if let Some(id) = head
            .headers
            .get(REQUEST_ID)
            .and_then(|name| RequestId::from_proxy(name.as_bytes()))
        {
            ctx.rename(id);
        }
        let forwarded: Vec<&str> = head
            .headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        Some(
            self.trusted_proxies
                .client_of(peer.ip(), forwarded.into_iter()),
        )
    }

    /// Rewrites the head that goes on to the upstream. Runs after pingora's own hop-by-hop rules,
    /// so that what is put in here stays in.
    pub(super) fn rewrite(
        &self,
        session: &Session,
        upstream: &mut RequestHeader,
        ctx: &Ctx,
    ) -> Result<()> {
        drop_forged(upstream, ctx.peer_trusted);
        add_forwarded(session, upstream, ctx.peer_trusted)?;
        upstream.insert_header(REQUEST_ID, value(ctx.request_id().as_bytes())?)?;
        if let Some(entry) = &ctx.principal {
            match self.settings.forward.identity {
                ForwardIdentity::None => {}
                ForwardIdentity::Headers => add_identity(upstream, entry)?,
                ForwardIdentity::Signed => {
                    add_identity(upstream, entry)?;
                    self.add_signed_identity(upstream, entry)?;
                }
            }
        }
        Ok(())
    }

    fn add_signed_identity(&self, upstream: &mut RequestHeader, entry: &Entry) -> Result<()> {
        let now = self.clock.now();
        let fresh = |expires_at: Timestamp| now.until(expires_at).as_secs() >= LEAST_IDENTITY_LIFE;
        if let Some(signed) = entry.identity.get().filter(|s| fresh(s.expires_at)) {
            upstream.insert_header("X-Dify-Identity", value(signed.jws.as_bytes())?)?;
            return Ok(());
        }
        let signed = self
            .keys
            .sign_identity(&claims(entry), now)
            .or_err(ErrorType::InternalError, "an identity could not be signed")?;
        upstream.insert_header("X-Dify-Identity", value(signed.jws.as_bytes())?)?;
        // Another request may have been first; either is good.
        let _ = entry.identity.set(Box::new(signed));
        Ok(())
    }
}

/// Removes what only the gateway, or only a trusted proxy, may say.
fn drop_forged(upstream: &mut RequestHeader, peer_trusted: bool) {
    let forged = |name: &HeaderName| match meaning_of(name.as_str()) {
        Meaning::Identity | Meaning::RequestId | Meaning::Shadow => true,
        // A trusted proxy's word counts, but only under its right name.
        Meaning::Forwarding => !peer_trusted || name.as_str().contains(['_', '.']),
        Meaning::Other => false,
    };
    let names: Vec<HeaderName> = upstream
        .headers
        .keys()
        .filter(|name| forged(name))
        .cloned()
        .collect();
    for name in names {
        upstream.remove_header(&name);
    }
}

/// Says where the request came from.
fn add_forwarded(
    session: &Session,
    upstream: &mut RequestHeader,
    peer_trusted: bool,
) -> Result<()> {
    if let Some(peer) = peer_of(session) {
        let address = peer.ip().to_canonical().to_string();
        let before: Vec<&[u8]> = upstream
            .headers
            .get_all(FORWARDED_FOR)
            .iter()
            .map(HeaderValue::as_bytes)
            .chain([address.as_bytes()])
            .collect();
        let chain = value(&before.join(&b", "[..]))?;
        upstream.insert_header(FORWARDED_FOR, chain)?;
    }
    let said = |name: HeaderName| peer_trusted && upstream.headers.contains_key(name);
    let (proto, host, port) = (
        said(FORWARDED_PROTO),
        said(FORWARDED_HOST),
        said(FORWARDED_PORT),
    );
    if !proto {
        upstream.insert_header(FORWARDED_PROTO, HeaderValue::from_static("http"))?;
    }
    let authority = session.req_header().headers.get(header::HOST).cloned();
    if let Some(authority) = authority {
        if !port {
            let port = port_of(authority.as_bytes()).unwrap_or(b"80");
            upstream.insert_header(FORWARDED_PORT, value(port)?)?;
        }
        if !host {
            upstream.insert_header(FORWARDED_HOST, authority)?;
        }
    }
    Ok(())
}

/// Returns the port of a `Host` value.
fn port_of(authority: &[u8]) -> Option<&[u8]> {
    let colon = authority.iter().rposition(|byte| *byte == b':')?;
    let port = &authority[colon + 1..];
    (!port.is_empty() && port.iter().all(u8::is_ascii_digit)).then_some(port)
}

/// Says who the request speaks for.
fn add_identity(upstream: &mut RequestHeader, entry: &Entry) -> Result<()> {
    let claims = claims(entry);
    let optional = [
        ("X-Dify-Account-Id", claims.account_id.as_deref()),
        ("X-Dify-Client-Id", claims.client_id),
    ];
    let always = [
        ("X-Dify-Subject-Type", claims.subject_type),
        ("X-Dify-Subject-Email", claims.subject_email),
        ("X-Dify-Subject-Issuer", claims.subject_issuer),
        ("X-Dify-Token-Id", claims.token_id.as_str()),
        ("X-Dify-Scopes", claims.scopes),
    ];
    for (name, text) in always {
        upstream.insert_header(name, value(&visible(text))?)?;
    }
    for (name, text) in optional {
        if let Some(text) = text {
            upstream.insert_header(name, value(&visible(text))?)?;
        }
    }
    Ok(())
}

fn claims(entry: &Entry) -> IdentityClaims<'_> {
    let context = &entry.context;
    let subject = &context.subject;
    IdentityClaims {
        subject_type: subject.kind().subject_type(),
        subject_email: subject.email(),
        subject_issuer: subject.issuer(),
        account_id: subject.account_id().map(|id| id.to_string()),
        client_id: context.client_id.as_deref(),
        token_id: context.token_id.to_string(),
        scopes: scopes_of(subject.kind()),
    }
}

/// The scopes in one string, parted by spaces as OAuth writes them (RFC 6749 section 3.3).
const fn scopes_of(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Account => "full",
        TokenKind::ExternalSso => "apps:run apps:read:permitted-external",
    }
}

/// Returns `text` as it may stand in a header: as it is where all of it is visible ASCII,
/// otherwise percent-encoded (RFC 3986 section 2.1), so that no server has to guess a charset and
/// nobody can smuggle a line break.
fn visible(text: &str) -> std::borrow::Cow<'_, [u8]> {
    /// Controls, spaces and the sign of the encoding itself; non-ASCII always is encoded.
    const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b' ').add(b'%');
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if text.bytes().all(plain) {
        return text.as_bytes().into();
    }
    percent_encoding::utf8_percent_encode(text, ENCODED)
        .to_string()
        .into_bytes()
        .into()
}

fn value(bytes: &[u8]) -> Result<HeaderValue> {
    HeaderValue::from_bytes(bytes)
        .map_err(|error| Error::because(ErrorType::InternalError, "a header value", error))
}

/// Returns the address at the other end of the connection; there is none on a Unix socket.
fn peer_of(session: &Session) -> Option<SocketAddr> {
    match session.client_addr()? {
        socket::SocketAddr::Inet(address) => Some(*address),
        socket::SocketAddr::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_of_scopes_is_what_is_sent() {
        for kind in TokenKind::ALL {
            let names: Vec<_> = kind.scopes().iter().map(|scope| scope.as_str()).collect();
            assert_eq!(scopes_of(kind), names.join(" "));
        }
    }

    #[test]
    fn what_is_not_visible_ascii_is_percent_encoded() {
        assert_eq!(&*visible("ada+x%y@example.com"), b"ada+x%y@example.com");
        assert_eq!(&*visible("é%"), b"%C3%A9%25");
        assert_eq!(&*visible("a\r\nb"), b"a%0D%0Ab");
    }

    #[test]
    fn the_port_is_the_hosts() {
        assert_eq!(port_of(b"dify.example:8443"), Some(&b"8443"[..]));
        assert_eq!(port_of(b"[::1]:80"), Some(&b"80"[..]));
        for authority in [&b"dify.example"[..], b"[::1]", b"a:", b""] {
            assert_eq!(port_of(authority), None);
        }
    }
}
