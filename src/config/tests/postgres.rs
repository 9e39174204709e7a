//! What Dify's driver would do for TLS and authentication, and who says so.

use super::*;

#[test]
fn what_difys_driver_would_insist_on_is_never_passed_over() {
    for extras in [
        "sslmode=verify-full&sslcrl=/crl.pem",
        "gssencmode=require",
        "require_auth=scram-sha-256",
        "sslmode=require&ssl_min_protocol_version=TLSv1.3",
    ] {
        let problems = refused("", &[("DB_EXTRAS", extras)]);
        assert_eq!(problems.len(), 1, "{extras}");
        assert!(
            problems[0].starts_with("postgres.parameters  DB_EXTRAS"),
            "{problems:?}"
        );
    }
    let harmless = "options=-c&gssencmode=disable&ssl_min_protocol_version=TLSv1.2";
    assert!(loaded("", &[("DB_EXTRAS", harmless)]).warnings.is_empty());
    let warned = loaded("", &[("DB_EXTRAS", "client_encoding=utf8")]).warnings;
    assert_eq!(warned.len(), 1, "{warned:?}");
}

#[test]
fn libpqs_own_variables_that_ask_for_more_are_refused() {
    let full = ("DB_EXTRAS", "sslmode=verify-full");
    let require = ("DB_EXTRAS", "sslmode=require");
    for pairs in [
        &[("PGSSLMODE", "verify-full")][..],
        &[("PGSSLMODE", "require")],
        &[("PGCHANNELBINDING", "require"), full],
        &[("PGSSLROOTCERT", "/ca.pem"), require],
        &[("PGSSLCRL", "/crl.pem"), full],
        &[("PGREQUIREAUTH", "scram-sha-256"), full],
        &[("PGGSSENCMODE", "require")],
        &[("PGREQUIRESSL", "1")],
    ] {
        let problems = refused("", pairs);
        assert_eq!(problems.len(), 1, "{pairs:?}");
        let named = format!("postgres.parameters  {}  got ", pairs[0].0);
        assert!(problems[0].starts_with(&named), "{problems:?}");
    }
    let url = ("DIFYGATE__POSTGRES__URL", "postgres://u:p@h/d");
    let problems = refused("", &[url, ("PGSSLMODE", "require")]);
    assert!(
        problems[0].starts_with("postgres.url  PGSSLMODE"),
        "{problems:?}"
    );

    for pairs in [
        &[("PGSSLMODE", "require"), full][..],
        &[
            ("PGSSLMODE", "verify-full"),
            ("DB_EXTRAS", "sslmode=disable"),
        ],
        &[("PGSSLMODE", "prefer"), ("PGSSLROOTCERT", "/ca.pem")],
        &[("PGSSLMODE", " ")],
        &[("PGSSLMINPROTOCOLVERSION", "TLSv1.2"), full],
    ] {
        assert!(load_with("", pairs).is_ok(), "{pairs:?}");
    }
}
