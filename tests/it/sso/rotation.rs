//! Keys are rotated under load: nothing that should pass fails, and a retired key is refused.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::support::{
    Gateway, Grant, Login, assert_eventually, assertion_claims, completes, enterprise_stage, jws,
};

const WORKERS: usize = 4;

/// Whole sign-ins, one after the other, each of which must succeed.
#[derive(Default)]
struct Load {
    /// Whether the enterprise service still signs with the old key.
    old_kid: AtomicBool,
    stop: AtomicBool,
    /// Sign-ins that each worker has finished.
    finished: [AtomicUsize; WORKERS],
}

impl Load {
    /// Waits until every sign-in that is under way now has ended, and some more.
    async fn turns_over(&self) {
        let count = || {
            self.finished
                .each_ref()
                .map(|count| count.load(Ordering::SeqCst))
        };
        let before = count();
        assert_eventually!(
            count()
                .iter()
                .zip(before)
                .all(|(now, before)| *now >= before + 2),
            "sign-ins go on"
        );
    }
}

async fn signs_in(gateway: &Gateway, name: &str, kid: &str, secret: &str) -> String {
    let login = Login::begin(gateway, name).await;
    let email = format!("{name}@partner.example");
    let signed = jws(kid, secret, &assertion_claims(&login.user_code, &email));
    let completed = completes(&signed).send(gateway.addr()).await;
    let grant = Grant::from(&completed, &login.user_code);
    let context = grant.context().send(gateway.addr()).await;
    assert_eq!(context.status, 200, "{context:?}");
    let approved = grant.approves().send(gateway.addr()).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    let granted = login.polls(gateway).await;
    assert_eq!(granted.status, 200, "{granted:?}");
    grant.cookie
}

/// The kid in an envelope's header.
fn kid_of(jws: &str) -> String {
    let header = jws.split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Replaces the keys in the gateway's file, and waits until the gateway has taken them.
async fn rotates(gateway: &Gateway, from: &str, to: &str) {
    let file = std::fs::read_to_string(gateway.config_path()).unwrap();
    assert!(file.contains(from), "{file}");
    std::fs::write(gateway.config_path(), file.replace(from, to)).unwrap();
    let reloads = || gateway.log_text().matches("is in force").count();
    let before = reloads();
    gateway.reload();
    assert_eventually!(reloads() > before, "the file is read again");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_under_load_and_nothing_fails_that_should_pass() {
    let (stage, _service) = enterprise_stage(|gateway| {
        gateway
            .set("dify.keys", r#"{ "a" = "first", "b" = "second" }"#)
            .set("dify.active_kid", r#""a""#)
            .set("rate_limits.device_code", r#""1000000/1s""#)
    })
    .await;
    let stage = Arc::new(stage);
    let gateway = &stage.gateway;
    let load = Arc::new(Load::default());
    load.old_kid.store(true, Ordering::SeqCst);
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (stage, load) = (Arc::clone(&stage), Arc::clone(&load));
            tokio::spawn(async move {
                while !load.stop.load(Ordering::SeqCst) {
                    let count = load.finished[worker].load(Ordering::SeqCst);
                    let name = format!("worker-{worker}-{count}");
                    let old = load.old_kid.load(Ordering::SeqCst) && count.is_multiple_of(2);
                    let (kid, secret) = if old { ("a", "first") } else { ("b", "second") };
                    signs_in(&stage.gateway, &name, kid, secret).await;
                    load.finished[worker].fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    load.turns_over().await;
    let cookie = signs_in(gateway, "before", "b", "second").await;
    assert_eq!(kid_of(&cookie), "a");

    // The new key signs, the old one still verifies: both are in flight.
    rotates(gateway, r#"active_kid = "a""#, r#"active_kid = "b""#).await;
    load.turns_over().await;
    let cookie = signs_in(gateway, "between", "a", "first").await;
    assert_eq!(kid_of(&cookie), "b");

    // The old key is retired once nobody signs with it any more.
    load.old_kid.store(false, Ordering::SeqCst);
    load.turns_over().await;
    rotates(
        gateway,
        r#"{ "a" = "first", "b" = "second" }"#,
        r#"{ "b" = "second" }"#,
    )
    .await;
    load.turns_over().await;
    let login = Login::begin(gateway, "late").await;
    let claims = assertion_claims(&login.user_code, "late@partner.example");
    let late = completes(&jws("a", "first", &claims))
        .send(gateway.addr())
        .await;
    assert_eq!(
        (late.status, &late.json()["error"]),
        (400, &"invalid_sso_assertion".into())
    );
    // Nor does the retired kid pass under another key, or the old key under another kid.
    for (kid, secret) in [("a", "second"), ("b", "first")] {
        let forged = completes(&jws(kid, secret, &claims))
            .send(gateway.addr())
            .await;
        assert_eq!(forged.status, 400, "{kid}");
    }

    load.stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
}
