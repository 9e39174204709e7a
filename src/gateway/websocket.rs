//! When a connection may stop being HTTP: after the opening handshake of a WebSocket and the answer to
//! it (RFC 6455 section 4), and never else.
//!
//! pingora takes any 101 for an agreement, and so the word of whoever chooses a status: the author of
//! a webhook in Dify does. The server behind has then agreed on nothing, and reads what comes through
//! the tunnel as requests that no rule has judged. Only who has read the key can answer it.

use http::{
    Method, Version,
    header::{self, HeaderMap, HeaderName},
};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A 101 that answers no handshake, as the access line has it.
pub(super) const UNASKED: ErrorType = ErrorType::Custom("SwitchedUnasked");

/// Length of a key: base64 of 16 bytes (RFC 6455 section 4.1).
const KEY_LENGTH: usize = 24;

/// What a client has opened, and what answers it.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: String,
}

impl Handshake {
    /// Reads a client's side (RFC 6455 section 4.2.1); `None` for a request that stays one. Over
    /// HTTP/2 there is none.
    pub(super) fn of(head: &RequestHeader) -> Option<Self> {
        let headers = &head.headers;
        let key = is_websocket(headers).then(|| one(headers, &header::SEC_WEBSOCKET_KEY))??;
        let connection = headers.get_all(header::CONNECTION).iter();
        let mut options = connection.flat_map(|value| value.as_bytes().split(|it| *it == b','));
        let opens = head.method == Method::GET
            && head.version == Version::HTTP_11
            && key.len() == KEY_LENGTH
            && options.any(|it| it.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
        opens.then(|| Self {
            accept: derive_accept_key(key),
        })
    }

    /// Tells whether a 101 answers this handshake (RFC 6455 section 4.2.2).
    fn is_answered_by(&self, response: &ResponseHeader) -> bool {
        let headers = &response.headers;
        response.version == Version::HTTP_11
            && is_websocket(headers)
            && one(headers, &header::SEC_WEBSOCKET_ACCEPT) == Some(self.accept.as_bytes())
    }
}

/// Takes a 101 for what it says only if it answers what the client has opened.
///
/// # Errors
///
/// When it does not: nothing of it may reach the client.
pub(super) fn check(opened: Option<&Handshake>, response: &ResponseHeader) -> Result<()> {
    if opened.is_some_and(|handshake| handshake.is_answered_by(response)) {
        return Ok(());
    }
    Err(Error::new_up(UNASKED))
}

fn is_websocket(headers: &HeaderMap) -> bool {
    one(headers, &header::UPGRADE).is_some_and(|it| it.eq_ignore_ascii_case(b"websocket"))
}

/// Returns the one value of a field.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.as_bytes().trim_ascii();
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn opened(method: &str, fields: &[(&'static str, &'static str)]) -> Option<Handshake> {
        let mut head = RequestHeader::build(method, b"/socket.io/", None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        Handshake::of(&head)
    }

    fn handshake() -> [(&'static str, &'static str); 3] {
        [
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", KEY),
        ]
    }

    #[test]
    fn a_handshake_is_one_key_in_a_get_that_upgrades() {
        assert_eq!(opened("GET", &handshake()).unwrap().accept, ACCEPT);
        assert!(opened("POST", &handshake()).is_none());
        assert!(opened("OPTIONS", &handshake()).is_none());
        for (at, value) in [
            (0, "keep-alive"),
            (1, "h2c"),
            (1, "websocket, h2c"),
            (2, ""),
            (2, "short"),
        ] {
            let mut fields = handshake();
            fields[at].1 = value;
            assert!(opened("GET", &fields).is_none(), "{fields:?}");
        }
        for left_out in 0..3 {
            let mut fields = handshake().to_vec();
            let twice = fields.remove(left_out);
            assert!(opened("GET", &fields).is_none(), "without {twice:?}");
            fields.extend([twice, twice]);
            let may_come_twice = twice.0 == "Connection";
            assert_eq!(
                opened("GET", &fields).is_some(),
                may_come_twice,
                "{twice:?}"
            );
        }
    }

    #[test]
    fn only_who_has_read_the_key_answers_it() {
        let answer = |fields: &[(&'static str, &'static str)]| {
            let mut response = ResponseHeader::build(101, None).unwrap();
            for (name, value) in fields {
                response.append_header(*name, *value).unwrap();
            }
            response
        };
        let upgrade = ("Upgrade", "WebSocket");
        let accept = ("Sec-WebSocket-Accept", ACCEPT);
        let opened = opened("GET", &handshake());
        assert!(check(opened.as_ref(), &answer(&[upgrade, accept])).is_ok());
        assert!(check(None, &answer(&[upgrade, accept])).is_err());
        for fields in [
            &[][..],
            &[upgrade],
            &[accept],
            &[("Upgrade", "h2c"), accept],
            &[upgrade, ("Sec-WebSocket-Accept", KEY)],
            &[upgrade, accept, accept],
        ] {
            assert!(
                check(opened.as_ref(), &answer(fields)).is_err(),
                "{fields:?}"
            );
        }
        // pingora would hand its head on and end the tunnel with the client's first byte.
        let mut of_1_0 = answer(&[upgrade, accept]);
        of_1_0.set_version(Version::HTTP_10);
        assert!(check(opened.as_ref(), &of_1_0).is_err());
    }
}
