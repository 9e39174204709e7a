//! The page at `/device` and what it refers to.

use super::document::Document;
use crate::support::{Gateway, request};

const PAGE: &str = "/device";
const ASSETS: &str = "/openapi/v1/oauth/device/assets/";

pub(super) async fn answers(document: &mut Document, gateway: &Gateway) {
    let asset = format!("{ASSETS}{{name}}");
    let html = gateway.get(PAGE, None).await;
    // Each is named in an attribute of the page.
    let named = html.text();
    let named: Vec<&str> = named
        .split('"')
        .filter(|word| word.starts_with(ASSETS))
        .collect();
    assert!(named.len() >= 3, "{named:?}");
    let mut rows = vec![(PAGE, PAGE)];
    rows.extend(named.into_iter().map(|path| (asset.as_str(), path)));
    for (template, path) in rows {
        let get = request("GET", path);
        document.expect(gateway, template, &get, 200).await;
        let known = get.header("If-None-Match", "*");
        document.expect(gateway, template, &known, 304).await;
        let other = request("POST", path);
        document.expect(gateway, template, &other, 405).await;
    }
    let unknown = request("GET", &format!("{ASSETS}device-0000000000000000.js"));
    document.expect(gateway, &asset, &unknown, 404).await;
}
