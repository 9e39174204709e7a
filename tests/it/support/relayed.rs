//! A gateway that reaches its stores through relays, and the person whose logins go through it.

use std::collections::BTreeSet;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Browser, Database, Gateway, GatewayBuilder, IssuedToken, Login, NewToken, RedisSpace, Relay,
    request,
};

const SESSIONS: &str = "/openapi/v1/account/sessions?limit=200";

/// A gateway behind relays, a person at the console, and one session of theirs.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) gateway: Gateway,
    pub(crate) to_postgres: Relay,
    pub(crate) to_redis: Relay,
    pub(crate) database: Database,
    pub(crate) redis: RedisSpace,
    pub(crate) browser: Browser,
    account: Uuid,
    session: IssuedToken,
}

impl Relayed {
    /// Sets everything up; no limit is reached.
    pub(crate) async fn with(configure: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        let (database, redis) = tokio::join!(Database::create(), RedisSpace::create());
        database.dify_setup().await;
        let account = database.account("ada@example.com", "Ada").await;
        let session = NewToken::account(account, "ada@example.com");
        let session = database.insert_token(&session).await;
        let (to_postgres, to_redis) =
            tokio::join!(Relay::to(database.addr()), Relay::to(redis.addr()));
        let gateway = unlimited()
            .database(&database)
            .postgres_addr(to_postgres.local_addr(), database.name())
            .redis_addr(to_redis.local_addr(), redis.prefix())
            .awaits("postgres")
            .awaits("redis");
        Self {
            gateway: configure(gateway).start().await,
            to_postgres,
            to_redis,
            database,
            redis,
            browser: Browser::of(account),
            account,
            session,
        }
    }

    /// Another gateway on the same stores, with nothing in between.
    pub(crate) async fn another_gateway(&self) -> Gateway {
        let gateway = unlimited().database(&self.database).redis(&self.redis);
        gateway.start().await
    }

    /// Logs in on a host; the token, if everything went well.
    pub(crate) async fn logs_in(&self, gateway: &Gateway, host: &str) -> Option<String> {
        let login = Login::try_begin(gateway, host).await.ok()?;
        let approved = self.browser.approves(gateway, &login.user_code).await;
        let granted = login.polls(gateway).await;
        (approved.status == 200 && granted.status == 200)
            .then(|| granted.json()["token"].as_str().unwrap().to_owned())
    }

    /// Row and hash of the live rows of a host: one at most, which is the first thing to hold.
    pub(crate) async fn live_row(&self, host: &str) -> Option<(Uuid, String)> {
        let sql = "SELECT id, token_hash FROM oauth_access_tokens \
                   WHERE device_label = $1 AND revoked_at IS NULL";
        let label = format!("difyctl on {host}");
        let client = self.database.client().await;
        let rows = client.query(sql, &[&label]).await.unwrap();
        assert!(rows.len() <= 1, "{} live rows for {host}", rows.len());
        rows.first().map(|row| (row.get(0), row.get(1)))
    }

    /// Asserts that a grant is the host's live row, and that its token works.
    pub(crate) async fn assert_granted(&self, gateway: &Gateway, host: &str, granted: &Value) {
        let token = granted["token"].as_str().unwrap();
        let row = self.live_row(host).await.expect("the row of a grant");
        let id: Uuid = granted["token_id"].as_str().unwrap().parse().unwrap();
        assert_eq!((id, hash(token)), row, "the grant of {host} is its row");
        let account = gateway.get("/openapi/v1/account", Some(token)).await;
        assert_eq!(account.status, 200, "{account:?}");
    }

    /// Asserts that the person sees every live row of theirs.
    pub(crate) async fn assert_accounted_for(&self, gateway: &Gateway) {
        let sql = "SELECT id FROM oauth_access_tokens \
                   WHERE account_id = $1 AND revoked_at IS NULL";
        let client = self.database.client().await;
        let rows = client.query(sql, &[&self.account]).await.unwrap();
        let live: BTreeSet<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        let list = request("GET", SESSIONS).bearer(&self.session.token);
        let list = list.send(gateway.addr()).await.json();
        let listed: BTreeSet<Uuid> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|session| session["id"].as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(listed, live, "the session list is what is live");
    }
}

/// The hash of a token, as its row has it.
pub(crate) fn hash(token: &str) -> String {
    let digest = Sha256::digest(token);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unlimited() -> GatewayBuilder {
    ["device_code", "approve", "account"]
        .iter()
        .fold(Gateway::builder(), |gateway, limit| {
            gateway.set(&format!("rate_limits.{limit}"), "\"100000/1h\"")
        })
}
