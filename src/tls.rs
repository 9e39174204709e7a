//! TLS for the connections that the gateway opens: whom it believes, what it shows of itself, and
//! what a handshake failed of.
//!
//! Files are PEM (RFC 7468). The cryptography is ring's, as in pingora; a certificate is always
//! verified unless somebody asks otherwise by name (`sslmode=require` of libpq).

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Certificates or a key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file cannot be read.
    #[error("{} cannot be read ({error})", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{} {what}", .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system has no certificates of authorities.
    #[error("this system has no certificates of authorities{0}")]
    NoneInSystem(String),
    /// Certificate and key do not go together, or not with ring.
    #[error(transparent)]
    Refused(#[from] rustls::Error),
}

/// Authorities whose certificates are believed.
#[derive(Clone)]
pub struct Authorities {
    pem: Arc<[u8]>,
    certificates: Arc<[CertificateDer<'static>]>,
    roots: Arc<RootCertStore>,
}

impl Authorities {
    /// Reads the certificates of a file, one or several.
    ///
    /// # Errors
    ///
    /// Without a single one, or with one that is no authority's.
    pub fn read(path: &Path) -> Result<Self, Unusable> {
        let pem = read(path)?;
        let certificates = certificates(path, &pem)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots
                .add(certificate.clone())
                .map_err(|error| unfit(path, format!("holds an unusable certificate ({error})")))?;
        }
        Ok(Self {
            pem: pem.into(),
            certificates: certificates.into(),
            roots: Arc::new(roots),
        })
    }

    /// Returns the file as it was read.
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// Returns every certificate.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

/// Says how many, not which: a certificate is long.
impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.certificates.len())
    }
}

/// A certificate that the gateway shows when a server asks who it is, and its key.
#[derive(Clone)]
pub struct Identity {
    chain_pem: Arc<[u8]>,
    key_pem: Zeroizing<Vec<u8>>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// Reads a certificate chain, the own one first, and the unencrypted key that belongs to it.
    ///
    /// # Errors
    ///
    /// When either is missing, or they do not belong together.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, Unusable> {
        let (chain_pem, key_pem) = (read(chain)?, Zeroizing::new(read(key)?));
        let certificates = certificates(chain, &chain_pem)?;
        let parsed = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|error| unfit(key, format!("holds no unencrypted private key ({error})")))?;
        let identity = Self {
            chain_pem: chain_pem.into(),
            key_pem,
            chain: certificates,
            key: Arc::new(parsed),
        };
        // Whether key and certificate belong together shows when they are used.
        let trial = ClientTls {
            authorities: None,
            identity: Some(identity.clone()),
        };
        trial.with_roots(Arc::new(RootCertStore::empty()))?;
        Ok(identity)
    }

    /// Returns the file of the chain as it was read.
    pub fn chain_pem(&self) -> &[u8] {
        &self.chain_pem
    }

    /// Returns the file of the key as it was read; never pass it to a log line or an error.
    pub fn expose_key_pem(&self) -> &[u8] {
        &self.key_pem
    }
}

/// Says nothing of the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// How TLS is spoken to a server.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// Whom to believe; `None`: the authorities that the operating system knows.
    pub authorities: Option<Authorities>,
    /// What to show; `None`: nothing.
    pub identity: Option<Identity>,
}

impl ClientTls {
    /// Returns the roots of all trust.
    ///
    /// # Errors
    ///
    /// When the operating system's are meant, and it has none.
    pub fn roots(&self) -> Result<Arc<RootCertStore>, Unusable> {
        if let Some(authorities) = &self.authorities {
            return Ok(Arc::clone(&authorities.roots));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some systems carry certificates that no verifier accepts; the rest is good.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(" ({error})"));
            return Err(Unusable::NoneInSystem(why.unwrap_or_default()));
        }
        Ok(Arc::new(roots))
    }

    /// Returns settings that verify the server's certificate and its name.
    ///
    /// # Errors
    ///
    /// As [`ClientTls::roots`].
    pub fn config(&self) -> Result<ClientConfig, Unusable> {
        self.with_roots(self.roots()?)
    }

    /// Returns settings for a URL of this scheme: where it is not `https`, nobody is verified and
    /// the system's authorities are not read.
    ///
    /// # Errors
    ///
    /// As [`ClientTls::roots`].
    pub fn config_for(&self, scheme: &str) -> Result<ClientConfig, Unusable> {
        if scheme == "https" {
            self.config()
        } else {
            self.with_roots(Arc::new(RootCertStore::empty()))
        }
    }

    /// Returns settings that verify a server against `roots`.
    ///
    /// # Errors
    ///
    /// When the own certificate and key cannot be used.
    pub fn with_roots(&self, roots: Arc<RootCertStore>) -> Result<ClientConfig, Unusable> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?
            }
        })
    }
}

/// Returns the cryptography that every connection uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Makes that cryptography the one of libraries that do not let it be chosen; only the first call
/// in a process counts.
pub fn install_provider() {
    let _ = ring::default_provider().install_default();
}

/// Connects to a server, with TLS where `tls` is given, and sends it nothing.
///
/// # Errors
///
/// When it cannot be reached, or not believed.
pub async fn reach(host: &str, port: u16, tls: Option<Arc<ClientConfig>>) -> io::Result<()> {
    let stream = TcpStream::connect((host, port)).await?;
    if let Some(tls) = tls {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(tls).connect(name, stream).await?;
    }
    Ok(())
}

/// Finds what a TLS handshake failed of among an error's causes.
///
/// An I/O error that wraps another shows it as itself and not as its cause, so that walking
/// [`Error::source`] alone would not get there.
pub fn failure<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref() {
            return Some(failure);
        }
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| {
                let shared = error.downcast_ref::<Arc<dyn Error + Send + Sync>>();
                shared.map(|shared| &**shared as &(dyn Error + 'static))
            });
        next = wrapped.or_else(|| error.source());
    }
    None
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    std::fs::read(path).map_err(|error| Unusable::Unreadable {
        path: path.to_owned(),
        error,
    })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unfit(path, "holds no certificate in PEM".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(unfit(path, format!("is not PEM ({error})"))),
    }
}

fn unfit(path: &Path, what: String) -> Unusable {
    Unusable::Unfit {
        path: path.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let gone = Authorities::read(Path::new("/nowhere/ca.pem")).unwrap_err();
        assert!(gone.to_string().contains("/nowhere/ca.pem"), "{gone}");

        let empty = file("nothing here");
        let said = Authorities::read(empty.path()).unwrap_err().to_string();
        assert!(said.contains("holds no certificate"), "{said}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let own = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["b".to_owned()]).unwrap();
        let certificate = file(&own.cert.pem());
        let (right, wrong) = (
            file(&own.signing_key.serialize_pem()),
            file(&other.signing_key.serialize_pem()),
        );

        let identity = Identity::read(certificate.path(), right.path()).unwrap();
        assert_eq!(format!("{identity:?}"), "Identity { .. }");
        assert!(Identity::read(certificate.path(), wrong.path()).is_err());
        assert!(Identity::read(certificate.path(), certificate.path()).is_err());
    }

    #[test]
    fn a_failure_is_found_inside_an_io_error() {
        let inner = rustls::Error::HandshakeNotComplete;
        let outer = io::Error::new(io::ErrorKind::InvalidData, inner.clone());

        assert_eq!(failure(&outer), Some(&inner));
        assert_eq!(failure(&io::Error::other("else")), None);
    }
}
