//! Postgres behind PgBouncer, and Postgres that has a second server.

use std::net::SocketAddr;

use tokio::task::JoinSet;

use crate::support::{
    Bouncer, Browser, Database, DedicatedPostgres, Gateway, GatewayBuilder, IssuedToken, Login,
    NewToken, RedisSpace, Relay, Stage, Upstream, assert_eventually, request,
};

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_through_pgbouncer_in_transaction_mode() {
    let redis = RedisSpace::create().await;
    let stage = Stage::set().await;
    stage.database.dify_setup().await;
    let bouncer = Bouncer::before(&stage.database);
    let through = |gateway: GatewayBuilder| {
        gateway
            .upstream(stage.upstream.addr())
            .postgres_addr(bouncer.addr(), stage.database.name())
            .redis(&redis)
            .set("rate_limits.approve", "\"1000/1h\"")
            .set("rate_limits.device_code", "\"1000/1h\"")
            .set("rate_limits.lookup", "\"1000/1h\"")
            .set("rate_limits.account", "\"1000/1m\"")
            // Three quarters are for lookups, and nobody waits long for one.
            .set("postgres.pool_size", "32")
    };
    let gateway = std::sync::Arc::new(through(Gateway::builder()).start().await);
    let account = stage.account_id;

    let mut logins = JoinSet::new();
    for n in 0..24 {
        let gateway = std::sync::Arc::clone(&gateway);
        logins.spawn(async move {
            let login = Login::begin(&gateway, &format!("laptop-{n}")).await;
            let approved = Browser::of(account)
                .approves(&gateway, &login.user_code)
                .await;
            assert_eq!(approved.status, 200, "{approved:?}");
            let granted = login.polls(&gateway).await;
            assert_eq!(granted.status, 200, "{granted:?}");
            let token = granted.json()["token"].as_str().unwrap().to_owned();
            for path in ["/openapi/v1/apps", "/openapi/v1/account/sessions"] {
                let answer = gateway.get(path, Some(&token)).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            let revoke = request("DELETE", "/openapi/v1/account/sessions/self").bearer(&token);
            let revoked = revoke.send(gateway.addr()).await;
            assert!(revoked.status < 300, "{revoked:?}");
            assert_eq!(
                gateway.get("/openapi/v1/apps", Some(&token)).await.status,
                401
            );
        });
    }
    while let Some(done) = logins.join_next().await {
        done.unwrap();
    }

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, through(Gateway::builder()).to_toml()).unwrap();
    for command in ["prune", "migrate"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_difygate"))
            .args([command, "--config"])
            .arg(&path)
            .env_clear()
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }
}

/// Uses whichever of two servers takes writes.
fn on_hosts(gateway: GatewayBuilder, hosts: [SocketAddr; 2], database: &str) -> GatewayBuilder {
    let [first, second] = hosts;
    let url =
        format!("postgres://postgres@{first},{second}/{database}?target_session_attrs=read-write");
    let parts = ["host", "port", "user", "password", "database"];
    let gateway = parts.iter().fold(gateway, |gateway, part| {
        gateway.unset(&format!("postgres.{part}"))
    });
    gateway.set("postgres.url", &format!("\"{url}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_nothing_does_not_hide_the_next_one() {
    let (upstream, redis) = tokio::join!(Upstream::start(), RedisSpace::create());
    let database = Database::create().await;
    let (first, second) = tokio::join!(Relay::to(database.addr()), Relay::to(database.addr()));
    first.stall();
    let gateway = Gateway::builder().upstream(upstream.addr()).redis(&redis);
    let hosts = [first.local_addr(), second.local_addr()];
    let gateway = on_hosts(gateway, hosts, database.name()).start().await;
    let answers = async || {
        let unknown = IssuedToken::unknown("dfoa_");
        let answer = gateway.get("/openapi/v1/apps", Some(&unknown.token)).await;
        answer.status == 401
    };

    assert_eventually!(answers().await, "the second host is found at the start");

    first.restore();
    second.cut();
    assert_eventually!(answers().await, "the first is as good when it speaks again");

    second.restore();
    first.stall();
    assert_eventually!(answers().await, "and the second when it does not any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_is_found_and_written_to() {
    let (upstream, redis) = tokio::join!(Upstream::start(), RedisSpace::create());
    let (primary, standby) = DedicatedPostgres::start_pair().await;
    let database = primary.database();
    database.dify_setup().await;
    let account = database.account("ada@example.com", "Ada").await;
    let token = NewToken::account(account, "ada@example.com");
    let token = database.insert_token(&token).await;
    // The standby comes first, so that it is asked and passed over.
    let gateway = Gateway::builder().upstream(upstream.addr()).redis(&redis);
    let gateway = on_hosts(gateway, [standby.addr(), primary.addr()], database.name());
    let gateway = gateway.start().await;
    let path = "/openapi/v1/apps";
    let first = gateway.get(path, Some(&token.token)).await;
    assert_eq!(first.status, 200, "{first:?}");
    // What has not reached the standby is lost, as with any asynchronous replication.
    let count = "SELECT count(*) FROM oauth_access_tokens";
    assert_eventually!(
        {
            let row = standby
                .database()
                .client()
                .await
                .query_one(count, &[])
                .await;
            row.is_ok_and(|row| row.get::<_, i64>(0) == 1)
        },
        "the standby follows"
    );

    primary.stop_immediate();
    standby.promote().await;

    // A whole login writes, which only the promoted server takes.
    let browser = Browser::of(account);
    assert_eventually!(
        {
            let login = Login::begin(&gateway, "ada-laptop").await;
            browser.approves(&gateway, &login.user_code).await.status == 200
                && login.polls(&gateway).await.status == 200
        },
        "a login succeeds after the failover"
    );
    assert_eventually!(
        gateway.get(path, Some(&token.token)).await.status == 200,
        "and so do checks"
    );
}
