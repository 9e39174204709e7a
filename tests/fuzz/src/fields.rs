//! Header fields: cookies, names that a WSGI server folds together, addresses of proxies.

use std::net::{IpAddr, SocketAddr};

use difygate::{
    fuzzing::drop_forged,
    gateway::RequestId,
    http::{
        client_ip::TrustedProxies,
        cookies::cookie,
        headers::{IDENTITY, harmless_connection},
    },
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST},
};

use super::choice;

/// The first line is a name, each further one a `Cookie` field.
pub fn cookies(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Ok(name) = str::from_utf8(lines.next().unwrap_or_default()) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(COOKIE, value);
        }
    }
    let Some(found) = cookie(&headers, name) else {
        return;
    };
    assert!(!found.contains(';'));
    let there = headers.get_all(COOKIE).iter().any(|line| {
        line.as_bytes()
            .windows(found.len().max(1))
            .any(|part| part == found.as_bytes())
    });
    assert!(there || found.is_empty(), "a value out of nowhere");
    let found = found.to_owned();
    headers.append(COOKIE, HeaderValue::from_static("somebody=else"));
    assert_eq!(
        cookie(&headers, name),
        (name != "somebody").then_some(&*found)
    );
    if let Ok(twice) = HeaderValue::from_str(&format!("{name}=twice")) {
        headers.append(COOKIE, twice);
        assert_eq!(cookie(&headers, name), None, "of two, neither is meant");
    }
}

/// Names under which only the gateway speaks, in any spelling.
const OURS: [&str; 1] = ["x-request-id"];

/// Names that are variables of a server's own, and nobody's to say, in any spelling.
const SERVERS: [&str; 2] = ["script-name", "path-info"];

/// Names that are a trusted proxy's, and then only as they are spelled here.
const PROXYS: [&str; 7] = [
    "x-real-ip",
    "cf-connecting-ip",
    "forwarded",
    "x-script-name",
    "x-original-url",
    "x-rewrite-url",
    "remote-user",
];

/// Names that matter, and then only as they are spelled here.
const ONE_SPELLING: [&str; 7] = [
    "content-length",
    "content-type",
    "transfer-encoding",
    "proxy-authorization",
    "x-csrf-token",
    "x-app-code",
    "x-app-passport",
];

/// After the rules have been at them, no two fields are one variable to a WSGI server where that
/// matters, and nothing else is gone. The first byte says whether the peer is trusted.
pub fn headers(bytes: &[u8]) {
    let (choice, fields) = choice(bytes);
    let trusted = choice & 1 == 1;
    let mut headers = HeaderMap::new();
    for line in fields.split(|byte| *byte == b'\n') {
        let at = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let (name, value) = (&line[..at], line.get(at + 1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
        connection(value);
        if let Some(id) = RequestId::from_proxy(value) {
            assert_eq!(id.as_str().as_bytes(), value);
            assert!(HeaderValue::from_bytes(value).is_ok());
        }
    }
    let before = headers.clone();
    drop_forged(&mut headers, trusted);
    for name in before.keys() {
        assert_eq!(
            headers.contains_key(name),
            may_stay(name.as_str(), trusted),
            "{name}"
        );
        if headers.contains_key(name) {
            assert!(headers.get_all(name).iter().eq(before.get_all(name)));
        }
    }
}

fn may_stay(name: &str, trusted: bool) -> bool {
    let folded = wsgi_folds(name);
    let is_one_of = |names: &[&str]| names.iter().any(|known| wsgi_folds(known) == folded);
    if name.contains('_') || is_one_of(&IDENTITY) || is_one_of(&OURS) || is_one_of(&SERVERS) {
        false
    } else if is_one_of(&PROXYS) || folded.starts_with("X_FORWARDED_") {
        trusted && !name.contains('.')
    } else {
        !is_one_of(&ONE_SPELLING) || ONE_SPELLING.contains(&name)
    }
}

/// The variable that a field becomes, where dots are folded too.
fn wsgi_folds(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

/// What is left of a `Connection` field names nothing that must stay.
fn connection(value: &[u8]) {
    let Ok(value) = str::from_utf8(value) else {
        return;
    };
    let harmless = harmless_connection(value);
    if let Some(harmless) = &harmless {
        assert_eq!(
            harmless_connection(harmless),
            None,
            "{harmless:?} from {value:?}"
        );
    }
    let left = harmless.as_deref().unwrap_or(value);
    for option in left
        .split(',')
        .map(|option| option.trim().to_ascii_lowercase())
    {
        assert!(
            option.is_empty() || may_stay(&option, false),
            "{option:?} in {value:?}"
        );
        let kept = [AUTHORIZATION, COOKIE, HOST, CONTENT_TYPE];
        assert!(
            !kept.iter().any(|name| name == option.as_str()),
            "{option:?} in {value:?}"
        );
    }
}

/// The first byte chooses the peer and whom to trust; each line is an `X-Forwarded-For`.
pub fn client_ip(bytes: &[u8]) {
    let (choice, lines) = choice(bytes);
    let Ok(text) = str::from_utf8(lines) else {
        return;
    };
    let values: Vec<&str> = text.split('\n').collect();
    let networks = ["10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0", "::/0"];
    let chosen = networks
        .iter()
        .enumerate()
        .filter(|(at, _)| choice >> at & 1 == 1);
    let proxies = TrustedProxies::new(
        chosen
            .map(|(_, network)| network.parse().unwrap())
            .collect(),
    );
    let peers = ["10.0.0.1", "203.0.113.7", "2001:db8::1", "::ffff:10.0.0.1"];
    let peer: IpAddr = peers[usize::from(choice >> 4) % peers.len()]
        .parse()
        .unwrap();

    let client = proxies.client_of(peer, values.iter().copied());

    // The same by a walk over the one list that all the values are.
    let joined = values.join(",");
    let mut nearest = peer.to_canonical();
    for entry in joined.split(',').rev() {
        let Some(address) = address(entry.trim()).filter(|_| proxies.contains(nearest)) else {
            break;
        };
        nearest = address;
    }
    assert_eq!(client, nearest);
    assert_eq!(client, client.to_canonical());
    assert!(proxies.contains(peer) || client == peer.to_canonical());
}

fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry
        .strip_prefix('[')
        .and_then(|entry| entry.strip_suffix(']'));
    let bare = bare.filter(|bare| bare.contains(':')).unwrap_or(entry);
    let address = bare.parse().ok();
    let address = address.or_else(|| entry.parse::<SocketAddr>().ok().map(|at| at.ip()))?;
    Some(address.to_canonical())
}
