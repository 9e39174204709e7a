//! Files that cannot be used are named at the start and by `check`, all at once.

use super::*;

/// Runs a command on a configuration.
async fn difygate(command: &str, gateway: GatewayBuilder) -> Printed {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, gateway.to_toml()).unwrap();
    let arguments = [command, "--config", path.to_str().unwrap()];
    run(env!("CARGO_BIN_EXE_difygate"), &arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_file_is_named_with_its_line() {
    let made = Certificates::make();
    std::fs::write(made.cert("bad"), "-----BEGIN CERTIFICATE-----\n!!\n").unwrap();
    let gateway = || {
        Gateway::builder()
            .set("server.tls.cert", &quoted(&made.key("server")))
            .set("server.tls.key", "\"/nowhere/tls.key\"")
            .set("server.tls.client_ca", &quoted(&made.cert("bad")))
    };
    let toml = gateway().to_toml();

    for command in ["serve", "check"] {
        let printed = difygate(command, gateway()).await;

        assert_eq!(printed.code, Some(2), "{printed:?}");
        for (key, fault) in [
            ("cert", "no certificate in it"),
            ("key", "No such file or directory"),
            ("client_ca", "no valid PEM"),
        ] {
            let line = |line: &str| line.starts_with(&format!("{key} = "));
            let number = toml.lines().position(line).unwrap() + 1;
            let says = |line: &&str| {
                line.contains(&format!("server.tls.{key} "))
                    && line.contains(&format!("config.toml:{number} "))
                    && line.contains(fault)
                    && line.contains("need ")
            };
            assert!(
                printed.err.lines().any(|line| says(&line)),
                "{key}: {printed:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_certificate_is_found_out_and_never_quoted() {
    let made = Certificates::make();
    let key = std::fs::read_to_string(made.key("client")).unwrap();
    let gateway = with_tls(Gateway::builder(), &made, "server")
        .set("server.tls.key", &quoted(&made.key("client")));

    let mismatch = difygate("check", gateway).await;
    let cut = made.key("cut");
    std::fs::write(&cut, key.lines().take(2).collect::<Vec<_>>().join("\n")).unwrap();
    let gateway =
        with_tls(Gateway::builder(), &made, "server").set("server.tls.key", &quoted(&cut));
    let cut = difygate("check", gateway).await;

    assert_eq!((mismatch.code, cut.code), (Some(2), Some(2)));
    assert!(
        mismatch.err.contains("another certificate's"),
        "{mismatch:?}"
    );
    for line in key.lines().skip(1) {
        assert!(!format!("{mismatch:?}{cut:?}").contains(&line[..20.min(line.len())]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn good_files_pass() {
    let made = Certificates::make();

    let printed = difygate("check", with_tls(Gateway::builder(), &made, "server")).await;

    assert_eq!(printed.code, Some(0), "{printed:?}");
}
