//! Parsers from an untyped [`Value`] to a type that cannot be wrong.
//!
//! Each returns what is allowed along with what was found, so that a message needs no
//! second place that knows the rule.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use url::Url;

use super::units;
use super::value::{Mismatch, Value};

/// What a parser returns.
pub(crate) type Parsed<T> = Result<T, Mismatch>;

pub(crate) fn text(value: &Value) -> Parsed<String> {
    let text = value.text().map(ToOwned::to_owned);
    text.ok_or_else(|| Mismatch::showing(value, "a string"))
}

/// A string that is not empty.
pub(crate) fn filled(value: &Value) -> Parsed<String> {
    if value.is_blank() {
        return Err(Mismatch::describing("an empty string", "a string"));
    }
    text(value)
}

/// A string that is not empty and has no white space or control in it.
pub(crate) fn word(value: &Value) -> Parsed<String> {
    match value.text() {
        Some(text) if is_word(text) => Ok(text.to_owned()),
        _ => Err(Mismatch::showing(value, "a string without white space")),
    }
}

/// Tells whether text is not empty and free of white space and control characters.
pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

pub(crate) fn boolean(value: &Value) -> Parsed<bool> {
    let need = match value {
        Value::Bare(_) => "true or false (1/0, yes/no, on/off)",
        _ => "true or false, without quotes",
    };
    value
        .boolean()
        .ok_or_else(|| Mismatch::showing(value, need))
}

/// A whole number in a range, both ends included.
pub(crate) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&Value) -> Parsed<T>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    move |value| {
        let number = value.integer().and_then(|number| T::try_from(number).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let need = format!("a whole number from {} to {}", range.start(), range.end());
                Mismatch::showing(value, need)
            })
    }
}

/// A share: a number from 0 to 1, both included.
pub(crate) fn share(value: &Value) -> Parsed<f64> {
    let share = value.decimal().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| Mismatch::showing(value, "a number from 0 to 1, such as 0.1"))
}

/// A duration in a range, both ends included.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Value) -> Parsed<Duration> {
    move |value| {
        let duration = value.text().and_then(units::duration);
        duration
            .filter(|found| range.contains(found))
            .ok_or_else(|| {
                let need = format!(
                    "a duration with its unit (ms, s, m, h, d) from {} to {}",
                    units::show_duration(*range.start()),
                    units::show_duration(*range.end())
                );
                Mismatch::showing(value, need)
            })
    }
}

/// A duration in a range that Redis can count in whole seconds.
pub(crate) fn seconds(range: RangeInclusive<Duration>) -> impl Fn(&Value) -> Parsed<Duration> {
    let in_range = duration(range);
    move |value| {
        let duration = in_range(value)?;
        if duration.subsec_millis() == 0 {
            Ok(duration)
        } else {
            Err(Mismatch::showing(value, "whole seconds, such as \"10s\""))
        }
    }
}

/// A size in bytes in a range, both ends included.
pub(crate) fn size(range: RangeInclusive<usize>) -> impl Fn(&Value) -> Parsed<usize> {
    move |value| {
        let size = value.text().and_then(units::size);
        size.filter(|found| range.contains(found)).ok_or_else(|| {
            let need = format!(
                "a size with its unit (B, KiB, MiB, GiB) from {} to {}",
                units::show_size(*range.start()),
                units::show_size(*range.end())
            );
            Mismatch::showing(value, need)
        })
    }
}

/// What another parser takes, or `"0"` for nothing.
pub(crate) fn unless_off<T>(
    parse: impl Fn(&Value) -> Parsed<T>,
) -> impl Fn(&Value) -> Parsed<Option<T>> {
    move |value| {
        if value.text() == Some("0") {
            return Ok(None);
        }
        parse(value).map(Some).map_err(|mismatch| Mismatch {
            need: format!("{}, or \"0\" for off", mismatch.need),
            ..mismatch
        })
    }
}

/// One of a few names, in any case.
pub(crate) fn choice<T: Clone>(choices: &[(&str, T)]) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let chosen = value.text().and_then(|text| {
            let mut choices = choices.iter();
            choices.find(|(name, _)| name.eq_ignore_ascii_case(text))
        });
        chosen.map(|(_, choice)| choice.clone()).ok_or_else(|| {
            let names: Vec<String> = choices
                .iter()
                .map(|(name, _)| format!("{name:?}"))
                .collect();
            Mismatch::showing(value, format!("one of {}", names.join(", ")))
        })
    }
}

/// A list whose every item parses; in the environment a comma separates the items.
pub(crate) fn list<T>(item: impl Fn(&Value) -> Parsed<T>) -> impl Fn(&Value) -> Parsed<Vec<T>> {
    move |value| {
        let items = value.items();
        let items = items.ok_or_else(|| Mismatch::showing(value, "a list: [\"…\", \"…\"]"))?;
        items
            .iter()
            .map(|(value, line)| item(value).map_err(|mismatch| mismatch.at(*line)))
            .collect()
    }
}

pub(crate) fn socket_addr(value: &Value) -> Parsed<SocketAddr> {
    let addr = value.text().and_then(|text| text.parse().ok());
    addr.ok_or_else(|| {
        Mismatch::showing(
            value,
            "an address and port, \"0.0.0.0:8080\" or \"[::]:8080\"",
        )
    })
}

/// Permission bits as `chmod` takes them, a string of three octal digits.
pub(crate) fn mode(value: &Value) -> Parsed<u32> {
    let octal = value.text().filter(|text| text.len() == 3);
    octal
        .and_then(|text| u32::from_str_radix(text, 8).ok())
        .ok_or_else(|| Mismatch::showing(value, "three octal digits, \"660\""))
}

/// A CIDR block; a bare address is the block of that one address.
pub(crate) fn network(value: &Value) -> Parsed<IpNet> {
    let network = value.text().and_then(|text| {
        let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse().ok().or_else(single)
    });
    network
        .map(|network: IpNet| unmapped(network).trunc())
        .ok_or_else(|| Mismatch::showing(value, "an address or block, \"10.0.0.0/8\" or \"::1\""))
}

/// Returns a block of IPv4 addresses that are written as IPv6 (RFC 4291 section 2.5.5.2) as what it
/// is: addresses are compared so.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let address = mapped.addr().to_ipv4_mapped();
    let length = mapped.prefix_len().checked_sub(96);
    let block = address.zip(length);
    let block = block.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    block.map_or(network, IpNet::V4)
}

/// An `http` or `https` URL without user information, query or fragment.
pub(crate) fn http_url(value: &Value) -> Parsed<Url> {
    let need = "an http:// or https:// URL without user, query or fragment";
    let Some(text) = value.text() else {
        return Err(Mismatch::showing(value, need));
    };
    // What stands before an `@` may be a password, even in a URL that does not parse.
    if text.contains('@') {
        return Err(Mismatch::describing("a URL with a user in it", need));
    }
    // Collectors and the like are known to take keys there.
    if text.contains(['?', '#']) {
        return Err(Mismatch::describing(
            "a URL with a query or a fragment",
            need,
        ));
    }
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(Mismatch::showing(value, need)),
    }
}

/// A web origin, `https://host[:port]`, or `*`; spelt as a browser sends it.
pub(crate) fn web_origin(value: &Value) -> Parsed<String> {
    if value.text() == Some("*") {
        return Ok("*".to_owned());
    }
    let url = http_url(value)?;
    if url.path() == "/" {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(Mismatch::showing(
            value,
            "an origin without a path, \"https://host\", or \"*\"",
        ))
    }
}
