//! PostgreSQL and Redis.

use super::SHORT;
use crate::support::{
    Database, DedicatedPostgres, DedicatedRedis, IssuedToken, NewToken, RedisSpace, redis_fixture,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_has_the_schema_and_the_seeded_rows() {
    let database = Database::create().await;
    let account = database.account("ada@example.com", "Ada").await;
    database.dify_setup().await;

    let token = NewToken::account(account, "ada@example.com").label("laptop");
    let token = database.insert_token(&token).await;
    let partner = NewToken::external("bo@partner.example", "https://idp.example").client("other");
    let partner = database.insert_token(&partner.expired()).await;

    assert!(token.token.starts_with("dfoa_") && token.token.len() == 48);
    assert!(partner.bearer().starts_with("Bearer dfoe_"));
    let sql = "SELECT id FROM oauth_access_tokens t JOIN tenant_account_joins j USING (account_id) \
               WHERE token_hash = $1 AND expires_at > now() AND j.role = 'owner' AND j.current";
    let client = database.client().await;
    let sql = sql.replace("SELECT id", "SELECT t.id");
    let row = client.query_one(&sql, &[&token.hash]).await.unwrap();
    assert_eq!(row.get::<_, uuid::Uuid>(0), token.id);
    database.revoke(token.id).await;
    let rows = client.query(&sql, &[&token.hash]).await.unwrap();
    assert!(rows.is_empty());
    database.set_account_status(account, "banned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_apart_and_count_the_queries_of_others() {
    let (one, two) = (Database::create().await, Database::create().await);
    one.insert_token(&NewToken::external(
        "bo@partner.example",
        "https://idp.example",
    ))
    .await;
    let ask = async |database: &Database| {
        let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let sql = "SELECT id\nFROM oauth_access_tokens WHERE token_hash <> $1";
        client.query(sql, &[&"none"]).await.unwrap().len()
    };

    assert_eq!((ask(&one).await, ask(&two).await), (1, 0));
    assert_eq!(ask(&one).await, 1);

    assert_eq!((one.statements_seen(), two.statements_seen()), (2, 1));
    assert!(one.statements()[0].contains("\nFROM oauth_access_tokens"));
    assert_eq!((one.host(), one.user()), ("127.0.0.1", "postgres"));
    assert_eq!(one.port(), two.addr().port());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dedicated_postgres_freezes_stops_and_comes_back() {
    let server = DedicatedPostgres::start().await;
    let database = server.database();
    let token = NewToken::external("bo@partner.example", "https://idp.example");
    database.insert_token(&token.expires_in(SHORT)).await;
    let client = database.client().await;
    let sql = "SELECT id FROM oauth_access_tokens";

    server.freeze();
    let asked = client.query(sql, &[]);
    assert!(tokio::time::timeout(SHORT, asked).await.is_err());
    server.thaw();
    assert_eq!(client.query(sql, &[]).await.unwrap().len(), 1);

    server.stop_immediate();
    assert!(client.query(sql, &[]).await.is_err());
    assert!(tokio::net::TcpStream::connect(server.addr()).await.is_err());
    server.restart().await;
    let rows = database.client().await.query(sql, &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    // A frozen server must not keep the test from ending.
    server.freeze();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_spaces_are_apart() {
    let (one, two) = (RedisSpace::create().await, RedisSpace::create().await);
    let value = redis_fixture("auth_token_account");
    let hash = IssuedToken::unknown("dfoa_").hash;
    let key = format!("auth:token:{hash}");

    one.set_ex(&key, &value, 60).await;

    assert_eq!(one.get(&key).await, Some(value));
    assert_eq!(two.get(&key).await, None);
    assert!((55..=60).contains(&one.ttl(&key).await));
    assert_eq!((one.count_keys().await, two.count_keys().await), (1, 0));
    assert_eq!(one.keys().await, std::slice::from_ref(&key));
    assert!(one.del(&key).await && !two.del(&key).await);
    assert_eq!(one.ttl(&key).await, -2);
    assert_eq!((one.host(), one.port()), ("127.0.0.1", two.port()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dedicated_redis_freezes_stops_and_comes_back_empty() {
    let server = DedicatedRedis::start().await;
    let space = server.space();
    space.set_ex("key", "value", 60).await;

    server.freeze();
    let asked = tokio::time::timeout(SHORT, space.get("key"));
    assert!(asked.await.is_err());
    server.thaw();
    assert_eq!(space.get("key").await.as_deref(), Some("value"));

    server.stop();
    assert!(tokio::net::TcpStream::connect(server.addr()).await.is_err());
    server.restart().await;
    assert_eq!(space.get("key").await, None);
}
