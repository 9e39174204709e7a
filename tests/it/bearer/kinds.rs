//! A token is of the kind that its prefix says, or it is none, whatever its row or a cache entry says.

use serde_json::{Value, json};

use super::{APPS, World, cache_key, status};
use crate::support::{Gateway, IssuedToken, NewToken};

const ISSUER: &str = "https://idp.partner.example";

/// What either kind may ask for, what one of them may, and what the gateway answers itself.
const PATHS: [&str; 3] = ["/openapi/v1/files", APPS, "/openapi/v1/account"];

impl World {
    async fn external_token(&self) -> IssuedToken {
        let token = NewToken::external("eve@partner.example", ISSUER);
        self.database.insert_token(&token).await
    }
}

/// Asserts that a token is refused everywhere, again and again, and that it is said why.
async fn is_refused(world: &World, gateway: &Gateway, token: &IssuedToken) {
    for path in PATHS {
        for _ in 0..2 {
            assert_eq!(status(gateway, path, token).await, 401, "{path}");
        }
    }
    assert!(world.upstream.requests().is_empty());
    let broken = Value::from("internal_state_invariant");
    let id = Value::from(token.id.to_string());
    let line = gateway
        .wait_for_log(|line| {
            Gateway::log_field(line, "code") == Some(&broken)
                && Gateway::log_field(line, "token_id") == Some(&id)
        })
        .await;
    assert_eq!(line["level"], "ERROR");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prefix_must_agree_with_the_row() {
    let world = World::create().await;
    let token = world.account_token().await;
    let client = world.database.client().await;
    let orphan = "UPDATE oauth_access_tokens SET account_id = NULL WHERE id = $1";
    client.execute(orphan, &[&token.id]).await.unwrap();
    let gateway = world.gateway().start().await;

    assert_eq!(status(&gateway, APPS, &token).await, 401);

    let line = gateway
        .wait_for_log(|line| {
            Gateway::log_field(line, "code").is_some_and(|code| code == "internal_state_invariant")
        })
        .await;
    assert_eq!(line["level"], "ERROR");
    let id = Gateway::log_field(&line, "token_id");
    assert_eq!(id, Some(&Value::from(token.id.to_string())));
}

/// A row that is in order, but for a token of the other kind.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_other_kind_is_no_row_of_the_tokens() {
    let world = World::create().await;
    let (account, external) = (world.account_token().await, world.external_token().await);
    let client = world.database.client().await;
    let somebody = world.database.account("bob@example.com", "Bob").await;
    let to_external = "UPDATE oauth_access_tokens \
                       SET account_id = NULL, subject_issuer = $2 WHERE id = $1";
    let to_account = "UPDATE oauth_access_tokens \
                      SET account_id = $2, subject_issuer = NULL WHERE id = $1";
    client
        .execute(to_external, &[&account.id, &ISSUER])
        .await
        .unwrap();
    client
        .execute(to_account, &[&external.id, &somebody])
        .await
        .unwrap();
    let gateway = world.gateway().start().await;

    for token in [&account, &external] {
        is_refused(&world, &gateway, token).await;
    }
}

/// An entry that is in order, and as one of a gateway's, but for a token of the other kind.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_entry_of_the_other_kind_lets_nobody_in() {
    let world = World::create().await;
    let (account, external) = (world.account_token().await, world.external_token().await);
    let gateway = world.gateway().start().await;
    let entry = |token: &IssuedToken, issuer: &str, account: Value| {
        let entry = json!({
            "subject_email": "bob@example.com",
            "subject_issuer": issuer,
            "account_id": account,
            "client_id": "difyctl",
            "token_id": token.id,
            "expires_at": null,
            "verified_tenants": {},
            "by": "gateway",
        });
        entry.to_string()
    };
    let somebody = world.database.account("bob@example.com", "Bob").await;

    for (token, entry) in [
        (&account, entry(&account, ISSUER, Value::Null)),
        (&external, entry(&external, "dify:account", json!(somebody))),
    ] {
        world.redis.set_ex(&cache_key(token), &entry, 60).await;
        is_refused(&world, &gateway, token).await;
    }
    assert_eq!(world.database.statements_seen(), 0, "the entries were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_token_is_accepted_where_its_kind_is() {
    let world = World::create().await;
    let token = NewToken::external("eve@partner.example", "https://idp.partner.example");
    let token = world.database.insert_token(&token).await;
    let gateway = world.gateway().start().await;

    assert_eq!(status(&gateway, "/openapi/v1/files", &token).await, 200);
    assert_eq!(status(&gateway, APPS, &token).await, 403);
}
