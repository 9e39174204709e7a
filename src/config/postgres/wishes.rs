//! What libpq would do for TLS and authentication, and the gateway does not.
//!
//! Dify's driver is libpq: what is written for it, in `DB_EXTRAS` or in libpq's own variables, protects
//! Dify's connections. Where the gateway would do less it does not start.

use super::parameters::Pairs;
use super::{Problem, SslMode};
use crate::config::reader::Reader;

/// libpq's own variables (PostgreSQL manual, section 34.15) about TLS and authentication, and the
/// parameters that they stand in for.
const VARIABLES: [(&str, &str); 10] = [
    ("PGSSLMODE", "sslmode"),
    ("PGREQUIRESSL", "requiressl"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGREQUIREPEER", "requirepeer"),
];

/// What becomes of a parameter about TLS or authentication that is not understood here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The gateway does what it asks for, or more.
    Met,
    /// It does not.
    Unmet,
}

/// Tells what becomes of a parameter; `None`: it is not about TLS or authentication, or is understood.
pub(super) fn wish(name: &str, value: &str) -> Option<Wish> {
    let is_met = match name {
        "sslmode" | "sslrootcert" | "sslcert" | "sslkey" | "sslnegotiation" => return None,
        // To libpq an empty value is none.
        _ if value.is_empty() => true,
        "gssencmode" => matches!(value, "disable" | "prefer"),
        // rustls speaks nothing older than TLS 1.2, compresses nothing and names the server.
        "ssl_max_protocol_version" => value == "TLSv1.3",
        "ssl_min_protocol_version" => matches!(value, "TLSv1" | "TLSv1.1" | "TLSv1.2"),
        "sslcompression" | "sslsni" => true,
        "sslcertmode" => value == "allow",
        "requiressl" => value == "0",
        // About tickets of Kerberos, which the gateway has none of.
        "gssdelegation" | "gsslib" => true,
        _ => false,
    };
    let is_wish = ["ssl", "gss", "require"]
        .iter()
        .any(|start| name.starts_with(start));
    is_wish.then_some(if is_met { Wish::Met } else { Wish::Unmet })
}

/// Refuses what libpq's own variables ask for beyond `pairs`, which stand over them and are about
/// TLS or authentication. Returns whether all is well.
pub(super) fn heed_variables(
    reader: &mut Reader<'_>,
    path: &str,
    pairs: &Pairs,
    mode: SslMode,
) -> bool {
    let env = reader.env();
    let mut all_is_well = true;
    for (variable, parameter) in VARIABLES {
        let value = env.var(variable).map(str::trim).unwrap_or_default();
        let is_said = pairs.iter().any(|(name, _)| name == parameter);
        if value.is_empty() || is_said || !asks_for_more(parameter, value, mode) {
            continue;
        }
        all_is_well = false;
        reader.problem(Problem {
            key: path.to_owned(),
            origin: Some(variable.to_owned()),
            got: Some(format!(
                "libpq's own {variable}, which is not followed here"
            )),
            need: match wish(parameter, value) {
                Some(_) => "connections that can do without it".to_owned(),
                None => format!("{parameter} in {path}, whichever is meant"),
            },
            remedy: Some(match wish(parameter, value) {
                Some(_) => {
                    format!("the gateway cannot do that; take {variable} from its environment")
                }
                None => format!("Dify's DB_EXTRAS=\"{parameter}=...\" is for both"),
            }),
        });
    }
    all_is_well
}

/// Tells whether libpq, told so by a variable, would be stricter than the gateway is in this mode.
fn asks_for_more(parameter: &str, value: &str, mode: SslMode) -> bool {
    match parameter {
        "sslmode" => !matches!(value, "disable" | "allow" | "prefer"),
        // It turns "require" into "verify-ca".
        "sslrootcert" => mode == SslMode::Require,
        "sslcrl" | "sslcrldir" => matches!(
            mode,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull
        ),
        "ssl_min_protocol_version" => {
            mode != SslMode::Disable && wish(parameter, value) == Some(Wish::Unmet)
        }
        "channel_binding" => value == "require",
        _ => wish(parameter, value) == Some(Wish::Unmet),
    }
}
