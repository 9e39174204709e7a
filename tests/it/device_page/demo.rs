//! `difygate demo`: a newcomer walks the whole flow in a browser.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{Chromium, patience};

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_signs_in_and_approves_what_the_terminal_asks() {
    let mut demo = tokio::process::Command::new(env!("CARGO_BIN_EXE_difygate"))
        .args([
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut guide = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut page = String::new();
    let command = loop {
        let line = tokio::time::timeout(patience(10.0), guide.next_line()).await;
        let line = line.expect("the guide").unwrap().expect("a browser's part");
        if let Some((_, rest)) = line.split_once("open http://") {
            page = rest.split('/').next().unwrap().to_owned();
        }
        if line.starts_with("login=") {
            break line;
        }
    };
    // The terminal: says the code, then waits for the token.
    let mut terminal = tokio::process::Command::new("sh")
        .args(["-c", &command])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(terminal.stdout.take().unwrap()).lines();
    let code = said.next_line().await.unwrap().unwrap();
    let code = code.strip_prefix("code: ").unwrap().to_owned();

    let browser = Chromium::open(page.parse().unwrap()).await;
    browser.goes_to("/device").await;
    let view = |name: &str| {
        format!(
            "document.querySelector('[data-view={name}]:not([hidden])') && document.querySelector('main').ariaBusy === 'false'"
        )
    };
    browser.waits_until(&view("enter")).await;
    browser.types(&code).await;
    browser.clicks("#enter button").await;
    browser.waits_until(&view("choose")).await;
    browser.clicks("#to-account").await;
    browser.waits_until("location.pathname === '/signin'").await;
    assert_eq!(browser.axe_violations().await, Vec::<String>::new());
    browser.clicks("button").await;
    browser.waits_until(&view("approve")).await;
    assert_eq!(
        browser.text("[data-fill=device]").await,
        "difyctl on my terminal"
    );
    browser.clicks("#approve").await;
    browser.waits_until(&view("outcome")).await;

    let granted = tokio::time::timeout(patience(20.0), said.next_line()).await;
    let granted: Value = serde_json::from_str(&granted.unwrap().unwrap().unwrap()).unwrap();
    assert_eq!(granted["account"]["email"], "ada@example.com");
}
