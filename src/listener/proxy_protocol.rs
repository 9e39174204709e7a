//! The PROXY protocol, versions 1 and 2: a proxy's word for who its client is, before all else.
//!
//! Written down in HAProxy's `doc/proxy-protocol.txt`. Nothing beyond the header is read, so that
//! TLS or HTTP begins exactly where it ends, and of what a version 2 header may carry besides the
//! addresses (TLVs), nothing is looked at.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Longest line of version 1 with its CRLF, in bytes.
const LONGEST_LINE: usize = 107;

/// Most bytes that may follow version 2's fixed part. The addresses take 36; HAProxy's own TLVs fit
/// many times over.
const LONGEST_REST: usize = 4096;

/// Reads the header; `None` where the connection is the proxy's own (`LOCAL`, `UNKNOWN`).
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] for anything that is not a header of a TCP connection, and the
/// reader's own.
pub async fn read_header(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut begin = [0; SIGNATURE.len()];
    reader.read_exact(&mut begin).await?;
    if begin == SIGNATURE {
        let mut fixed = [0; 4];
        reader.read_exact(&mut fixed).await?;
        let [version_command, family, high, low] = fixed;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > LONGEST_REST {
            return Err(invalid("a PROXY header that is too long"));
        }
        let mut rest = vec![0; length];
        reader.read_exact(&mut rest).await?;
        return parse_binary(version_command, family, &rest);
    }
    if !begin.starts_with(b"PROXY ") {
        return Err(invalid("no PROXY header"));
    }
    let mut line = begin.to_vec();
    // One byte at a time: the next one is the client's already.
    while !line.ends_with(b"\n") {
        if line.len() == LONGEST_LINE {
            return Err(invalid("a PROXY line that is too long"));
        }
        line.push(reader.read_u8().await?);
    }
    parse_line(&line)
}

/// Parses version 1, a line of text.
fn parse_line(line: &[u8]) -> io::Result<Option<SocketAddr>> {
    let malformed = || invalid("a malformed PROXY line");
    let line = line.strip_suffix(b"\r\n").ok_or_else(malformed)?;
    let line = str::from_utf8(line).map_err(|_| malformed())?;
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        // What follows says nothing that could be relied on.
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            source,
            destination,
            port,
            other,
        ] => {
            let source = address(family, source).ok_or_else(malformed)?;
            address(family, destination).ok_or_else(malformed)?;
            number(other).ok_or_else(malformed)?;
            let port = number(port).ok_or_else(malformed)?;
            Ok(Some(SocketAddr::new(source, port)))
        }
        _ => Err(malformed()),
    }
}

fn address(family: &str, text: &str) -> Option<IpAddr> {
    match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        _ => text.parse().ok().map(IpAddr::V6),
    }
}

fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Parses version 2: the 13th and 14th byte, and what follows the length.
fn parse_binary(version_command: u8, family: u8, rest: &[u8]) -> io::Result<Option<SocketAddr>> {
    match version_command {
        // LOCAL: a health check, say. The family is to be ignored.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(invalid("an unknown PROXY version or command")),
    }
    let short = || invalid("a PROXY header without its addresses");
    let port = |at: usize| {
        let bytes = rest.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    match family {
        // Unspecified, and Unix sockets: there is no address.
        0x00 | 0x31 => Ok(None),
        0x11 => {
            let source = rest.first_chunk::<4>().ok_or_else(short)?;
            port(10).ok_or_else(short)?;
            let port = port(8).ok_or_else(short)?;
            Ok(Some((Ipv4Addr::from(*source), port).into()))
        }
        0x21 => {
            let source = rest.first_chunk::<16>().ok_or_else(short)?;
            port(34).ok_or_else(short)?;
            let port = port(32).ok_or_else(short)?;
            Ok(Some((Ipv6Addr::from(*source), port).into()))
        }
        _ => Err(invalid("a PROXY header of another transport")),
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a header; what it says, and what is left.
    fn read(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, usize) {
        let mut rest = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let said = runtime.unwrap().block_on(read_header(&mut rest));
        (said, rest.len())
    }

    fn binary(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        let fixed = [version_command, family, length[0], length[1]];
        [&SIGNATURE[..], &fixed, rest].concat()
    }

    #[test]
    fn lines_say_who_it_is_and_nothing_more_is_read() {
        for (line, said) in [
            (
                "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n",
                Some("203.0.113.7:4711"),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
                Some("[2001:db8::7]:1"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ::1 1 2\r\n", None),
        ] {
            let (found, left) = read(format!("{line}GET / HTTP/1.1\r\n").as_bytes());
            assert_eq!(found.unwrap(), said.map(|it| it.parse().unwrap()), "{line}");
            assert_eq!(left, 16);
        }
    }

    #[test]
    fn lines_that_are_not_exactly_so_are_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for line in [
            "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 +471 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1  4711 443\r\n",
            "PROXY TCP4 2001:db8::7 ::1 4711 443\r\n",
            "PROXY TCP6 203.0.113.7 ::1 4711 443\r\n",
            "PROXY UDP4 203.0.113.7 192.0.2.1 4711 443\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &long,
        ] {
            assert!(read(line.as_bytes()).0.is_err(), "{line:?}");
        }
    }

    #[test]
    fn binary_headers_say_the_same_and_tlvs_are_passed_over() {
        let four = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187];
        let six = [
            &[0x20, 1, 0xd, 0xb8][..],
            &[0; 11],
            &[7],
            &[0; 16],
            &four[8..],
        ]
        .concat();
        let tlv = [&four[..], &[4, 0, 2, 0, 0]].concat();
        for (header, said) in [
            (binary(0x21, 0x11, &four), Some("203.0.113.7:4711")),
            (binary(0x21, 0x11, &tlv), Some("203.0.113.7:4711")),
            (binary(0x21, 0x21, &six), Some("[2001:db8::7]:4711")),
            (binary(0x20, 0x11, &four), None),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x21, 0x00, &[]), None),
        ] {
            let (found, left) = read(&[&header[..], b"GET"].concat());
            assert_eq!(found.unwrap(), said.map(|it| it.parse().unwrap()));
            assert_eq!(left, 3);
        }
        for header in [
            binary(0x11, 0x11, &four),
            binary(0x22, 0x11, &four),
            binary(0x21, 0x12, &four),
            binary(0x21, 0x11, &four[..11]),
            binary(0x21, 0x21, &four),
            binary(0x21, 0x11, &[0; 4097]),
        ] {
            assert!(read(&header).0.is_err(), "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            prefix in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", &SIGNATURE]),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = read(&[prefix, &bytes[..]].concat());
        }

        #[test]
        fn both_versions_agree(source: SocketAddr, destination: u16) {
            let source = SocketAddr::new(source.ip(), source.port());
            let (family, bytes) = match source.ip() {
                IpAddr::V4(ip) => (4, [ip.octets(), [0; 4]].concat()),
                IpAddr::V6(ip) => (6, [ip.octets(), [0; 16]].concat()),
            };
            let to = if family == 4 { "0.0.0.0" } else { "::" };
            let (ip, port) = (source.ip(), source.port());
            let line = format!("PROXY TCP{family} {ip} {to} {port} {destination}\r\n");
            let ports = [port.to_be_bytes(), destination.to_be_bytes()].concat();
            let header = binary(0x21, if family == 4 { 0x11 } else { 0x21 }, &[bytes, ports].concat());

            prop_assert_eq!(read(line.as_bytes()).0.unwrap(), Some(source));
            prop_assert_eq!(read(&header).0.unwrap(), Some(source));
        }
    }
}
