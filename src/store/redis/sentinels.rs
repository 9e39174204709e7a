//! The sentinels that name the master.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{
    Client, ErrorKind, RedisError, RedisResult, TlsMode,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

use super::address::Dialling;
use crate::config::RedisConfig;

/// Every sentinel, each asked by a client of its own: one client for all of them takes their answers
/// in the order in which they are configured, so that a silent one hides what the others say.
pub(super) struct Sentinels(Vec<Mutex<SentinelClient>>);

impl Sentinels {
    /// Understands the settings; nothing is connected yet.
    pub(super) fn new(
        config: &RedisConfig,
        service_name: &str,
        dialling: &Dialling,
    ) -> RedisResult<Self> {
        let settings = dialling.redis_settings();
        let mut sentinels = Vec::with_capacity(config.sentinels.len());
        for node in &config.sentinels {
            // Sentinels have no databases, and credentials of their own.
            let mut builder = SentinelClientBuilder::new(
                [dialling.address(&node.host, node.port)?],
                service_name,
                SentinelServerType::Master,
            )?
            .set_client_to_sentinel_tcp_settings(dialling.tcp_settings().clone())
            .set_client_to_redis_tcp_settings(dialling.tcp_settings().clone())
            .set_client_to_redis_db(settings.db())
            .set_client_to_redis_protocol(settings.protocol());
            if let Some(username) = &config.sentinel_username {
                builder = builder.set_client_to_sentinel_username(username);
            }
            if let Some(password) = &config.sentinel_password {
                builder = builder.set_client_to_sentinel_password(password.expose());
            }
            if let Some(username) = settings.username() {
                builder = builder.set_client_to_redis_username(username);
            }
            if let Some(password) = settings.password() {
                builder = builder.set_client_to_redis_password(password);
            }
            if let Some(certificates) = dialling.certificates() {
                builder = builder
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_redis_certificates(certificates.clone());
            }
            sentinels.push(Mutex::new(builder.build()?));
        }
        if sentinels.is_empty() {
            return Err(RedisError::from((
                ErrorKind::EmptySentinelList,
                "no sentinel is configured",
            )));
        }
        Ok(Self(sentinels))
    }

    /// Asks all of them side by side. The first that names a master which says that it is one wins,
    /// and nobody waits for the others; the caller bounds the time.
    pub(super) async fn master(&self) -> RedisResult<Client> {
        let ask = async |sentinel: &Mutex<SentinelClient>| {
            // Dropping a client's question leaves it ready for the next one.
            sentinel.lock().await.async_get_client().await
        };
        let mut asked: FuturesUnordered<_> = self.0.iter().map(ask).collect();
        let mut refusal = None;
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(master) => return Ok(master),
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            RedisError::from((ErrorKind::EmptySentinelList, "no sentinel is configured"))
        }))
    }
}
