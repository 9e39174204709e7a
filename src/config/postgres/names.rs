//! Names of libpq's parameters (PostgreSQL manual, section 34.1.2) that have no effect here.

use super::{HANDED_ON, parameters::OF_TLS};
use crate::config::keys;

/// All of them that a message may repeat.
const KNOWN_ELSEWHERE: [&str; 31] = [
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslpassword",
    "sslsni",
    "tcp_user_timeout",
    "user",
];

/// Names a parameter if it is one of libpq's, or says which it was probably meant to be. Any other name
/// may have a password in it that was written there by mistake.
pub(super) fn shown(name: &str) -> String {
    if let Some(known) = KNOWN_ELSEWHERE.iter().find(|known| **known == name) {
        return format!("the parameter {known}");
    }
    let mut known = KNOWN_ELSEWHERE.iter().chain(&HANDED_ON).chain(&OF_TLS);
    let near = known.find(|known| name.len() <= 40 && keys::distance(known, name) <= 2);
    let hint = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
    format!("a parameter with another name{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_repeated_only_if_libpq_has_it() {
        assert_eq!(shown("service"), "the parameter service");
        assert_eq!(
            shown("sslmod"),
            "a parameter with another name (did you mean sslmode?)"
        );
        assert_eq!(shown("hunter2"), "a parameter with another name");
    }
}
