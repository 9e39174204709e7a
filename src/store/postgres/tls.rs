//! TLS to Postgres: the connector that the client library asks for.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    ClientConfig,
    client::WebPkiServerVerifier,
    pki_types::{InvalidDnsNameError, ServerName},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::{
    config::{PostgresTls, SslMode},
    tls::{Unusable, provider},
};

mod end_point;
mod verifier;

use verifier::Lenient;

/// Makes connections speak TLS, in the way that `sslmode` asks for.
#[derive(Clone)]
pub(super) struct Connector {
    /// `None`: TLS is never spoken.
    config: Option<Arc<ClientConfig>>,
}

impl Connector {
    /// Prepares to connect.
    ///
    /// # Errors
    ///
    /// When the authorities of the system are meant and it has none.
    pub(super) fn new(tls: &PostgresTls) -> Result<Self, Unusable> {
        let config = match tls.mode {
            SslMode::Disable => None,
            SslMode::VerifyFull => Some(tls.client.config()?),
            SslMode::VerifyCa => {
                let roots = tls.client.roots()?;
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
                        .build()
                        .map_err(|error| rustls::Error::General(error.to_string()))?;
                let mut config = tls.client.with_roots(roots)?;
                let lenient = Lenient::about_names(verifier);
                config.dangerous().set_certificate_verifier(lenient);
                Some(config)
            }
            SslMode::Prefer | SslMode::Require => {
                let mut config = tls
                    .client
                    .with_roots(Arc::new(rustls::RootCertStore::empty()))?;
                config
                    .dangerous()
                    .set_certificate_verifier(Lenient::about_everything());
                Some(config)
            }
        };
        Ok(Self {
            config: config.map(Arc::new),
        })
    }
}

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = Handshake;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, InvalidDnsNameError> {
        let Some(config) = &self.config else {
            return Ok(Handshake(None));
        };
        if domain.is_empty() {
            // A Unix socket: the library refuses TLS there by itself.
            return Ok(Handshake(None));
        }
        let name = ServerName::try_from(domain)?.to_owned();
        Ok(Handshake(Some((Arc::clone(config).into(), name))))
    }
}

/// One handshake to come.
pub(super) struct Handshake(Option<(TlsConnector, ServerName<'static>)>);

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let Some((connector, name)) = self.0 else {
                return Err(io::Error::other("TLS was not asked for"));
            };
            connector.connect(name, stream).await.map(Stream)
        })
    }
}

/// A connection that speaks TLS.
pub(super) struct Stream<S>(tokio_rustls::client::TlsStream<S>);

impl<S> TlsStream for Stream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.0.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        match certificate.and_then(|certificate| end_point::hash(certificate)) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
