//! `difygate demo --enterprise`: the whole branch, walked as a browser and a device walk it.

use std::{net::SocketAddr, process::Stdio};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use url::Url;

use crate::support::{Grant, Response, patience, request};

const DEVICE: &str = "/openapi/v1/oauth/device";

/// GETs a whole URL.
async fn follow(url: &str) -> Response {
    let url = Url::parse(url).unwrap();
    let address = url.socket_addrs(|| None).unwrap()[0];
    let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    request("GET", &target).send(address).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enterprise_demo_can_be_walked_from_code_to_token() {
    let mut demo = tokio::process::Command::new(env!("CARGO_BIN_EXE_difygate"))
        .args(["demo", "--enterprise", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0"])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let printed = async {
        loop {
            let line = lines
                .next_line()
                .await
                .unwrap()
                .expect("the guide has a step for SSO");
            if line.contains("sso-initiate") {
                return line;
            }
        }
    };
    let step = tokio::time::timeout(patience(10.0), printed).await.unwrap();
    let host = step
        .split("http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let gateway: SocketAddr = host.parse().unwrap();

    let body = json!({"client_id": "difyctl", "device_label": "difyctl on eve-laptop"});
    let begun = request("POST", &format!("{DEVICE}/code")).json(&body);
    let begun = begun.send(gateway).await.json();
    let user_code = begun["user_code"].as_str().unwrap();
    let initiate = format!("http://{gateway}{DEVICE}/sso-initiate?user_code={user_code}");
    let initiated = follow(&initiate).await;
    assert_eq!(initiated.status, 302, "{initiated:?}");
    let page = initiated.header("location").unwrap().to_owned();
    let form = follow(&page).await;
    assert!(
        form.status == 200 && form.text().contains("name=email"),
        "{form:?}"
    );
    // Forms are sent to where the page is.
    let signed_in = page.replace("/login?", "/signed-in?email=eve%40partner.example&");
    let asserted = follow(&signed_in).await;
    assert_eq!(asserted.status, 302, "{asserted:?}");
    let completed = follow(asserted.header("location").unwrap()).await;
    assert_eq!(completed.header("location"), Some("/device?sso_verified=1"));
    let grant = Grant::from(&completed, user_code);
    assert_eq!(
        grant.context().send(gateway).await.json()["subject_email"],
        "eve@partner.example"
    );
    let approved = grant.approves().send(gateway).await;
    assert_eq!(approved.status, 200, "{approved:?}");

    let body = json!({"client_id": "difyctl", "device_code": begun["device_code"]});
    let poll = request("POST", &format!("{DEVICE}/token")).json(&body);
    let granted = poll.send(gateway).await.json();
    let token = granted["token"].as_str().unwrap();
    assert!(token.starts_with("dfoe_"));
    let apps = request("GET", "/openapi/v1/permitted-external-apps").bearer(token);
    assert_eq!(apps.send(gateway).await.status, 200);

    // The person with the demo's account is sent to sign in with that.
    let ada = page.replace("/login?", "/signed-in?email=ada%40example.com&");
    let asserted = follow(&ada).await;
    let turned_away = follow(asserted.header("location").unwrap()).await;
    assert_eq!(turned_away.status, 409, "the login has been decided");
}
