//! By which names the status page may be asked for.
//!
//! A page on the web can have its own name lead to a private address, and would then be of the same
//! origin as what answers there (DNS rebinding). It cannot have a browser ask for another name than
//! its own, and so it is enough to answer to names that nobody on the web can have.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, header};

/// Ends of names that no public DNS has: RFC 6761, RFC 6762, ICANN's private-use zone, and what
/// Kubernetes calls services.
const PRIVATE: [&str; 4] = [".localhost", ".local", ".internal", ".svc"];

/// Tells whether every `Host` is an address, a private name, or one of `names`. A request without
/// one comes from no browser.
pub(super) fn is_ours(headers: &HeaderMap, names: &[String]) -> bool {
    let hosts = headers.get_all(header::HOST);
    hosts.iter().all(|host| {
        let host = host.to_str().unwrap_or_default();
        is_name_of_ours(without_port(host), names)
    })
}

fn is_name_of_ours(host: &str, names: &[String]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if host.is_empty() {
        return false;
    }
    host.parse::<IpAddr>().is_ok()
        || !host.contains('.')
        || PRIVATE.iter().any(|end| host.ends_with(end))
        || names.iter().any(|name| name.eq_ignore_ascii_case(&host))
}

/// Takes the port off, and an IPv6 address out of its brackets; nothing is left of what has neither
/// a port behind it nor an end.
pub fn without_port(host: &str) -> &str {
    let (name, rest) = match host.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((inside, _)) if inside.parse::<Ipv6Addr>().is_err() => return "",
        Some(parts) => parts,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = rest.strip_prefix(':').unwrap_or_default();
    let sound = rest.is_empty() || !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit());
    if sound { name } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers_to(host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        is_ours(&headers, &["Gate.Example.com".to_owned()])
    }

    #[test]
    fn names_that_anybody_could_own_are_not_answered_to() {
        for host in [
            "127.0.0.1:9090",
            "10.1.2.3",
            "[::1]:9090",
            "localhost:9090",
            "LOCALHOST.",
            "gate.localhost",
            "gate-admin:9090",
            "gate-admin.dify.svc:9090",
            "gate-admin.dify.svc.cluster.local",
            "gate.example.com:9090",
        ] {
            assert!(answers_to(host), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:9090",
            "localhost.evil.example",
            "gate.example.com.evil.example",
            "[evil.example]",
            "[::1].evil.example",
            "[::1]evil.example:80",
            "localhost:80.evil.example",
            "localhost:",
            "svc.evil.example",
            "",
            ".",
        ] {
            assert!(!answers_to(host), "{host}");
        }
        assert!(is_ours(&HeaderMap::new(), &[]));
    }

    #[test]
    fn one_bad_name_among_several_is_enough() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "evil.example".parse().unwrap());
        assert!(!is_ours(&headers, &[]));
    }
}
