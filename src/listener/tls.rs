//! TLS on the public listeners: versions 1.2 and 1.3, rustls on ring.
//!
//! The certificate in force can be replaced while connections are served. A connection keeps the
//! one that it began with. Where clients show certificates, no session is resumed: an authority that
//! was taken away, or a certificate that has ended, admits nobody any more.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    config::{Problem, TlsConfig, TlsFile},
    current::Current,
};

/// Application protocols (RFC 7301), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a file with certificates has to hold.
const CERTIFICATES: &str = "a readable PEM file with at least one certificate";

/// The listeners' certificate, key and client authorities, as they are in force.
#[derive(Debug)]
pub struct Tls(Arc<Current<ServerConfig>>);

impl Tls {
    /// Reads the files and puts them in force.
    ///
    /// # Errors
    ///
    /// Every problem with any of the files.
    pub fn load(files: &TlsConfig) -> Result<Self, Vec<Problem>> {
        server_config(files).map(|config| Self(Current::new(config)))
    }

    /// Reads the files again, which may be others now, and puts them in force for connections that
    /// are accepted from here on.
    ///
    /// # Errors
    ///
    /// Every problem with any of the files; nothing has changed then.
    pub fn reload(&self, files: &TlsConfig) -> Result<(), Vec<Problem>> {
        self.0.replace(server_config(files)?);
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.get())
    }
}

/// Builds what rustls needs, from files that are read at this moment.
fn server_config(files: &TlsConfig) -> Result<ServerConfig, Vec<Problem>> {
    // Named here and not taken from the process's default, which other parts may have set.
    let provider = Arc::new(ring::default_provider());
    let identity = identity(files, &provider);
    let verifier = match &files.client_ca {
        Some(file) => client_verifier(file, &provider).map(Some),
        None => Ok(None),
    };
    let (identity, verifier) = match (identity, verifier) {
        (Ok(identity), Ok(verifier)) => (identity, verifier),
        (identity, verifier) => {
            let mut problems = identity.err().unwrap_or_default();
            problems.extend(verifier.err());
            return Err(problems);
        }
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| vec![files.cert.problem(&error.to_string(), "TLS 1.2 or 1.3")])?;
    let asks_for_certificates = verifier.is_some();
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    if asks_for_certificates {
        // A session that is resumed has its client's certificate of before, which nobody looks at
        // again: it would outlive its own end.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// Reads the certificate chain and its key, and sees to it that they belong together.
fn identity(files: &TlsConfig, provider: &CryptoProvider) -> Result<CertifiedKey, Vec<Problem>> {
    const KEY: &str = "a readable PEM file with one private key (PKCS #8, PKCS #1 or SEC 1)";
    let chain = certificates(&files.cert);
    let chain = chain.and_then(|chain| {
        let parsed = ParsedCertificate::try_from(&chain[0]).map(drop);
        parsed.map_err(|error| files.cert.problem(&error.to_string(), CERTIFICATES))?;
        Ok(chain)
    });
    let key = PrivateKeyDer::from_pem_file(&files.key.path)
        .map_err(|error| files.key.problem(&fault(&error), KEY))
        .and_then(|key| {
            let signing = provider.key_provider.load_private_key(key);
            signing.map_err(|_| files.key.problem("a key that cannot be used", KEY))
        });
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        // A key that cannot tell its public half is believed; rustls's own builder does the same.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(identity)
        }
        Err(_) => Err(vec![files.key.problem(
            "another certificate's",
            "the private key of the first certificate in server.tls.cert",
        )]),
    }
}

/// Builds the judge of client certificates, who requires one.
fn client_verifier(
    file: &TlsFile,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| file.problem(&error.to_string(), CERTIFICATES))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| file.problem(&error.to_string(), CERTIFICATES))
}

/// Reads all certificates of a file; there is at least one.
fn certificates(file: &TlsFile) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let read = CertificateDer::pem_file_iter(&file.path).and_then(Iterator::collect);
    let certificates: Vec<_> =
        read.map_err(|error: pem::Error| file.problem(&fault(&error), CERTIFICATES))?;
    if certificates.is_empty() {
        return Err(file.problem("no certificate in it", CERTIFICATES));
    }
    Ok(certificates)
}

/// Says why a PEM file could not be read, without quoting it: a line may be a part of a key.
fn fault(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "nothing of that kind in it".to_owned(),
        _ => "no valid PEM".to_owned(),
    }
}
