//! Where a request came from: whose word is taken for it, and what the upstream hears of it.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use http::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};
use pingora::{Result, protocols::l4::socket, proxy::Session};

use super::{REQUEST_ID, value};
use crate::gateway::{Ctx, Gateway, ctx::RequestId};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(in crate::gateway) const FORWARDED_PROTO: HeaderName =
    HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Longest text of an address: eight groups of four hexadecimal digits.
const LONGEST_ADDRESS: usize = 39;

impl Gateway {
    /// Finds out who is at the other end, and takes the request's name from a trusted proxy.
    pub(in crate::gateway) fn identify(&self, session: &Session, ctx: &mut Ctx) -> Option<IpAddr> {
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
}

/// Says where the request came from.
pub(super) fn add_forwarded(
    session: &Session,
    headers: &mut HeaderMap,
    peer_trusted: bool,
) -> Result<()> {
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

/// Returns the scheme that is spoken on the connection itself.
pub(in crate::gateway) fn own_scheme(session: &Session) -> &'static str {
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
