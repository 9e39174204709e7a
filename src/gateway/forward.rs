//! What the upstream gets to see: the header rules of `contract/surfaces.md`, "Forwarding".

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{
    HeaderMap, Request,
    header::{self, HeaderName, HeaderValue},
    request,
};
use pingora::{
    Error, ErrorType, OrErr as _, Result, http::RequestHeader, protocols::l4::socket,
    proxy::Session,
};

use super::{Ctx, Gateway, ctx::RequestId};
use crate::{
    check::entry::Entry,
    config::{ForwardAuthorization, ForwardIdentity},
    http::headers::{self, Meaning, meaning_of},
    jws::{IdentityClaims, SignedIdentity},
    token::TokenKind,
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SUBJECT_TYPE: HeaderName = HeaderName::from_static("x-dify-subject-type");
const SUBJECT_EMAIL: HeaderName = HeaderName::from_static("x-dify-subject-email");
const SUBJECT_ISSUER: HeaderName = HeaderName::from_static("x-dify-subject-issuer");
const ACCOUNT_ID: HeaderName = HeaderName::from_static("x-dify-account-id");
const CLIENT_ID: HeaderName = HeaderName::from_static("x-dify-client-id");
const TOKEN_ID: HeaderName = HeaderName::from_static("x-dify-token-id");
const SCOPES: HeaderName = HeaderName::from_static("x-dify-scopes");
const IDENTITY: HeaderName = HeaderName::from_static("x-dify-identity");

/// Headers that say where a request came from, what it is called, and in which trace it is.
const ADDED: usize = 6;

/// Most headers that say who sent it.
const ADDED_IDENTITY: usize = 8;

/// Longest text of an address: eight groups of four hexadecimal digits.
const LONGEST_ADDRESS: usize = 39;

/// Least life that a cached signed identity must have left when it is sent: it has to
/// survive the way to the upstream and a request that waits there.
const LEAST_IDENTITY_LIFE: Duration = Duration::from_secs(10);

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
            // What is no text is no address either, and ends the walk where it stands.
            .map(|value| value.to_str().unwrap_or_default())
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

    fn add_signed_identity(&self, headers: &mut HeaderMap, entry: &Entry) -> Result<()> {
        let now = self.clock.now();
        let keys = self.keys.get();
        let keys = &keys.envelopes;
        let made = entry.identity.get();
        if let Some(signed) = made.filter(|it| it.is_fresh(keys, now, LEAST_IDENTITY_LIFE)) {
            headers.insert(IDENTITY, value(signed.as_str().as_bytes())?);
            return Ok(());
        }
        let signed = SignedIdentity::sign(&claims(entry), keys, now)
            .or_err(ErrorType::InternalError, "an identity could not be signed")?;
        headers.insert(IDENTITY, value(signed.as_str().as_bytes())?);
        // Another request may have been first; either is good.
        let _ = entry.identity.set(Box::new(signed));
        Ok(())
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

/// Says where the request came from.
fn add_forwarded(session: &Session, headers: &mut HeaderMap, peer_trusted: bool) -> Result<()> {
    if let Some(peer) = peer_of(session) {
        let chain = forwarded_for(headers, peer.ip().to_canonical())?;
        headers.insert(FORWARDED_FOR, chain);
    }
    let said = |name: HeaderName| peer_trusted && headers.contains_key(name);
    let (proto, host, port) = (
        said(FORWARDED_PROTO),
        said(FORWARDED_HOST),
        said(FORWARDED_PORT),
    );
    if !proto {
        headers.insert(
            FORWARDED_PROTO,
            HeaderValue::from_static(own_scheme(session)),
        );
    }
    let authority = session.req_header().headers.get(header::HOST).cloned();
    if let Some(authority) = authority {
        if !port {
            let port = match port_of(authority.as_bytes()) {
                Some(port) => value(port)?,
                None if own_scheme(session) == "https" => HeaderValue::from_static("443"),
                None => HeaderValue::from_static("80"),
            };
            headers.insert(FORWARDED_PORT, port);
        }
        if !host {
            headers.insert(FORWARDED_HOST, authority);
        }
    }
    Ok(())
}

/// Returns the addresses that the request has come by, the connection's own last.
fn forwarded_for(headers: &HeaderMap, peer: IpAddr) -> Result<HeaderValue> {
    let mut buffer = [0; LONGEST_ADDRESS];
    let length = write_address(&mut buffer, peer);
    let address = buffer.get(..length).unwrap_or_default();
    let mut before = headers.get_all(FORWARDED_FOR).iter().peekable();
    if before.peek().is_none() {
        return value(address);
    }
    let chain: Vec<&[u8]> = before.map(HeaderValue::as_bytes).chain([address]).collect();
    value(&chain.join(&b", "[..]))
}

/// Writes an address as text; returns its length. IPv4 is written by hand: it is in every request,
/// and takes the standard library's machinery a thousand instructions.
fn write_address(buffer: &mut [u8; LONGEST_ADDRESS], address: IpAddr) -> usize {
    let mut rest = &mut buffer[..];
    // Neither is ever too long.
    let _ = match address {
        IpAddr::V4(address) => write_octets(&mut rest, address.octets()),
        IpAddr::V6(address) => write!(rest, "{address}"),
    };
    LONGEST_ADDRESS - rest.len()
}

fn write_octets(out: &mut &mut [u8], octets: [u8; 4]) -> std::io::Result<()> {
    for (at, octet) in octets.into_iter().enumerate() {
        if at > 0 {
            out.write_all(b".")?;
        }
        let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
        let skipped = usize::from(octet < 100) + usize::from(octet < 10);
        out.write_all(digits.get(skipped..).unwrap_or_default())?;
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
fn add_identity(headers: &mut HeaderMap, entry: &Entry) -> Result<()> {
    let claims = claims(entry);
    let always = [
        (SUBJECT_TYPE, claims.subject_type),
        (SUBJECT_EMAIL, claims.subject_email),
        (SUBJECT_ISSUER, claims.subject_issuer),
        (TOKEN_ID, claims.token_id.as_str()),
        (SCOPES, claims.scopes),
    ];
    let optional = [
        (ACCOUNT_ID, claims.account_id.as_deref()),
        (CLIENT_ID, claims.client_id),
    ];
    let known = optional
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)));
    for (name, text) in always.into_iter().chain(known) {
        headers.insert(name, value(&visible(text))?);
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

/// Returns the scheme that is spoken on the connection itself.
pub(super) fn own_scheme(session: &Session) -> &'static str {
    let digest = session.digest();
    if digest.is_some_and(|digest| digest.ssl_digest.is_some()) {
        "https"
    } else {
        "http"
    }
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
    fn addresses_are_written_as_the_standard_library_does() {
        let odd = (0..=255).map(|octet| [octet, 255 - octet, octet / 10, octet % 7]);
        let four = odd.map(IpAddr::from);
        let six = [
            "::1",
            "2001:db8::7",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ];
        for address in four.chain(six.map(|address| address.parse().unwrap())) {
            let mut buffer = [0; LONGEST_ADDRESS];
            let length = write_address(&mut buffer, address);
            assert_eq!(buffer[..length], *address.to_string().as_bytes());
        }
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
