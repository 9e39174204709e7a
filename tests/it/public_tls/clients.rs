//! `server.tls.client_ca`: who has no certificate of the authority is nobody.

use super::*;

async fn gateway(made: &Certificates) -> Stage {
    let ca = quoted(&made.cert("ca"));
    Stage::with(|gateway| with_tls(gateway, made, "server").set("server.tls.client_ca", &ca)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_authority_is_required() {
    let made = Certificates::make();
    let stage = gateway(&made).await;
    made.issue("stranger-ca", &["-subj", "/CN=other"], None);
    made.issue("stranger", &["-subj", "/CN=client"], Some("stranger-ca"));

    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let version: Vec<&str> = version.split('=').collect();
        for (name, served) in [
            (None, false),
            (Some("stranger"), false),
            (Some("client"), true),
        ] {
            let [cert, key] = name.map_or_else(
                || [String::new(), String::new()],
                |name| [made.cert(name), made.key(name)].map(|p| p.to_str().unwrap().to_owned()),
            );
            let mut more = version.clone();
            if name.is_some() {
                more.extend(["--cert", &cert, "--key", &key]);
            }
            let printed = curl(stage.gateway.addr(), &made, "/v1/info", &more).await;
            assert_eq!(printed.code == Some(0), served, "{name:?}: {printed:?}");
            assert_eq!(stage.upstream.take_requests().len(), usize::from(served));
        }
    }
}

/// Whether a second connection resumes the session of a first one.
async fn resumes(stage: &Stage, made: &Certificates, version: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let session = folder.path().join("session");
    let paths = [session, made.cert("client"), made.key("client")];
    let [session, cert, key] = paths.map(|path| path.to_str().unwrap().to_owned());
    let client = [version, "-cert", &cert, "-key", &key];
    let addr = stage.gateway.addr();

    let first = [&client[..], &["-sess_out", &session]].concat();
    let first = s_client(addr, &first, CLOSING).await;
    assert!(first.out.contains("HTTP/1.1 200 "), "{first:?}");
    if !Path::new(&session).exists() {
        // Nothing was handed out that could be resumed.
        return false;
    }
    let second = [&client[..], &["-sess_in", &session]].concat();
    let second = s_client(addr, &second, CLOSING).await;
    assert!(second.out.contains("HTTP/1.1 200 "), "{second:?}");
    second.out.contains("Reused, ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_looked_at_whenever_somebody_connects() {
    let made = Certificates::make();
    let asking = gateway(&made).await;
    let not_asking = Stage::with(|gateway| with_tls(gateway, &made, "server")).await;

    for version in ["-tls1_2", "-tls1_3"] {
        assert!(!resumes(&asking, &made, version).await, "{version}");
        assert!(resumes(&not_asking, &made, version).await, "{version}");
    }
}
