//! `SIGHUP`: other certificates for new connections, under load and without a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::assert_eventually;

use super::*;

/// The name in the certificate that the gateway shows.
async fn shown(gateway: SocketAddr) -> String {
    let printed = s_client(gateway, &[], CLOSING).await;
    let line = |line: &&str| line.starts_with("subject=");
    let subject = printed.out.lines().find(line);
    subject.unwrap_or_default().to_owned()
}

/// Has the gateway read its files again, and waits for what it says then.
async fn reloads(gateway: &Gateway, says: &str) {
    let times = || gateway.log_text().matches(says).count();
    let before = times();
    gateway.reload();
    assert_eventually!(times() > before, "the gateway says {says:?}");
}

/// Puts another certificate and key under the names that the gateway knows.
fn put(made: &Certificates, name: &str) {
    for (from, to) in [
        (made.cert(name), made.cert("server")),
        (made.key(name), made.key("server")),
    ] {
        std::fs::copy(from, to).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_from_then_on_and_nobody_is_disturbed() {
    let made = Certificates::make();
    let stage = Stage::with(|gateway| with_tls(gateway, &made, "server")).await;
    let addr = stage.gateway.addr();
    made.server("a");
    made.server("b");
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (stop, ca) = (Arc::clone(&stop), made.cert("ca"));
        tokio::spawn(async move {
            let mut served = 0;
            let url = format!("https://127.0.0.1:{}/v1/info", addr.port());
            while !stop.load(Ordering::Relaxed) {
                let ca = ca.to_str().unwrap();
                let printed = run("curl", &["-sS", "--fail", "--cacert", ca, &url]).await;
                assert_eq!(printed.code, Some(0), "{printed:?}");
                served += 1;
            }
            served
        })
    };
    assert!(shown(addr).await.contains("server"));

    for round in 0..10 {
        let name = ["a", "b"][round % 2];
        put(&made, name);
        reloads(&stage.gateway, "is in force").await;
        assert!(shown(addr).await.ends_with(name), "{name}");
    }

    stop.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_fit_change_nothing() {
    let made = Certificates::make();
    let stage = Stage::with(|gateway| with_tls(gateway, &made, "server")).await;
    std::fs::copy(made.key("client"), made.key("server")).unwrap();

    reloads(&stage.gateway, "nothing has changed").await;

    assert!(stage.gateway.log_text().contains("server.tls.key"));
    let printed = curl(stage.gateway.addr(), &made, "/v1/info", &[]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_taken_away_admits_nobody_any_more() {
    let made = Certificates::make();
    let authorities = made.path().join("clients.crt");
    std::fs::copy(made.cert("ca"), &authorities).unwrap();
    let stage = Stage::with(|gateway| {
        with_tls(gateway, &made, "server").set("server.tls.client_ca", &quoted(&authorities))
    })
    .await;
    let [cert, key] = [made.cert("client"), made.key("client")];
    let known = [
        "-cert",
        cert.to_str().unwrap(),
        "-key",
        key.to_str().unwrap(),
    ];
    let addr = stage.gateway.addr();
    let served = s_client(addr, &known, CLOSING).await;
    assert!(served.out.contains("HTTP/1.1 200 "), "{served:?}");
    made.issue("other-ca", &["-subj", "/CN=other"], None);
    std::fs::copy(made.cert("other-ca"), &authorities).unwrap();

    reloads(&stage.gateway, "is in force").await;

    let printed = s_client(addr, &known, CLOSING).await;
    assert!(!printed.out.contains("HTTP/1.1 200 "), "{printed:?}");
}
