//! Routes: each request by the table that it began with, and none in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{changes, reloads, rewrite, takes_a_restart};
use crate::support::{Behaviour, Stage, Upstream, assert_eventually, request};

/// A block that denies a path and everything below it.
const DENY: &str = "\n[[routes]]\nmatch = \"/files/*\"\npolicy = \"deny\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_in_force_at_once_and_so_is_its_end() {
    let stage = Stage::set().await;
    let file = request("GET", "/files/1");
    let mut connected = stage.gateway.client().await;
    stage.forwards(&file).await;

    for _ in 0..2 {
        changes(&stage.gateway, |config| config + DENY).await;
        stage.refuses(&file, 404).await;
        connected.send(&file.to_bytes()).await;
        assert_eq!(connected.read_response().await.status, 404);
        stage.forwards(&request("GET", "/other")).await;

        reloads(&stage.gateway, DENY, "").await;
        stage.forwards(&file).await;
    }
    assert!(!takes_a_restart(&stage.gateway, "routes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_opens_what_is_guarded_takes_the_others_along() {
    let stage = Stage::set().await;
    let opening = "\n[[routes]]\nmatch = \"/openapi/v1/apps/*\"\npolicy = \"pass\"\n";

    rewrite(&stage.gateway, |config| config + DENY + opening);

    assert_eventually!(
        stage.gateway.log_text().contains("nothing has changed"),
        "the file is refused"
    );
    assert!(stage.gateway.log_text().contains("unsafe = true"));
    stage.forwards(&request("GET", "/files/1")).await;
    stage
        .refuses(&request("GET", "/openapi/v1/apps"), 401)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_under_way_goes_on_under_the_rules_of_before() {
    let stage = Stage::set().await;
    let interval = Duration::from_millis(200);
    let events = 10;
    stage
        .upstream
        .on("/files/*", Behaviour::Sse { events, interval });
    let mut client = stage.gateway.client().await;
    client.send(&request("GET", "/files/1").to_bytes()).await;
    assert_eq!(client.read_head().await.status, 200);
    assert!(client.read_chunk().await.is_some());
    assert_eq!(stage.upstream.take_requests().len(), 1);

    changes(&stage.gateway, |config| config + DENY).await;

    stage.refuses(&request("GET", "/files/2"), 404).await;
    let mut heard = 1;
    while client.read_chunk().await.is_some() {
        heard += 1;
    }
    assert_eq!(heard, events);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_one_request_fails_while_rules_come_and_go() {
    let stage = Arc::new(Stage::set().await);
    let other = Upstream::start().await;
    let port = other.addr().port();
    // A name, so that the upstream has to be looked up before it can be used.
    let rule = format!(
        "\n[[routes]]\nmatch = \"/files/*\"\npolicy = \"pass\"\n\
         upstream = \"http://localhost:{port}\"\n"
    );
    let (over, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stage, over, served) = (stage.clone(), over.clone(), served.clone());
            tokio::spawn(async move {
                let mut client = stage.gateway.client().await;
                while !over.load(Ordering::SeqCst) {
                    client.send(&request("GET", "/files/1").to_bytes()).await;
                    let response = client.read_response().await;
                    assert_eq!(response.status, 200, "{response:?}");
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let goes_on = || async {
        let before = served.load(Ordering::SeqCst);
        assert_eventually!(
            served.load(Ordering::SeqCst) > before + 50,
            "requests are served"
        );
    };

    for _ in 0..5 {
        changes(&stage.gateway, |config| config + &rule).await;
        other.take_requests();
        goes_on().await;
        assert!(!other.take_requests().is_empty(), "the rule is in force");
        reloads(&stage.gateway, &rule, "").await;
        goes_on().await;
    }

    over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_the_first_generations_paths_come_and_go() {
    let stage = Stage::with(|gateway| {
        gateway
            .set("device_page.enabled", "true")
            .set("device_flow.legacy_paths", "true")
    })
    .await;
    let (page, first) = (request("GET", "/device"), request("GET", "/v1/me"));
    stage.refuses(&page, 200).await;
    stage.refuses(&first, 401).await;

    changes(&stage.gateway, |config| {
        config
            .replace("enabled = true", "enabled = false")
            .replace("legacy_paths = true", "legacy_paths = false")
    })
    .await;

    stage.forwards(&page).await;
    stage.forwards(&first).await;
    for key in ["device_page.enabled", "device_flow.legacy_paths"] {
        assert!(!takes_a_restart(&stage.gateway, key), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enterprise_branch_takes_a_restart_and_its_rows_with_it() {
    let stage = Stage::with(|gateway| gateway.set("enterprise.enabled", "false")).await;
    let apps = request("GET", "/openapi/v1/permitted-external-apps").bearer(&stage.external.token);
    stage.refuses(&apps, 404).await;

    changes(&stage.gateway, |config| {
        config.replace("enabled = false", "enabled = true") + DENY
    })
    .await;

    assert!(takes_a_restart(&stage.gateway, "enterprise.enabled"));
    stage.refuses(&apps, 404).await;
    stage.refuses(&request("GET", "/files/1"), 404).await;
}
