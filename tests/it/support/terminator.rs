//! TLS in front of a server that speaks none.

use std::net::SocketAddr;
use std::sync::Arc;

use difygate::tls::{Authorities, ClientTls};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificates::{Authority, Issued};

/// What a client sends that wants TLS (PostgreSQL manual, section 55.7, SSLRequest).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Ends TLS and passes on what is inside.
#[derive(Debug)]
pub(crate) struct Terminator {
    addr: SocketAddr,
    acceptor: JoinHandle<()>,
}

impl Terminator {
    /// Starts one that shows this certificate, before the server at `to`.
    pub(crate) async fn before(to: SocketAddr, issued: &Issued) -> Self {
        let tls = acceptor(issued);
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

    /// Starts one that speaks Postgres's own way into TLS with both sides: somebody in between who
    /// reads everything.
    pub(crate) async fn between(
        postgres: SocketAddr,
        authority: &Authority,
        issued: &Issued,
    ) -> Self {
        let (tls, believed) = (acceptor(issued), connector(authority));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(intercept(stream, postgres, tls.clone(), believed.clone()));
            }
        });
        Self { addr, acceptor }
    }

    /// The port on which it speaks TLS.
    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }
}

fn acceptor(issued: &Issued) -> TlsAcceptor {
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
    TlsAcceptor::from(Arc::new(config))
}

fn connector(authority: &Authority) -> TlsConnector {
    let tls = ClientTls {
        authorities: Some(Authorities::read(&authority.file()).unwrap()),
        identity: None,
    };
    TlsConnector::from(Arc::new(tls.config().unwrap()))
}

/// Takes a client in as if it were the server, and goes to the server as if it were the client.
async fn intercept(
    mut client: TcpStream,
    postgres: SocketAddr,
    tls: TlsAcceptor,
    believed: TlsConnector,
) -> std::io::Result<()> {
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    assert_eq!(request, SSL_REQUEST, "the client asks for TLS first");
    client.write_all(b"S").await?;
    let mut client = tls.accept(client).await?;

    let mut server = TcpStream::connect(postgres).await?;
    server.write_all(&SSL_REQUEST).await?;
    let mut answer = [0];
    server.read_exact(&mut answer).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut server = believed.connect(name, server).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}
