//! A private Postgres and Redis, what lives in them, and what they were asked.

use std::{collections::BTreeMap, net::SocketAddr};

use redis::{aio::MultiplexedConnection, cmd};
use tokio_postgres::{Client, types::ToSql};

use crate::support::{DedicatedPostgres, DedicatedRedis, Gateway, GatewayBuilder, IssuedToken};

/// Both stores, with live tokens in Postgres and nothing in Redis.
#[derive(Debug)]
pub(crate) struct Stores {
    postgres: DedicatedPostgres,
    redis: DedicatedRedis,
    commands: MultiplexedConnection,
    pub(crate) tokens: Vec<IssuedToken>,
}

impl Stores {
    /// Starts both and issues so many tokens.
    pub(crate) async fn start(tokens: usize) -> Self {
        let postgres = DedicatedPostgres::start().await;
        let redis = DedicatedRedis::start().await;
        let database = postgres.database();
        database.dify_setup().await;
        let account = database.account("ada@example.com", "Ada").await;
        let tokens: Vec<IssuedToken> = (0..tokens).map(|_| IssuedToken::unknown("dfoa_")).collect();
        let ids: Vec<_> = tokens.iter().map(|token| token.id).collect();
        let hashes: Vec<_> = tokens.iter().map(|token| &token.hash).collect();
        let sql = "INSERT INTO oauth_access_tokens (id, subject_email, subject_issuer, account_id, \
                   client_id, device_label, prefix, token_hash, expires_at) \
                   SELECT id, 'ada@example.com', 'dify:account', $1, 'difyctl', id::text, 'dfoa_', \
                   hash, now() + interval '1 day' FROM unnest($2::uuid[], $3::text[]) t (id, hash)";
        let rows: [&(dyn ToSql + Sync); 3] = [&account, &ids, &hashes];
        let client = database.client().await;
        client.execute(sql, &rows).await.unwrap();
        client.batch_execute("ANALYZE").await.unwrap();
        Self {
            commands: redis.space().connection().await,
            postgres,
            redis,
            tokens,
        }
    }

    /// Describes a gateway on them, as an operator would run it.
    pub(crate) fn gateway(&self, upstream: SocketAddr) -> GatewayBuilder {
        Gateway::builder()
            .upstream(upstream)
            .database(self.postgres.database())
            .redis(self.redis.space())
            .unset("log.level")
            .unset("redis.timeout")
            .unset("log.format")
    }

    /// A connection of an observer's own.
    pub(crate) async fn observer(&self) -> Client {
        self.postgres.database().client().await
    }

    /// Empties Redis.
    pub(crate) async fn flush(&self) {
        let mut commands = self.commands.clone();
        let () = cmd("FLUSHALL").query_async(&mut commands).await.unwrap();
    }

    /// Lookups of tokens so far, by Postgres's own log.
    pub(crate) fn lookups(&self) -> usize {
        let is_lookup = |sql: &String| sql.contains("WHERE t.token_hash = $1");
        let statements = self.postgres.database().statements();
        statements.iter().filter(|sql| is_lookup(sql)).count()
    }

    /// Has Redis count from here on.
    pub(crate) async fn count_anew(&self) {
        let mut commands = self.commands.clone();
        let mut reset = cmd("CONFIG");
        let () = reset
            .arg("RESETSTAT")
            .query_async(&mut commands)
            .await
            .unwrap();
    }

    /// What Redis was asked since, by command.
    pub(crate) async fn asked(&self) -> BTreeMap<String, usize> {
        let mut commands = self.commands.clone();
        let mut info = cmd("INFO");
        let info: String = info
            .arg("commandstats")
            .query_async(&mut commands)
            .await
            .unwrap();
        let lines = info.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let (calls, _) = rest.split_once(',')?;
            let calls = calls.parse().ok()?;
            Some((name.to_owned(), calls))
        });
        lines.collect()
    }
}
