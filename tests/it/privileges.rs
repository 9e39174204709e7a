//! The least that the gateway has to be allowed: with a role that has exactly what `migrate
//! --grants` prints, and a Redis user with exactly the ACL of the security guide, all of it works.

use std::process::{Command, Output};

use serde_json::Value;
use uuid::Uuid;

use crate::support::{
    Browser, Database, DedicatedRedis, Gateway, Login, NewToken, Upstream, assert_eventually,
    request,
};

const SESSIONS: &str = "/openapi/v1/account/sessions";

fn difygate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_difygate"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A role that may do what the command prints, in a database where nobody may do anything else.
async fn role_with_exactly_the_grants(database: &Database) -> String {
    let role = format!("gate_{}", Uuid::new_v4().simple());
    let printed = difygate(&["migrate", "--grants", "--role", &role]);
    let client = database.client().await;
    let nobody = format!(
        "REVOKE ALL ON DATABASE {} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC; \
         CREATE ROLE {role} LOGIN;",
        database.name()
    );
    client.batch_execute(&nobody).await.unwrap();
    client.batch_execute(&text(&printed.stdout)).await.unwrap();
    role
}

/// The user of the security guide, on a Redis of its own.
async fn user_with_exactly_the_acl(redis: &DedicatedRedis) {
    let guide = include_str!("../../docs/security.md");
    let line = guide
        .lines()
        .find_map(|line| line.strip_prefix("ACL SETUSER difygate "))
        .expect("the guide has the line");
    let mut acl = redis::cmd("ACL");
    acl.arg("SETUSER").arg("difygate");
    for rule in line.split(' ') {
        acl.arg(rule);
    }
    let mut connection = redis.space().connection().await;
    let () = acl.query_async(&mut connection).await.unwrap();
}

/// Every command that was refused since the server started.
async fn refused(redis: &DedicatedRedis) -> Vec<String> {
    let mut connection = redis.space().connection().await;
    let entries: Vec<redis::Value> = redis::cmd("ACL")
        .arg("LOG")
        .query_async(&mut connection)
        .await
        .unwrap();
    let refused = entries.iter().map(|entry| format!("{entry:?}"));
    // The client library introduces itself where it may, and Redis before 7.2 knows no such thing.
    refused
        .filter(|entry| !entry.contains("client|setinfo"))
        .collect()
}

/// Signs in, and uses everything that a token's owner may.
async fn lives_a_whole_life(gateway: &Gateway, browser: &Browser) {
    let mut tokens = Vec::new();
    // Twice with one device: the second login takes the first one's row.
    for _ in 0..2 {
        let login = Login::begin(gateway, "ada-laptop").await;
        let lookup = format!(
            "/openapi/v1/oauth/device/lookup?user_code={}",
            login.user_code
        );
        let found = request("GET", &lookup).send(gateway.addr()).await;
        assert_eq!(found.json()["valid"], true);
        let approved = browser.approves(gateway, &login.user_code).await;
        assert_eq!(approved.status, 200, "{approved:?}");
        let granted = login.polls(gateway).await;
        assert_eq!(granted.status, 200, "{granted:?}");
        tokens.push(granted.json()["token"].as_str().unwrap().to_owned());
    }
    let (old, new) = (&tokens[0], &tokens[1]);
    let apps = |token: String| async move { gateway.get("/openapi/v1/apps", Some(&token)).await };
    assert_eq!(apps(old.clone()).await.status, 401);
    assert_eq!(apps(new.clone()).await.status, 200);
    for path in ["/openapi/v1/account", SESSIONS] {
        assert_eq!(gateway.get(path, Some(new)).await.status, 200, "{path}");
    }
    let revoke = request("DELETE", &format!("{SESSIONS}/self")).bearer(new);
    assert_eq!(revoke.send(gateway.addr()).await.status, 200);
    assert_eq!(apps(new.clone()).await.status, 401);
    let denied = Login::begin(gateway, "ada-phone").await;
    assert_eq!(browser.denies(gateway, &denied.user_code).await.status, 200);
    assert_eq!(denied.polls(gateway).await.json()["error"], "access_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_grants_and_a_user_with_the_acl_can_do_everything() {
    let (upstream, database, redis) = tokio::join!(
        Upstream::start(),
        Database::create(),
        DedicatedRedis::start()
    );
    let role = role_with_exactly_the_grants(&database).await;
    user_with_exactly_the_acl(&redis).await;
    let account = database.account("ada@example.com", "Ada").await;
    database.dify_setup().await;
    let expired = NewToken::account(account, "ada@example.com").expired();
    let expired = database.insert_token(&expired).await;
    let configured = || {
        Gateway::builder()
            .upstream(upstream.addr())
            .database(&database)
            .redis_addr(redis.addr(), "")
            .set("postgres.user", &format!("\"{role}\""))
            .set("redis.username", "\"difygate\"")
            .set("redis.password", "\"PASSWORD\"")
    };

    let gateway = configured().start().await;
    lives_a_whole_life(&gateway, &Browser::of(account)).await;
    let answer = gateway.get("/openapi/v1/apps", Some(&expired.token)).await;
    assert_eq!(answer.status, 401);
    assert_eventually!(
        gateway.audit_events("oauth.token_expired").len() == 1,
        "the row is revoked and the event written"
    );
    assert_eventually!(
        gateway.metric("difygate_token_cache_followed").await == 1.0,
        "changes are followed"
    );

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, configured().to_toml()).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [
        &["check", "--connect", "--config", path][..],
        &["prune", "--config", path],
        &["migrate", "--config", path],
    ] {
        let output = difygate(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    let complaints: Vec<Value> = gateway
        .log_lines()
        .into_iter()
        .filter(|line| line["level"] == "ERROR" || line.to_string().contains("permission denied"))
        .collect();
    assert_eq!(complaints, Vec::<Value>::new());
    assert_eq!(refused(&redis).await, Vec::<String>::new());
    drop(gateway);
    let clean_up = format!("DROP OWNED BY {role}; DROP ROLE {role};");
    let client = database.client().await;
    client.batch_execute(&clean_up).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_grants_can_do_nothing_else() {
    let database = Database::create().await;
    let role = role_with_exactly_the_grants(&database).await;
    let client = database.client().await;
    let held = "SELECT table_name::text || ' ' || privilege_type::text FROM \
                information_schema.role_table_grants WHERE grantee = $1 ORDER BY 1";

    let rows = client.query(held, &[&role]).await.unwrap();

    let held: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        held,
        [
            "accounts SELECT",
            "dify_setups SELECT",
            "oauth_access_tokens DELETE",
            "oauth_access_tokens INSERT",
            "oauth_access_tokens SELECT",
            "oauth_access_tokens UPDATE",
            "tenant_account_joins SELECT",
            "tenants SELECT",
        ]
    );
    let clean_up = format!("DROP OWNED BY {role}; DROP ROLE {role};");
    client.batch_execute(&clean_up).await.unwrap();
}

#[test]
fn without_a_name_the_grants_are_for_the_role_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    let toml = Gateway::builder()
        .set("postgres.user", "\"gate\"")
        .to_toml();
    std::fs::write(&path, toml).unwrap();

    let output = difygate(&["migrate", "--grants", "--config", path.to_str().unwrap()]);

    let said = text(&output.stdout);
    assert!(
        said.contains("GRANT SELECT ON accounts TO \"gate\";\n"),
        "{said}"
    );
    let misused = difygate(&["migrate", "--role", "gate"]);
    assert_eq!(misused.status.code(), Some(2));
}
