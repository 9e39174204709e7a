//! An end that was sent to Postgres, and whose answer never came. Entries live a minute here, which
//! is longer than these tests wait.

use serde_json::json;
use uuid::Uuid;

use super::SESSIONS;
use crate::support::{
    Browser, Gateway, GatewayBuilder, IssuedToken, Login, NewToken, Relay, Side, Stage,
    assert_eventually, request,
};

const APPS: &str = "/openapi/v1/apps";

fn long_lived(gateway: GatewayBuilder) -> GatewayBuilder {
    gateway
        .set("token_cache.untracked_ttl", "\"60s\"")
        .set("postgres.timeout", "\"2s\"")
}

/// Two gateways on the same stores.
struct Pair {
    stage: Stage,
    other: Gateway,
}

impl Pair {
    async fn set() -> Self {
        let stage = Stage::with(long_lived).await;
        stage.database.dify_setup().await;
        let other = long_lived(Gateway::builder())
            .upstream(stage.upstream.addr())
            .database(&stage.database)
            .redis(&stage.redis)
            .start()
            .await;
        Self { stage, other }
    }

    fn gateways(&self) -> [&Gateway; 2] {
        [&self.stage.gateway, &self.other]
    }

    /// Both have the token at hand from now on.
    async fn knows(&self, token: &IssuedToken) {
        for gateway in self.gateways() {
            assert_eq!(gateway.get(APPS, Some(&token.token)).await.status, 200);
        }
        self.stage.upstream.take_requests();
    }

    async fn refuses_soon(&self, token: &IssuedToken) {
        for gateway in self.gateways() {
            assert_eventually!(
                gateway.get(APPS, Some(&token.token)).await.status == 401,
                "both refuse it, long before their entries end"
            );
        }
    }

    /// Does something while somebody else holds the row, and lets go of it afterwards.
    async fn while_locked<T>(&self, row: Uuid, act: impl Future<Output = T>) -> T {
        let mut client = self.stage.database.client().await;
        let lock = client.transaction().await.unwrap();
        let sql = "SELECT 1 FROM oauth_access_tokens WHERE id = $1 FOR UPDATE";
        lock.query_one(sql, &[&row]).await.unwrap();
        let done = act.await;
        lock.rollback().await.unwrap();
        done
    }

    /// Waits until the row no longer holds the token.
    async fn has_ended(&self, token: &IssuedToken) {
        let client = self.stage.database.client().await;
        let sql = "SELECT 1 FROM oauth_access_tokens WHERE id = $1 AND token_hash = $2";
        assert_eventually!(
            client
                .query(sql, &[&token.id, &token.hash])
                .await
                .unwrap()
                .is_empty(),
            "the statement that was given up is carried out"
        );
    }

