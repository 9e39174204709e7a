//! The page as a person meets it: fresh without a reload, and fit to be looked at.

use std::{path::PathBuf, time::Duration};

use crate::support::{
    Chromium, Database, DedicatedRedis, Gateway, NewToken, Stage, Upstream, request,
};

/// Where pictures go, when somebody asks for them: `make screenshots`.
const PICTURES: &str = "DIFYGATE_SCREENSHOTS";

const LAG: &str = "document.querySelector('[data-curve=lag]')";

/// No request has left the site, and nothing has gone against the page's policy.
async fn has_kept_to_itself(browser: &Chromium) {
    let site = format!("{}/", browser.origin());
    for address in browser.requested().await {
        let within = address.starts_with(&site) || address.starts_with("data:");
        assert!(within, "{address}");
    }
    assert_eq!(browser.console().await, [""; 0]);
}

/// Opens the page, in which a mark tells a reload.
async fn opens(gateway: &Gateway) -> Chromium {
    let browser = Chromium::open(gateway.admin_addr()).await;
    browser.goes_to("/").await;
    browser.eval("window.mark = 1").await;
    browser
}

fn reads(place: &str, text: &str) -> String {
    format!(
        "window.mark && document.querySelector('[data-text=\"{place}\"]').innerText === '{text}'"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_change_without_a_reload() {
    let stage = Stage::set().await;
    let browser = opens(&stage.gateway).await;
    browser.waits_until(&reads("requests.total", "0")).await;

    for _ in 0..12 {
        let apps = stage
            .gateway
            .get("/openapi/v1/apps", Some(&stage.account.token));
        assert_eq!(apps.await.status, 200);
    }

    browser.waits_until(&reads("requests.total", "12")).await;
    browser.waits_until(&reads("checks.total", "12")).await;
    let drawn = "document.querySelector('[data-curve=requests]').points.length >= 2 && window.mark";
    browser.waits_until(drawn).await;
    assert_eq!(stage.gateway.get("/inner/api/x", None).await.status, 404);
    browser
        .waits_until("document.querySelector('[data-table=refusals] th')?.innerText")
        .await;
    has_kept_to_itself(&browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_seen_and_announced() {
    let (upstream, redis) = (Upstream::start().await, DedicatedRedis::start().await);
    let database = Database::create().await;
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .redis(redis.space())
        .start()
        .await;
    let browser = opens(&gateway).await;
    browser.waits_until(&reads("status", "ready")).await;

    redis.stop();

    browser.waits_until(&reads("status", "degraded")).await;
    let row = "[...document.querySelectorAll('[data-table=dependencies] tr[data-state=down]')] \
               .map((row) => row.cells[0].innerText).join() === 'redis'";
    browser.waits_until(row).await;
    let announced = "document.querySelector('#news').textContent \
                     === 'The gateway is degraded; down: redis.'";
    browser.waits_until(announced).await;
    browser
        .waits_until("document.querySelector('[data-table=faults]').innerText.includes('redis')")
        .await;
    redis.restart().await;
    browser.waits_until(&reads("status", "ready")).await;
    has_kept_to_itself(&browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_gone_is_said_to_be() {
    let gateway = Gateway::builder().start().await;
    let browser = opens(&gateway).await;

    drop(gateway);

    let silent = "window.mark && !document.querySelector('#silence').hidden";
    browser.waits_until(silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_looks_finished_in_every_light_and_at_every_width() {
    let redis = DedicatedRedis::start().await;
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let account = database.account("ada@example.com", "Ada").await;
    let token = NewToken::account(account, "ada@example.com");
    let token = database.insert_token(&token).await;
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .redis(redis.space())
        .start()
        .await;
    let busy = async {
        let ask = request("GET", "/openapi/v1/apps")
            .bearer(&token.token)
            .to_bytes();
        let mut clients = Vec::new();
        for _ in 0..9 {
            clients.push(gateway.client().await);
        }
        loop {
            for client in &mut clients {
                client.send(&ask).await;
                client.read_response().await;
            }
            gateway.get("/inner/api/x", None).await;
            gateway.get("/openapi/v1/apps", None).await;
            tokio::time::sleep(Duration::from_millis(80)).await;
        }
    };
    let look = async {
        let browser = opens(&gateway).await;
        // A picture shows a curve worth the name.
        let points = if std::env::var_os(PICTURES).is_some() {
            60
        } else {
            2
        };
        for points in (2..=points).step_by(2) {
            let drawn = format!("{LAG}.points.length >= {points}");
            browser.waits_until(&drawn).await;
        }
        looks_finished(&browser, "well").await;
        redis.stop();
        browser.waits_until(&reads("status", "degraded")).await;
        looks_finished(&browser, "outage").await;
        browser.appears("en-US", "light").await;
        has_kept_to_itself(&browser).await;
    };
    tokio::select! {
        () = busy => {}
        () = look => {}
    }
}

async fn looks_finished(browser: &Chromium, name: &str) {
    for scheme in ["light", "dark"] {
        browser.appears("en-US", scheme).await;
        let violations = browser.axe_violations().await;
        assert_eq!(violations, [""; 0], "{name} {scheme}");
        for width in [320, 768, 1280] {
            browser.is_sized(width, 900).await;
            let overflow = "return document.body.scrollWidth - document.body.clientWidth";
            assert_eq!(browser.eval(overflow).await, 0, "{name} {scheme} {width}");
            if let Some(folder) = std::env::var_os(PICTURES) {
                let folder = PathBuf::from(folder);
                std::fs::create_dir_all(&folder).unwrap();
                let file = folder.join(format!("status-{name}-{scheme}-{width}.png"));
                std::fs::write(file, browser.screenshot().await).unwrap();
            }
        }
    }
}
