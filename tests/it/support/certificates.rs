//! Certificates for tests, made anew by every run.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// An authority nobody knows but those who are given [`Authority::file`], and what it has issued.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate and its key, as files that any user may read.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With one name for all, a certificate of another would look like a forged one.
        let name = format!("authority {}", uuid::Uuid::new_v4().simple());
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    /// The authority's own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for these names and addresses, valid today.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        self.issue_between(names, now - day, now + day)
    }

    /// A certificate that has been good, and is not since yesterday.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Issued {
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        self.issue_between(names, now - 9 * day, now - day)
    }

    fn issue_between(&self, names: &[&str], from: SystemTime, until: SystemTime) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) = (from.into(), until.into());
        params
            .distinguished_name
            .push(DnType::CommonName, "difygate");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let name = uuid::Uuid::new_v4().simple().to_string();
        let file = |suffix: &str| self.dir.path().join(format!("{name}.{suffix}"));
        let issued = Issued {
            cert: file("crt"),
            key: file("key"),
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
        };
        std::fs::write(&issued.cert, &issued.cert_pem).unwrap();
        std::fs::write(&issued.key, &issued.key_pem).unwrap();
        issued
    }
}

/// A path in TOML's notation.
pub(crate) fn toml(path: &Path) -> String {
    serde_json::Value::from(path.to_str().unwrap()).to_string()
}
