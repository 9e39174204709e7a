//! Postgres by TLS.

use super::{assert_fine, assert_refused};
use crate::support::{
    Authority, DedicatedPostgres, Gateway, GatewayBuilder, NewToken, RedisSpace, Terminator,
    Upstream,
};

/// A gateway that reaches a database by the role `gate` and these parameters.
fn by(
    upstream: &Upstream,
    redis: &RedisSpace,
    postgres: &DedicatedPostgres,
    host: &str,
    parameters: &str,
) -> GatewayBuilder {
    let database = postgres.database();
    let address = format!("{host}:{}/{}", database.port(), database.name());
    at(upstream, redis, &address, parameters)
}

fn at(upstream: &Upstream, redis: &RedisSpace, address: &str, parameters: &str) -> GatewayBuilder {
    let url = format!("postgres://gate:hunter2@{address}?{parameters}");
    let gateway = Gateway::builder().upstream(upstream.addr()).redis(redis);
    let parts = ["host", "port", "user", "password", "database"];
    let gateway = parts.iter().fold(gateway, |gateway, part| {
        gateway.unset(&format!("postgres.{part}"))
    });
    gateway.set("postgres.url", &format!("\"{url}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_checked_by_tls_bound_to_the_channel() {
    let authority = Authority::new();
    let postgres = DedicatedPostgres::start_tls(&authority.issue(&["localhost"])).await;
    let (upstream, redis) = tokio::join!(Upstream::start(), RedisSpace::create());
    let database = postgres.database();
    let account = database.account("ada@example.com", "Ada").await;
    let token = NewToken::account(account, "ada@example.com");
    let token = database.insert_token(&token).await;
    let parameters = format!(
        "sslmode=verify-full&sslrootcert={}&channel_binding=require",
        authority.file().display()
    );

    let gateway = by(&upstream, &redis, &postgres, "localhost", &parameters);
    assert_fine(&gateway);
    let gateway = gateway.start().await;

    let response = gateway.get("/openapi/v1/apps", Some(&token.token)).await;
    assert_eq!(response.status, 200, "{response:?}");
    let in_tls = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                  WHERE application_name = 'difygate'";
    let row = database
        .client()
        .await
        .query_one(in_tls, &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, Option<bool>>(0), Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn sslmode_means_what_it_means_in_libpq() {
    let (authority, other) = (Authority::new(), Authority::new());
    let postgres = DedicatedPostgres::start_tls(&authority.issue(&["localhost"])).await;
    let (upstream, redis) = tokio::join!(Upstream::start(), RedisSpace::create());
    let gateway = |host: &str, parameters: &str| by(&upstream, &redis, &postgres, host, parameters);
    let root = format!("sslrootcert={}", authority.file().display());
    let wrong = format!("sslrootcert={}", other.file().display());

    for fine in [
        "sslmode=prefer",
        "sslmode=require",
        &format!("sslmode=verify-ca&{root}"),
    ] {
        assert_fine(&gateway("127.0.0.1", fine));
    }
    let full = format!("sslmode=verify-full&{root}");
    assert_fine(&gateway("localhost", &full));
    let name = "for the name that is connected to";
    assert_refused(&gateway("127.0.0.1", &full), &["postgres", name]);
    for mode in ["verify-full", "verify-ca", "require"] {
        let unknown = gateway("localhost", &format!("sslmode={mode}&{wrong}"));
        assert_refused(&unknown, &["postgres", "UnknownIssuer", "sslrootcert"]);
    }
    // The server asks this role for TLS.
    assert_refused(&gateway("localhost", "sslmode=disable"), &["postgres"]);
    assert_refused(&gateway("localhost", "connect_timeout=1"), &["postgres"]);
    let typo = gateway("localhost", "sslmode=verify_full");
    assert_refused(&typo, &["postgres.url", "verify-full"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_or_with_an_old_certificate_is_refused() {
    let authority = Authority::new();
    let (plain, upstream, redis) = tokio::join!(
        DedicatedPostgres::start(),
        Upstream::start(),
        RedisSpace::create()
    );
    for mode in ["require", "verify-full"] {
        let gateway = by(
            &upstream,
            &redis,
            &plain,
            "localhost",
            &format!("sslmode={mode}&sslrootcert={}", authority.file().display()),
        );
        assert_refused(&gateway, &["postgres", "does not support TLS"]);
    }

    let expired = authority.issue_expired(&["localhost"]);
    let old = DedicatedPostgres::start_tls(&expired).await;
    let parameters = format!(
        "sslmode=verify-full&sslrootcert={}",
        authority.file().display()
    );
    let gateway = by(&upstream, &redis, &old, "localhost", &parameters);
    assert_refused(&gateway, &["postgres", "expired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_take_the_same_parameters_as_dify_gives_them() {
    let authority = Authority::new();
    let postgres = DedicatedPostgres::start_tls(&authority.issue(&["localhost"])).await;
    let (upstream, redis) = tokio::join!(Upstream::start(), RedisSpace::create());
    let gateway = |parameters: &str| {
        Gateway::builder()
            .upstream(upstream.addr())
            .database(postgres.database())
            .redis(&redis)
            .set("postgres.host", "\"localhost\"")
            .set("postgres.user", "\"gate\"")
            .set("postgres.password", "\"hunter2\"")
            .set("postgres.parameters", &format!("\"{parameters}\""))
    };
    let right = format!(
        "sslmode=verify-full&sslrootcert={}&options=-c%20timezone%3DUTC",
        authority.file().display()
    );

    assert_fine(&gateway(&right));
    assert_refused(&gateway(""), &["postgres"]);
    assert_refused(
        &gateway("sslmod=require"),
        &["postgres.parameters", "sslmod"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stands_in_between_does_not_get_past_the_channel_binding() {
    let authority = Authority::new();
    let postgres = DedicatedPostgres::start_tls(&authority.issue(&["localhost"])).await;
    let (upstream, redis) = tokio::join!(Upstream::start(), RedisSpace::create());
    let database = postgres.database();
    // Even with a certificate of the same authority for the same name.
    let another = authority.issue(&["localhost"]);
    let between = Terminator::between(database.addr(), &authority, &another).await;
    let address = format!("localhost:{}/{}", between.port(), database.name());
    let gateway = |binding: &str| {
        let root = authority.file();
        let parameters = format!(
            "sslmode=verify-full&sslrootcert={}&channel_binding={binding}",
            root.display()
        );
        at(&upstream, &redis, &address, &parameters)
    };

    assert_fine(&gateway("disable"));
    for binding in ["prefer", "require"] {
        assert_refused(&gateway(binding), &["postgres", "channel binding"]);
    }
}
