//! How servers are dialled: address, credentials, TLS.

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisResult, TlsCertificates, io::tcp::TcpSettings,
};

use crate::{
    config::{RedisConfig, RedisTarget},
    tls::{self, ClientTls},
};

/// Who connects, and how; and where to, unless sentinels or a cluster say that.
pub(super) struct Dialling {
    target: ConnectionInfo,
    /// What TLS is spoken with; `None`: it is not.
    certificates: Option<TlsCertificates>,
}

impl Dialling {
    /// Understands the settings.
    pub(super) fn new(config: &RedisConfig) -> RedisResult<Self> {
        let certificates = config.tls.as_ref().map(certificates);
        if certificates.is_some() {
            // The client takes the cryptography of the process.
            tls::install_provider();
        }
        let target = match &config.target {
            RedisTarget::Url(url) => {
                let info = url.expose().into_connection_info()?;
                let dialled = match (info.addr(), &certificates) {
                    (
                        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. },
                        Some(_),
                    ) => address(host, *port, certificates.as_ref())?,
                    (other, _) => other.clone(),
                };
                info.set_addr(dialled)
            }
            RedisTarget::Parts {
                host,
                port,
                username,
                password,
                db,
            } => {
                let mut settings = RedisConnectionInfo::default().set_db(i64::from(*db));
                if let Some(username) = username {
                    settings = settings.set_username(username);
                }
                if let Some(password) = password {
                    settings = settings.set_password(password.expose());
                }
                address(host, *port, certificates.as_ref())?
                    .into_connection_info()?
                    .set_redis_settings(settings)
            }
        };
        Ok(Self {
            // Without TCP_NODELAY every small command would wait for the acknowledgement of the
            // last.
            target: target.set_tcp_settings(TcpSettings::default().set_nodelay(true)),
            certificates,
        })
    }

    /// Returns the one server.
    pub(super) fn target(&self) -> ConnectionInfo {
        self.target.clone()
    }

    /// Returns user, password and database.
    pub(super) fn redis_settings(&self) -> &RedisConnectionInfo {
        self.target.redis_settings()
    }

    /// Returns what the kernel is told of every connection.
    pub(super) fn tcp_settings(&self) -> &TcpSettings {
        self.target.tcp_settings()
    }

    /// Returns what TLS is spoken with; `None`: it is not.
    pub(super) fn certificates(&self) -> Option<&TlsCertificates> {
        self.certificates.as_ref()
    }

    /// Returns the address of another server, dialled the same way.
    pub(super) fn address(&self, host: &str, port: u16) -> RedisResult<ConnectionAddr> {
        address(host, port, self.certificates.as_ref())
    }

    /// Returns a node of a cluster, with the credentials of the target. A cluster has one
    /// database, so that the target's number is left out, as Dify does.
    pub(super) fn node(&self, host: &str, port: u16) -> RedisResult<ConnectionInfo> {
        Ok(self
            .address(host, port)?
            .into_connection_info()?
            .set_redis_settings(self.redis_settings().clone().set_db(0))
            .set_tcp_settings(self.tcp_settings().clone()))
    }
}

fn address(
    host: &str,
    port: u16,
    certificates: Option<&TlsCertificates>,
) -> RedisResult<ConnectionAddr> {
    let Some(certificates) = certificates else {
        return Ok(ConnectionAddr::Tcp(host.to_owned(), port));
    };
    let bare = ConnectionAddr::TcpTls {
        host: host.to_owned(),
        port,
        insecure: false,
        tls_params: None,
    };
    // The one way to certificates in an address.
    let client = Client::build_with_tls(bare.into_connection_info()?, certificates.clone())?;
    Ok(client.get_connection_info().addr().clone())
}

fn certificates(tls: &ClientTls) -> TlsCertificates {
    TlsCertificates {
        client_tls: tls.identity.as_ref().map(|identity| ClientTlsConfig {
            client_cert: identity.chain_pem().to_vec(),
            client_key: identity.expose_key_pem().to_vec(),
        }),
        root_cert: tls
            .authorities
            .as_ref()
            .map(|authorities| authorities.pem().to_vec()),
    }
}
