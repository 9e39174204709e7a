//! Who is at the other end, by what may be believed.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// The proxies whose word is taken (`server.trusted_proxies`); by default nobody's is.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Builds the set.
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Tells whether `address` may say where a request came from.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the client's address: the peer's own, or where that is trusted, the nearest
    /// address of `X-Forwarded-For` that is not trusted itself.
    ///
    /// `forwarded_for` are the header's values in the order in which they came. An entry that is
    /// no address ends the walk: what stands before it cannot be believed.
    pub fn client_of<'a>(
        &self,
        peer: IpAddr,
        forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut nearest = canonical(peer);
        let entries = forwarded_for.rev().flat_map(|value| value.rsplit(','));
        for entry in entries {
            if !self.contains(nearest) {
                break;
            }
            match parse(entry.trim()) {
                Some(address) => nearest = address,
                None => break,
            }
        }
        nearest
    }
}

/// Reads an address as proxies write it: bare, with a port, or in brackets.
fn parse(entry: &str) -> Option<IpAddr> {
    let address = entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|at| at.ip()))
        .or_else(|| {
            entry
                .strip_prefix('[')?
                .strip_suffix(']')?
                .parse::<Ipv6Addr>()
                .ok()
                .map(IpAddr::V6)
        })?;
    Some(canonical(address))
}

/// An IPv4 address in IPv6's clothes is the same client as without.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded_for: &[&str]) -> String {
        let trusted = TrustedProxies::new(trusted.iter().map(|n| n.parse().unwrap()).collect());
        trusted
            .client_of(peer.parse().unwrap(), forwarded_for.iter().copied())
            .to_string()
    }

    #[test]
    fn nobody_is_trusted_by_default() {
        assert_eq!(client(&[], "10.0.0.1", &["203.0.113.7"]), "10.0.0.1");
    }

    #[test]
    fn the_nearest_untrusted_address_counts() {
        let trusted = &["10.0.0.0/8"];
        for (forwarded_for, expected) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["1.1.1.1, 203.0.113.7, 10.9.9.9"][..], "203.0.113.7"),
            (&["1.1.1.1", "203.0.113.7"][..], "203.0.113.7"),
            (&["203.0.113.7:4711"][..], "203.0.113.7"),
            (&["[2001:db8::1]:443"][..], "2001:db8::1"),
            (&["[2001:db8::1]"][..], "2001:db8::1"),
            (&["::ffff:203.0.113.7"][..], "203.0.113.7"),
            (&["203.0.113.7, unknown"][..], "10.0.0.1"),
            (&["10.2.2.2"][..], "10.2.2.2"),
            (&[][..], "10.0.0.1"),
        ] {
            assert_eq!(client(trusted, "10.0.0.1", forwarded_for), expected);
        }
        assert_eq!(
            client(trusted, "::ffff:10.0.0.1", &["203.0.113.7"]),
            "203.0.113.7"
        );
    }
}
