//! TLS to everything that the gateway talks to: spoken where it is asked for, and with nobody else.

mod postgres;
mod redis;
mod upstream;

use std::process::Command;

use crate::support::GatewayBuilder;

/// Runs `difygate check --connect`; whether all is well, and what it says.
fn check(gateway: &GatewayBuilder) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, gateway.to_toml()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_difygate"))
        .args(["check", "--connect", "--config"])
        .arg(&path)
        .env_clear()
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Asserts that a check fails, and says each of these.
fn assert_refused(gateway: &GatewayBuilder, needles: &[&str]) {
    let (fine, said) = check(gateway);
    assert!(!fine, "{said}");
    for needle in needles {
        assert!(said.contains(needle), "{needle:?} is missing in:\n{said}");
    }
}

/// Asserts that a check finds nothing.
fn assert_fine(gateway: &GatewayBuilder) {
    let (fine, said) = check(gateway);
    assert!(fine, "{said}");
}