    /// A second device of the account.
    async fn phone(&self) -> IssuedToken {
        let phone = NewToken::account(self.stage.account_id, "ada@example.com");
        let phone = phone.label("difyctl on ada-phone");
        self.stage.database.insert_token(&phone).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_is_carried_out_everywhere_though_nobody_was_told() {
    let pair = Pair::set().await;
    let token = &pair.stage.account;
    pair.knows(token).await;
    let logout = request("DELETE", &format!("{SESSIONS}/self")).bearer(&token.token);

    let answer = pair
        .while_locked(token.id, pair.stage.refuses(&logout, 503))
        .await;

    assert!(answer.header("retry-after").is_some());
    pair.has_ended(token).await;
    pair.refuses_soon(token).await;
}

/// A row that is live when it is looked at proves nothing: the statement waits behind the lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_locked_for_long_is_looked_at_again_and_again() {
    let pair = Pair::set().await;
    let token = &pair.stage.account;
    pair.knows(token).await;
    let logout = request("DELETE", &format!("{SESSIONS}/self")).bearer(&token.token);
    let looks = || pair.stage.database.statements_seen();

    let looked_at = async {
        pair.stage.refuses(&logout, 503).await;
        let before = looks();
        assert_eventually!(looks() >= before + 3, "the row is looked at");
    };
    pair.while_locked(token.id, looked_at).await;

    pair.has_ended(token).await;
    pair.refuses_soon(token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_another_one_ends_is_gone_everywhere_though_nobody_was_told() {
    let pair = Pair::set().await;
    let phone = pair.phone().await;
    pair.knows(&pair.stage.account).await;
    pair.knows(&phone).await;
    let revoke = request("DELETE", &format!("{SESSIONS}/{}", phone.id));
    let revoke = revoke.bearer(&pair.stage.account.token);

    pair.while_locked(phone.id, pair.stage.refuses(&revoke, 503))
        .await;

    pair.has_ended(&phone).await;
    pair.refuses_soon(&phone).await;
    pair.knows(&pair.stage.account).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_a_login_replaced_is_gone_everywhere_though_nobody_was_told() {
    let pair = Pair::set().await;
    let phone = pair.phone().await;
    pair.knows(&phone).await;
    let browser = Browser::of(pair.stage.account_id);
    let login = Login::begin(&pair.stage.gateway, "ada-phone").await;
    let approving = browser.approves(&pair.stage.gateway, &login.user_code);

    let approved = pair.while_locked(phone.id, approving).await;

    assert_eq!(approved.status, 503, "{approved:?}");
    pair.has_ended(&phone).await;
    // The next try replaces another token, which is all that it knows of.
    let approved = browser.approves(&pair.stage.gateway, &login.user_code);
    assert_eq!(approved.await.status, 200);
    pair.refuses_soon(&phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_has_been_carried_out_may_be_asked_for_again() {
    let pair = Pair::set().await;
    let token = &pair.stage.account;
    pair.knows(token).await;
    // As by a gateway that died before it could tell anybody.
    pair.stage.database.revoke(token.id).await;
    pair.knows(token).await;
    let logout = request("DELETE", &format!("{SESSIONS}/self")).bearer(&token.token);

    let answer = pair.stage.refuses(&logout, 200).await;

    assert_eq!(answer.json(), json!({"status": "revoked"}));
    pair.stage.refuses(&logout, 401).await;
    pair.refuses_soon(token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_before_the_answer_leaves_no_token_behind() {
    let (pair, relay) = pair_behind_a_relay().await;
    let token = &pair.stage.account;
    pair.knows(token).await;
    let logout = request("DELETE", &format!("{SESSIONS}/self")).bearer(&token.token);
    relay.stall_at(b"token_hash = NULL", 0, Side::After);

    let breaking = async {
        relay.tripped().await;
        pair.has_ended(token).await;
        relay.cut();
    };
    let (answer, ()) = tokio::join!(logout.send(pair.other.addr()), breaking);

    assert_eq!(answer.status, 503, "{answer:?}");
    relay.restore();
    pair.refuses_soon(token).await;
}

/// What a pooler says when it has lost the server in the middle of a statement.
const SERVER_LOST: &[u8] = b"E\0\0\0\x30SFATAL\0VFATAL\0C08P01\0Mserver conn crashed?\0\0";

/// A pair whose second gateway reaches Postgres through a relay. No statement is given up by itself
/// there while a test has patience.
async fn pair_behind_a_relay() -> (Pair, Relay) {
    let stage = Stage::with(long_lived).await;
    let relay = Relay::to(stage.database.addr()).await;
    let other = long_lived(Gateway::builder())
        .upstream(stage.upstream.addr())
        .database(&stage.database)
        .postgres_addr(relay.local_addr(), stage.database.name())
        .redis(&stage.redis)
        .set("postgres.timeout", "\"50s\"")
        .start()
        .await;
    (Pair { stage, other }, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_lost_the_answer_leaves_no_token_behind() {
    let (pair, relay) = pair_behind_a_relay().await;
    let token = &pair.stage.account;
    pair.knows(token).await;
    let logout = request("DELETE", &format!("{SESSIONS}/self")).bearer(&token.token);
    relay.stall_at(b"token_hash = NULL", 0, Side::After);

    let breaking = async {
        relay.tripped().await;
        pair.has_ended(token).await;
        relay.cut_saying(SERVER_LOST);
    };
    let (answer, ()) = tokio::join!(logout.send(pair.other.addr()), breaking);

    assert_eq!(answer.status, 503, "{answer:?}");
    pair.refuses_soon(token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_whose_answer_a_pooler_lost_is_sent_again() {
    let (pair, relay) = pair_behind_a_relay().await;
    let phone = pair.phone().await;
    relay.stall_at(b"token_hash = $1", 0, Side::After);

    let breaking = async {
        relay.tripped().await;
        relay.cut_saying(SERVER_LOST);
    };
    let looking = pair.other.get(APPS, Some(&phone.token));
    let (answer, ()) = tokio::join!(looking, breaking);

    assert_eq!(answer.status, 200, "{answer:?}");
}
