//! Dify's part: it issues tokens and revokes them, as far as it reaches the stores.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use redis::{AsyncCommands as _, AsyncConnectionConfig, aio::MultiplexedConnection};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, types::ToSql};
use uuid::Uuid;

use crate::{
    support::IssuedToken,
    tokens::{State, Token},
};

/// How long Dify waits for Postgres.
const POSTGRES_PATIENCE: Duration = Duration::from_secs(1);

/// How long Dify waits for Redis.
const REDIS_PATIENCE: Duration = Duration::from_millis(500);

const INSERT: &str = "INSERT INTO oauth_access_tokens (id, subject_email, subject_issuer, \
    account_id, client_id, device_label, prefix, token_hash, expires_at) \
    VALUES ($1, $2, $3, $4, 'difyctl', $5, $6, $7, now() + interval '1 day')";

const REVOKE: &str = "UPDATE oauth_access_tokens SET revoked_at = now(), token_hash = NULL \
    WHERE id = $1 AND revoked_at IS NULL";

/// Where Dify finds the stores.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) redis: Cell<SocketAddr>,
    pub(crate) prefix: String,
    pub(crate) postgres: SocketAddr,
    pub(crate) database: String,
}

/// What became of an entry in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    Done,
    Failed,
}

/// A process of Dify's, which replaces connections that fail.
#[derive(Debug)]
pub(crate) struct Dify {
    addresses: Rc<Addresses>,
    /// Whose tokens it issues; `None`: those of somebody whom an identity provider vouches for.
    account: Option<Uuid>,
    postgres: Option<Client>,
    redis: Option<(SocketAddr, MultiplexedConnection)>,
}

impl Dify {
    pub(crate) fn new(addresses: &Rc<Addresses>, account: Option<Uuid>) -> Self {
        Self {
            addresses: Rc::clone(addresses),
            account,
            postgres: None,
            redis: None,
        }
    }

    /// Issues a token; `None` when it is not certain that there is one.
    pub(crate) async fn issues(&mut self) -> Option<Rc<Token>> {
        let account = self.account;
        let (prefix, email, issuer) = match account {
            Some(_) => ("dfoa_", "ada@example.com", "dify:account"),
            None => (
                "dfoe_",
                "eve@partner.example",
                "https://idp.partner.example",
            ),
        };
        let issued = IssuedToken::unknown(prefix);
        let label = format!("difyctl on {}", issued.id.simple());
        let (id, hash) = (issued.id, issued.hash.as_str());
        let rows = self
            .execute(
                INSERT,
                &[&id, &email, &issuer, &account, &label, &prefix, &hash],
            )
            .await?;
        (rows == 1).then(|| Token::new(&issued, State::Live))
    }

    /// Revokes a token in Postgres; `false` when the outcome is not certain.
    pub(crate) async fn revokes(&mut self, token: &Token) -> bool {
        self.execute(REVOKE, &[&token.id]).await == Some(1)
    }

    /// Deletes a token's entry from Redis. A connection that has not answered is replaced; while
    /// Redis is frozen the next one gets no answer either, and the deletion is never even sent.
    ///
    /// Where another master has been named meanwhile, that one is tried.
    pub(crate) async fn deletes(&mut self, token: &Token) -> Deletion {
        loop {
            let address = self.addresses.redis.get();
            let deletion = self.deletes_at(address, token).await;
            if deletion == Deletion::Done || self.addresses.redis.get() == address {
                return deletion;
            }
        }
    }

    async fn deletes_at(&mut self, address: SocketAddr, token: &Token) -> Deletion {
        let key = self.addresses.key(&format!("auth:token:{}", token.hash));
        let deleting = async {
            let mut connection = match self.redis.take() {
                Some((to, connection)) if to == address => connection,
                _ => connect(address).await?,
            };
            let () = connection.del(key).await?;
            redis::RedisResult::Ok(connection)
        };
        match timeout(REDIS_PATIENCE, deleting).await {
            Ok(Ok(connection)) => {
                self.redis = Some((address, connection));
                Deletion::Done
            }
            _ => Deletion::Failed,
        }
    }

    async fn execute(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Option<u64> {
        let executing = async {
            let client = match self.postgres.take() {
                Some(client) => client,
                None => self.addresses.postgres().await?,
            };
            let rows = client.execute(sql, params).await.ok()?;
            self.postgres = Some(client);
            Some(rows)
        };
        timeout(POSTGRES_PATIENCE, executing).await.ok().flatten()
    }
}

async fn connect(address: SocketAddr) -> redis::RedisResult<MultiplexedConnection> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(REDIS_PATIENCE))
        .set_response_timeout(Some(REDIS_PATIENCE));
    redis::Client::open(format!("redis://{address}/0"))?
        .get_multiplexed_async_connection_with_config(&settings)
        .await
}

impl Addresses {
    pub(crate) fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.prefix)
    }

    async fn postgres(&self) -> Option<Client> {
        let (client, connection) = tokio_postgres::Config::new()
            .host(self.postgres.ip().to_string())
            .port(self.postgres.port())
            .user("postgres")
            .dbname(&self.database)
            .options("-c log_statement=none")
            .connect(NoTls)
            .await
            .ok()?;
        tokio::spawn(async move {
            // It breaks on purpose.
            let _ = connection.await;
        });
        Some(client)
    }
}
