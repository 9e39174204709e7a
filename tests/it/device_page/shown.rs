//! What strangers say of themselves, as the page shows it to the person who is to decide.

use serde_json::{Value, json};

use super::visit::Visit;
use crate::support::Login;

#[tokio::test(flavor = "multi_thread")]
async fn another_address_is_a_warning_and_the_same_one_reassures_nobody() {
    let trust = |gateway: crate::support::GatewayBuilder| {
        gateway.set("server.trusted_proxies", r#"["127.0.0.1/32"]"#)
    };
    let visit = Visit::with(trust).await;
    let login = visit.login().await;
    visit.signs_in().await;
    let at = json!({"headers": {"X-Forwarded-For": "203.0.113.7"}});
    visit.browser.devtools("Network.enable", json!({})).await;
    visit
        .browser
        .devtools("Network.setExtraHTTPHeaders", at)
        .await;

    visit.enters(&login.user_code).await;
    visit.sees("approve").await;
    let said = async |name: &str| visit.browser.text(&format!("[data-fill={name}]")).await;
    assert_eq!(said("address").await, "127.0.0.1");
    assert_eq!(said("whose").await, "Not the address that you are at");

    // Whoever lures somebody may have claimed that very address.
    let key = format!("device_code:{}", login.device_code);
    let mut state = login.state(&visit.stage.redis).await.unwrap();
    state["created_ip"] = json!("203.0.113.7");
    visit
        .stage
        .redis
        .set_ex(&key, &state.to_string(), 600)
        .await;
    visit.enters(&login.user_code).await;
    visit.sees("approve").await;
    assert_eq!(said("address").await, "203.0.113.7");
    assert_eq!(said("whose").await, "");
}

/// What stands around an element: above, below and on either side of it.
async fn surroundings(visit: &Visit, selector: &str) -> Vec<Value> {
    // A pixel less on each side: an edge may lie between two.
    let clips = format!(
        "const edges = (selector) => document.querySelector(selector).getBoundingClientRect();
        const all = edges('body'), own = edges('{selector}');
        const top = Math.floor(own.top) - 1, bottom = Math.ceil(own.bottom) + 1;
        const left = Math.floor(own.left) - 1, right = Math.ceil(own.right) + 1;
        const clip = (x, y, right, bottom) =>
            ({{ x, y: y + scrollY, width: right - x, height: bottom - y, scale: 1 }});
        return [
            clip(0, all.top, all.right, top),
            clip(0, bottom, all.right, all.bottom),
            clip(0, top, left, bottom),
            clip(right, top, all.right, bottom),
        ];"
    );
    let clips = visit.browser.eval(&clips).await;
    clips.as_array().unwrap().clone()
}

async fn pictures(visit: &Visit, clips: &[Value]) -> Vec<Value> {
    let mut pictures = Vec::new();
    for clip in clips {
        let shot = json!({"captureBeyondViewport": true, "clip": clip});
        let mut shot = visit.browser.devtools("Page.captureScreenshot", shot).await;
        pictures.push(shot["data"].take());
    }
    pictures
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_call_themselves_paints_over_nothing_else() {
    let visit = Visit::begin().await;
    // "A minute ago" stays what it is.
    visit
        .browser
        .runs_first("window.setInterval = () => 0")
        .await;
    visit.is_asked().await;
    // Marks above and below, and boxes that no line can be broken between.
    let marks = ["\u{301}", "\u{332}", "\u{e49}"];
    for (name, frame, marks) in [
        ("device", "dd:has([data-fill=device])", &marks[..]),
        // A workspace that somebody has invited to. Its frame is as wide as what stands in it.
        ("context", "[data-fill=context]", &marks[..2]),
    ] {
        let around = surroundings(&visit, frame).await;
        let before = pictures(&visit, &around).await;
        for mark in marks {
            let text = format!("Z{}", mark.repeat(254));
            let field = format!("document.querySelector('[data-fill={name}]')");
            let written = format!("{field}.textContent = '{text}'");
            visit.browser.eval(&written).await;
            let same = pictures(&visit, &around).await == before;
            assert!(same, "{name} {mark:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_calls_itself_is_seen_as_it_is() {
    let visit = Visit::begin().await;
    visit.signs_in().await;
    for (called, seen) in [
        // Another direction, and what shows as nothing.
        ("\u{202e}(moc.live)", "\u{fffd}(moc.live)"),
        (
            "a\u{200b}\u{2060}\u{3164}\u{2800}\u{feff}b",
            "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}b",
        ),
        ("a\u{2003}\u{3000}\u{a0}b", "a b"),
        // Joiners between nothing, piles of marks, and marks on nothing.
        ("a\u{200d}\u{301}", "a\u{fffd}\u{301}"),
        (
            &format!("a{}", "\u{301}".repeat(99)),
            "a\u{301}\u{301}\u{301}\u{301}",
        ),
        ("\u{301}", "\u{25cc}\u{301}"),
        // What people write.
        (
            "zo\u{eb} zoe\u{308} 中文 क्\u{200d}ष می\u{200c}خواهم",
            "zo\u{eb} zoe\u{308} 中文 क्\u{200d}ष می\u{200c}خواهم",
        ),
        (
            "\u{8fbb}\u{e0100} \u{d28}\u{d4d}\u{200d}",
            "\u{8fbb}\u{e0100} \u{d28}\u{d4d}\u{200d}",
        ),
        (
            "👩🏽\u{200d}💻 ❤\u{fe0f}\u{200d}🔥 1\u{fe0f}\u{20e3}",
            "👩🏽\u{200d}💻 ❤\u{fe0f}\u{200d}🔥 1\u{fe0f}\u{20e3}",
        ),
    ] {
        let login = Login::begin(&visit.stage.gateway, called).await;
        visit.enters(&login.user_code).await;
        visit.sees("approve").await;
        let text = "return document.querySelector('[data-fill=device]').textContent";
        let text = visit.browser.eval(text).await;
        assert_eq!(text, format!("difyctl on {seen}"), "{called:?}");
    }
}
