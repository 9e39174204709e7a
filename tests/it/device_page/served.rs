//! The page as bytes: headers, caching, weight, and what it refers to.

use std::collections::BTreeSet;

use crate::support::{Response, Stage, request};

/// The most that page, style, script and icon may weigh together, in bytes.
const MOST: usize = 60 * 1024;

async fn get(stage: &Stage, path: &str) -> Response {
    stage.refuses(&request("GET", path), 200).await
}

/// The addresses in a document's `src` and `href` attributes, but for those within it.
fn referred(document: &str) -> Vec<&str> {
    let attributes = ["src=\"", "href=\""].iter();
    attributes
        .flat_map(|name| document.split(*name).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|address| !address.starts_with('#'))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_do_nothing_but_run_its_own_script_and_ask_its_own_origin() {
    let stage = Stage::set().await;

    let page = get(&stage, "/device?user_code=ABCD-3456").await;

    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
        ),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(page.header_values(name), [value], "{name}");
    }
    assert!(!page.text().contains("ABCD"), "nothing is reflected");
    for forbidden in [
        "<style", " style=", "<script>", " onclick", "http://", "https://", "{{",
    ] {
        assert!(!page.text().contains(forbidden), "{forbidden}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_together_weighs_less_than_60_kib_and_the_rest_is_kept_for_ever() {
    let stage = Stage::set().await;
    let page = get(&stage, "/device").await;
    let mut weight = page.body.len();
    let mut kinds = Vec::new();

    let document = page.text();
    for address in referred(&document) {
        assert!(
            address.starts_with("/openapi/v1/oauth/device/assets/"),
            "{address}"
        );
        let asset = get(&stage, address).await;
        let forever = Some("public, max-age=31536000, immutable");
        assert_eq!(asset.header("cache-control"), forever, "{address}");
        assert_eq!(asset.header("x-content-type-options"), Some("nosniff"));
        kinds.push(asset.header("content-type").unwrap().to_owned());
        weight += asset.body.len();
    }

    assert_eq!(
        kinds,
        [
            "text/javascript; charset=utf-8",
            "image/svg+xml",
            "text/css; charset=utf-8",
        ]
    );
    assert!(weight < MOST, "{weight} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_browser_has_is_not_sent_again() {
    let stage = Stage::set().await;
    let document = get(&stage, "/device").await.text();
    let script = referred(&document)[0];

    for path in ["/device", script] {
        let whole = get(&stage, path).await;
        let tag = whole.header("etag").unwrap().to_owned();
        for same in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".to_owned(),
        ] {
            let again = request("GET", path).header("If-None-Match", &same);
            let again = stage.refuses(&again, 304).await;
            assert_eq!(again.header("etag"), Some(tag.as_str()));
            assert_eq!(again.header("cache-control"), whole.header("cache-control"));
            assert_eq!(again.header("content-length"), None);
            assert_eq!(again.text(), "");
        }
        let other = request("GET", path).header("If-None-Match", "\"x\"");
        assert_eq!(stage.refuses(&other, 200).await.body, whole.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_knows_get_head_and_options_and_has_no_slash_at_its_end() {
    let stage = Stage::set().await;
    let document = get(&stage, "/device").await.text();
    let script = referred(&document)[0];

    for path in ["/device", script] {
        let whole = get(&stage, path).await;
        let head = stage.refuses(&request("HEAD", path), 200).await;
        assert_eq!(
            head.header("content-length"),
            whole.header("content-length")
        );
        assert_eq!(head.header("etag"), whole.header("etag"));
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let refused = stage.refuses(&request(method, path), 405).await;
            assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"));
        }
        stage.refuses(&request("OPTIONS", path), 200).await;
    }
    stage.forwards(&request("GET", "/device/")).await;
    stage.forwards(&request("GET", "/devices")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_of_another_release_is_404_and_never_forwarded() {
    let stage = Stage::set().await;

    for rest in [
        "",
        "device.js",
        "device-0123456789abcdef.js",
        "x/device.js",
        ".",
    ] {
        let path = format!("/openapi/v1/oauth/device/assets/{rest}");
        let status = if rest == "." { 400 } else { 404 };
        let refused = stage.refuses(&request("GET", &path), status).await;
        assert_eq!(refused.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_page_its_path_is_the_web_front_ends() {
    let stage = Stage::with(|gateway| gateway.set("device_page.enabled", "false")).await;

    stage.forwards(&request("GET", "/device")).await;
    stage.forwards(&request("POST", "/device")).await;
    let asset = request("GET", "/openapi/v1/oauth/device/assets/device.js");
    stage.refuses(&asset, 404).await;
}

/// The texts of one language: what `texts.js` says between its name and the next.
fn keys(script: &str, begin: &str, end: &str) -> BTreeSet<String> {
    let (_, rest) = script.split_once(begin).unwrap();
    let (table, _) = rest.split_once(end).unwrap();
    let lines = table.lines().map(str::trim);
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, _)| {
            // `scope.apps:run` has a colon of its own.
            let key = key.trim_matches('"');
            key.to_owned()
        })
        .collect()
}

#[test]
fn both_languages_say_the_same_things_and_the_page_says_nothing_else() {
    let script = include_str!("../../../src/web/texts.js");
    let document = include_str!("../../../src/web/device.html");
    let english = keys(script, "en: {", "\"zh-Hans\": {");
    let chinese = keys(script, "\"zh-Hans\": {", "\n};");

    assert_eq!(english, chinese);
    assert!(english.len() > 40, "{english:?}");
    for attribute in ["data-text=\"", "data-label=\""] {
        for rest in document.split(attribute).skip(1) {
            let key = rest.split('"').next().unwrap();
            assert!(english.contains(key), "{key}");
        }
    }
}
