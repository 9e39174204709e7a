//! `…/account` and `…/account/sessions`: one's own account and devices.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{ISSUER, NewToken, Stage, request};

mod lost_answers;

const ACCOUNT: &str = "/openapi/v1/account";
const SESSIONS: &str = "/openapi/v1/account/sessions";

async fn lists(stage: &Stage, query: &str, token: &str) -> Value {
    let list = request("GET", &format!("{SESSIONS}{query}")).bearer(token);
    stage.refuses(&list, 200).await.json()
}

fn ids(list: &Value) -> Vec<Uuid> {
    let data = list["data"].as_array().unwrap().iter();
    data.map(|session| session["id"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_sees_itself_and_its_workspaces() {
    let stage = Stage::set().await;
    let other = stage
        .database
        .workspace(stage.account_id, "Other", "editor", false)
        .await;

    let me = request("GET", ACCOUNT).bearer(&stage.account.token);
    let me = stage.refuses(&me, 200).await.json();

    assert_eq!(me["subject_type"], "account");
    assert_eq!(me["subject_email"], "ada@example.com");
    let ada = json!({"id": stage.account_id, "email": "ada@example.com", "name": "Ada"});
    assert_eq!(me["account"], ada);
    let workspaces = me["workspaces"].as_array().unwrap();
    assert_eq!(workspaces.len(), 2);
    let other = json!({"id": other, "name": "Other", "role": "editor"});
    assert!(workspaces.contains(&other));
    let own = workspaces.iter().find(|found| **found != other).unwrap();
    assert_eq!(me["default_workspace_id"], own["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_an_account_sees_who_vouches_for_them() {
    let stage = Stage::set().await;

    let me = request("GET", ACCOUNT).bearer(&stage.external.token);
    let me = stage.refuses(&me, 200).await.json();

    assert_eq!(
        me,
        json!({
            "subject_type": "external_sso",
            "subject_email": "eve@example.com",
            "subject_issuer": ISSUER,
            "account": null,
            "workspaces": [],
            "default_workspace_id": null,
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_no_good_sees_nothing() {
    let stage = Stage::set().await;
    stage.database.revoke(stage.account.id).await;

    for (method, path) in [
        ("GET", ACCOUNT.to_owned()),
        ("GET", SESSIONS.to_owned()),
        ("DELETE", format!("{SESSIONS}/self")),
        ("DELETE", format!("{SESSIONS}/{}", stage.external.id)),
    ] {
        let absent = stage.refuses(&request(method, &path), 401).await;
        assert_eq!(
            absent.header("www-authenticate"),
            Some("Bearer realm=\"api\"")
        );
        let revoked = request(method, &path).bearer(&stage.account.token);
        let revoked = stage.refuses(&revoked, 401).await;
        let challenge = revoked.header("www-authenticate").unwrap();
        assert!(challenge.contains("invalid_token"), "{challenge}");
        let twice = request(method, &path)
            .bearer(&stage.external.token)
            .bearer(&stage.external.token);
        stage.refuses(&twice, 400).await;
    }
    assert_eq!(lists(&stage, "", &stage.external.token).await["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_ones_own_live_sessions_the_newest_first() {
    let stage = Stage::set().await;
    let new = |label: &str| NewToken::account(stage.account_id, "ada@example.com").label(label);
    let mut expected = vec![stage.account.id];
    for label in ["a", "b", "c"] {
        expected.insert(0, stage.database.insert_token(&new(label)).await.id);
    }
    // Expired, revoked, and somebody else's.
    stage.database.insert_token(&new("over").expired()).await;
    let revoked = stage.database.insert_token(&new("revoked")).await;
    stage.database.revoke(revoked.id).await;
    let bob = stage.database.account("bob@example.com", "Bob").await;
    stage
        .database
        .insert_token(&NewToken::account(bob, "ada@example.com"))
        .await;

    let all = lists(&stage, "", &stage.account.token).await;
    assert_eq!(ids(&all), expected);
    assert_eq!(
        (&all["page"], &all["limit"], &all["total"], &all["has_more"]),
        (&json!(1), &json!(100), &json!(4), &json!(false))
    );
    let one = &all["data"][0];
    let members: Vec<&String> = one.as_object().unwrap().keys().collect();
    let wanted = "id prefix client_id device_label created_at last_used_at expires_at";
    assert_eq!(members, wanted.split(' ').collect::<Vec<_>>());
    assert_eq!(
        (&one["prefix"], &one["device_label"]),
        (&json!("dfoa_"), &json!("c"))
    );
    assert_eq!(one["last_used_at"], Value::Null);
    for name in ["created_at", "expires_at"] {
        assert!(one[name].as_str().unwrap().ends_with('Z'), "{one}");
    }
    let second = lists(&stage, "?page=2&limit=3", &stage.account.token).await;
    assert_eq!(ids(&second), expected[3..]);
    assert_eq!(
        (&second["total"], &second["has_more"]),
        (&json!(4), &json!(false))
    );
    let first = lists(&stage, "?limit=3", &stage.account.token).await;
    assert_eq!(first["has_more"], true);
    let past = lists(&stage, "?page=9&limit=200", &stage.account.token).await;
    assert_eq!((past["total"].as_i64(), ids(&past)), (Some(4), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_out_of_range_is_422_and_every_fault_is_named() {
    let stage = Stage::set().await;

    for (query, faults) in [
        ("?page=0", vec!["page"]),
        ("?limit=0", vec!["limit"]),
        ("?limit=201", vec!["limit"]),
        ("?page=x&limit=-1", vec!["page", "limit"]),
        ("?page=", vec!["page"]),
        ("?offset=1", vec!["query"]),
    ] {
        let list = request("GET", &format!("{SESSIONS}{query}")).bearer(&stage.account.token);
        let said = stage.refuses(&list, 422).await.json();
        assert_eq!(said["code"], "invalid_param", "{query}");
        let details = said["details"].as_array().unwrap().iter();
        let named: Vec<_> = details
            .map(|fault| fault["loc"][0].as_str().unwrap())
            .collect();
        assert_eq!(named, faults, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_revokes_what_is_another_subjects() {
    let stage = Stage::set().await;
    let bob = stage.database.account("bob@example.com", "Bob").await;
    let bobs = stage
        .database
        .insert_token(&NewToken::account(bob, "bob@example.com"))
        .await;
    // The same person at another provider is another subject.
    let elsewhere = NewToken::external("eve@example.com", "https://other.example.com");
    let elsewhere = stage.database.insert_token(&elsewhere).await;

    for (token, id) in [
        (&stage.account, bobs.id.to_string()),
        (&stage.account, stage.external.id.to_string()),
        (&stage.external, stage.account.id.to_string()),
        (&stage.external, elsewhere.id.to_string()),
        (&stage.account, Uuid::nil().to_string()),
        (&stage.account, "no-uuid".to_owned()),
    ] {
        let revoke = request("DELETE", &format!("{SESSIONS}/{id}")).bearer(&token.token);
        let response = stage.refuses(&revoke, 404).await;
        assert_eq!(response.json()["code"], "not_found", "{id}");
    }
    for token in [&bobs, &elsewhere, &stage.account, &stage.external] {
        assert_eq!(lists(&stage, "", &token.token).await["total"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_ends_at_once_and_once() {
    let stage = Stage::set().await;
    let new = NewToken::account(stage.account_id, "ada@example.com");
    let phone = stage.database.insert_token(&new).await;
    let apps = request("GET", "/openapi/v1/apps").bearer(&phone.token);
    stage.forwards(&apps).await;

    let revoke = request("DELETE", &format!("{SESSIONS}/{}", phone.id));
    let revoke = revoke.bearer(&stage.account.token);
    let response = stage.refuses(&revoke, 200).await;

    assert_eq!(response.json(), json!({"status": "revoked"}));
    stage.refuses(&apps, 401).await;
    let key = format!("auth:token:{}", phone.hash);
    assert_eq!(stage.redis.get(&key).await.as_deref(), Some("invalid"));
    stage.refuses(&revoke, 404).await;
    let client = stage.database.client().await;
    let sql = "SELECT token_hash IS NULL AND revoked_at IS NOT NULL FROM oauth_access_tokens WHERE id = $1";
    let row = client.query_one(sql, &[&phone.id]).await.unwrap();
    assert!(row.get::<_, bool>(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_learns_of_a_revocation_within_its_untracked_time() {
    let stage = Stage::set().await;
    let other = crate::support::Gateway::builder()
        .upstream(stage.upstream.addr())
        .database(&stage.database)
        .redis(&stage.redis)
        .set("token_cache.untracked_ttl", "\"100ms\"")
        .start()
        .await;
    let token = Some(stage.account.token.as_str());
    assert_eq!(other.get("/openapi/v1/apps", token).await.status, 200);

    let logout = request("DELETE", &format!("{SESSIONS}/self")).bearer(&stage.account.token);
    let response = logout.send(stage.gateway.addr()).await;

    assert_eq!(response.status, 200);
    crate::support::assert_eventually!(
        other.get("/openapi/v1/apps", token).await.status == 401,
        "the other replica's entry is over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_not_reported_before_the_shared_entry_is_gone() {
    let redis = crate::support::DedicatedRedis::start().await;
    let space = redis.space().clone();
    let stage = Stage::with(|gateway| gateway.redis(&space)).await;
    lists(&stage, "", &stage.account.token).await;
    let new = NewToken::account(stage.account_id, "ada@example.com");
    let phone = stage.database.insert_token(&new).await;

    redis.stop();
    let revoke = request("DELETE", &format!("{SESSIONS}/{}", phone.id));
    let revoke = revoke.bearer(&stage.account.token);
    let response = stage.refuses(&revoke, 503).await;

    assert!(response.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_is_written_behind_and_at_shutdown_at_the_latest() {
    let mut stage = Stage::set().await;
    let apps = request("GET", "/openapi/v1/apps").bearer(&stage.account.token);
    for _ in 0..3 {
        stage.forwards(&apps).await;
    }
    stage
        .refuses(&request("GET", ACCOUNT).bearer(&stage.external.token), 200)
        .await;

    stage.gateway.terminate();
    stage
        .gateway
        .wait_exit(crate::support::patience(10.0))
        .await;

    let client = stage.database.client().await;
    let sql = "SELECT last_used_at >= created_at FROM oauth_access_tokens";
    let rows = client.query(sql, &[]).await.unwrap();
    assert!(
        rows.iter()
            .all(|row| row.get::<_, Option<bool>>(0) == Some(true))
    );
    let updates = stage.database.statements();
    let updates = updates
        .iter()
        .filter(|sql| sql.contains("last_used_at = used.at"));
    assert_eq!(updates.count(), 1);
}

/// Postgres knows times that no calendar has; Dify's own rule asks only whether they are past.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_never_ends_works_and_is_listed() {
    let stage = Stage::set().await;
    let client = stage.database.client().await;
    for (end, works) in [
        ("infinity", true),
        ("20000-01-01", true),
        ("-infinity", false),
    ] {
        let phone = NewToken::account(stage.account_id, "ada@example.com");
        let phone = stage.database.insert_token(&phone).await;
        let sql = "UPDATE oauth_access_tokens SET expires_at = $2::text::timestamptz WHERE id = $1";
        client.execute(sql, &[&phone.id, &end]).await.unwrap();

        let answer = stage.gateway.get("/openapi/v1/apps", Some(&phone.token));
        assert_eq!(answer.await.status, if works { 200 } else { 401 }, "{end}");
        stage.upstream.take_requests();

        let list = lists(&stage, "", &stage.account.token).await;
        let sessions = list["data"].as_array().unwrap().iter();
        let id = phone.id.to_string();
        let listed = sessions
            .clone()
            .find(|session| session["id"] == id.as_str());
        assert_eq!(listed.is_some(), works, "{end}: {list}");
        if let Some(session) = listed {
            assert_eq!(session["expires_at"], "9999-12-31T00:00:00Z", "{end}");
        }
    }
}
