//! What Dify does to the stores, over connections that stay open.

use std::rc::Rc;

use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::{Database, IssuedToken, RedisSpace};

/// Longer than any trial takes, and as long as Dify's own entries live.
const ENTRY_SECONDS: u64 = 60;

/// Postgres and Redis as Dify's own process uses them.
#[derive(Clone, Debug)]
pub(crate) struct Dify {
    postgres: Rc<Client>,
    redis: MultiplexedConnection,
    space: RedisSpace,
    account: Uuid,
}

impl Dify {
    pub(crate) async fn new(database: &Database, space: &RedisSpace) -> Self {
        Self {
            postgres: Rc::new(database.client().await),
            redis: space.connection().await,
            space: space.clone(),
            account: database.account("ada@example.com", "Ada").await,
        }
    }

    pub(crate) const fn account(&self) -> Uuid {
        self.account
    }

    /// Issues a token: the row alone.
    pub(crate) async fn issue(&self) -> IssuedToken {
        let token = IssuedToken::unknown("dfoa_");
        let sql = "INSERT INTO oauth_access_tokens (id, subject_email, account_id, client_id, \
                   device_label, prefix, token_hash, expires_at) \
                   VALUES ($1, 'ada@example.com', $2, 'difyctl', $1::uuid::text, 'dfoa_', $3, \
                   now() + interval '1 day')";
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&token.id, &self.account, &token.hash];
        self.postgres.execute(sql, &row).await.unwrap();
        token
    }

    /// Revokes a token: commit, then delete. It is acknowledged when this returns.
    pub(crate) async fn revoke(&self, token: &IssuedToken) {
        let sql = "UPDATE oauth_access_tokens SET revoked_at = now(), token_hash = NULL \
                   WHERE id = $1 AND revoked_at IS NULL";
        let changed = self.postgres.execute(sql, &[&token.id]).await.unwrap();
        assert_eq!(changed, 1, "a live row");
        let _: bool = self.redis.clone().del(self.key(token)).await.unwrap();
    }

    /// Puts an entry of a fill that began before the revocation and ends after it.
    pub(crate) async fn put_stale(&self, token: &IssuedToken) {
        let entry = format!(
            "{{\"subject_email\": \"ada@example.com\", \"subject_issuer\": \"dify:account\", \
             \"account_id\": \"{}\", \"client_id\": \"difyctl\", \"token_id\": \"{}\", \
             \"expires_at\": \"2096-06-11T20:26:40+00:00\", \"verified_tenants\": {{}}}}",
            self.account, token.id
        );
        let mut redis = self.redis.clone();
        let () = redis
            .set_ex(self.key(token), entry, ENTRY_SECONDS)
            .await
            .unwrap();
    }

    /// Tells whether Redis has the token for a live one.
    pub(crate) async fn has_live(&self, token: &IssuedToken) -> bool {
        let value: Option<String> = self.redis.clone().get(self.key(token)).await.unwrap();
        value.is_some_and(|value| value.contains("subject_email"))
    }

    fn key(&self, token: &IssuedToken) -> String {
        self.space.key(&format!("auth:token:{}", token.hash))
    }
}
