//! Certificates made for one test, by OpenSSL.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A directory with an authority, a server and a client certificate of it, and their keys.
#[derive(Debug)]
pub(crate) struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// Makes them: `ca`, `server` (for `gateway.test` and `127.0.0.1`) and `client`.
    pub(crate) fn make() -> Self {
        let certificates = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        certificates.issue("ca", &["-subj", "/CN=authority"], None);
        certificates.server("server");
        certificates.issue("client", &["-subj", "/CN=client"], Some("ca"));
        certificates
    }

    /// Makes another server certificate of the same authority.
    pub(crate) fn server(&self, name: &str) {
        let names = "subjectAltName=DNS:gateway.test,IP:127.0.0.1";
        let subject = format!("/CN={name}");
        let arguments = ["-subj", &subject, "-addext", names];
        self.issue(name, &arguments, Some("ca"));
    }

    /// Makes a key and a certificate, signed by an issuer or by itself.
    pub(crate) fn issue(&self, name: &str, arguments: &[&str], issuer: Option<&str>) {
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
            .arg("-keyout")
            .arg(self.key(name))
            .arg("-out")
            .arg(self.cert(name))
            .args(arguments);
        if let Some(issuer) = issuer {
            let leaf = "basicConstraints=critical,CA:FALSE";
            openssl.args(["-addext", leaf]);
            openssl.arg("-CA").arg(self.cert(issuer));
            openssl.arg("-CAkey").arg(self.key(issuer));
        }
        let made = openssl.output().expect("openssl: apt-get install openssl");
        assert!(made.status.success(), "{made:?}");
    }

    /// The path of a certificate.
    pub(crate) fn cert(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.crt"))
    }

    /// The path of a key.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.key"))
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}
