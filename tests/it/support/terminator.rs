//! TLS in front of a server that speaks none.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::certificates::Issued;

/// Ends TLS and passes on what is inside.
#[derive(Debug)]
pub(crate) struct Terminator {
    addr: SocketAddr,
    acceptor: JoinHandle<()>,
}

impl Terminator {
    /// Starts one that shows this certificate, before the server at `to`.
    pub(crate) async fn before(to: SocketAddr, issued: &Issued) -> Self {
        let chain = CertificateDer::pem_slice_iter(issued.cert_pem.as_bytes());
        let config = rustls::ServerConfig::builder_with_provider(difygate::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                chain.collect::<Result<_, _>>().unwrap(),
                PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap(),
            )
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tls = tls.clone();
                tokio::spawn(async move {
                    // A client that does not believe the certificate breaks off.
                    let Ok(mut inside) = tls.accept(stream).await else {
                        return;
                    };
                    if let Ok(mut server) = TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut inside, &mut server).await;
                    }
                });
            }
        });
        Self { addr, acceptor }
    }

    /// The port on which it speaks TLS.
    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}
