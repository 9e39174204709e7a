//! A headless Chromium, driven by WebDriver.
//!
//! One driver serves all tests; each test has a browser of its own, with a profile of its own.

use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use fantoccini::error::CmdError;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder};
use http::Method;
use serde_json::{Value, json};
use url::Url;

use super::guard::{Guard, Plan, free_port};
use super::patience::patience;

const AXE: &str = include_str!("../fixtures/axe/axe.min.js");

const INSTALL: &str = "apt-get install -y chromium chromium-driver fonts-noto-cjk";

/// Profiles are made in `$DIR`, which is removed with the driver.
const RUN: &str = r#"env TMPDIR="$DIR" chromedriver --port="$PORT" >>"$DIR/log" 2>&1"#;

/// The sandbox does not work for root, and a pipe ends the browser with its driver.
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
];

static DRIVER: OnceLock<Driver> = OnceLock::new();

struct Driver {
    _guard: Mutex<Guard>,
    url: String,
}

impl Driver {
    fn shared() -> &'static Self {
        DRIVER.get_or_init(Self::start)
    }

    fn start() -> Self {
        for command in ["chromedriver", "chromium"] {
            let found = std::process::Command::new("sh")
                .args(["-c", &format!("command -v {command} >/dev/null")])
                .status();
            assert!(found.unwrap().success(), "no {command}: {INSTALL}");
        }
        let port = free_port();
        let mut guard = Guard::prepare(&Plan {
            setup: "true",
            run: RUN,
            // The guard ignores SIGTERM, and what it starts would too.
            stop: "KILL",
            env: vec![("PORT", port.to_string())],
            unprivileged: None,
        });
        guard.start();
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                begun.elapsed() < patience(10.0) && !guard.has_ended(),
                "chromedriver does not start:\n{}",
                guard.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Self {
            url: format!("http://127.0.0.1:{port}"),
            _guard: Mutex::new(guard),
        }
    }
}

/// A browser with one window, closed when dropped.
#[derive(Debug)]
pub(crate) struct Chromium {
    client: Client,
    origin: String,
}

/// A command that only Chromium's driver has.
#[derive(Debug)]
struct OfChromium(&'static str, Value);

impl WebDriverCompatibleCommand for OfChromium {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!(
            "session/{}/{}",
            session.unwrap_or_default(),
            self.0
        ))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.1.to_string()))
    }
}

impl Chromium {
    /// Starts a browser for the site at `site`, in English and light.
    pub(crate) async fn open(site: SocketAddr) -> Self {
        let driver = tokio::task::spawn_blocking(Driver::shared).await.unwrap();
        let options = json!({"binary": "/usr/bin/chromium", "args": ARGUMENTS});
        let logs = json!({"browser": "ALL", "performance": "ALL"});
        let capabilities = Capabilities::from_iter([
            ("goog:chromeOptions".to_owned(), options),
            ("goog:loggingPrefs".to_owned(), logs),
        ]);
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&driver.url)
            .await
            .expect("Chromium starts");
        let browser = Self {
            client,
            origin: format!("http://{site}"),
        };
        browser.appears("en-US", "light").await;
        browser.is_sized(1280, 900).await;
        browser
    }

    /// The scheme, host and port of the site.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Speaks a language and prefers a colour scheme, from the next page on.
    pub(crate) async fn appears(&self, language: &str, scheme: &str) {
        let agent = self.eval("return navigator.userAgent").await;
        let agent = json!({"userAgent": agent, "acceptLanguage": language});
        self.devtools("Emulation.setUserAgentOverride", agent).await;
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let media = json!({"features": features});
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// Has a window of so many CSS pixels.
    pub(crate) async fn is_sized(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
    }

    /// Goes offline, or comes back.
    pub(crate) async fn is_offline(&self, offline: bool) {
        self.has_a_network(offline, 0).await;
    }

    /// Gets every answer so many milliseconds late.
    pub(crate) async fn answers_slowly(&self, milliseconds: u32) {
        self.has_a_network(false, milliseconds).await;
    }

    async fn has_a_network(&self, offline: bool, latency: u32) {
        let conditions = json!({
            "offline": offline,
            "latency": latency,
            "downloadThroughput": -1,
            "uploadThroughput": -1,
        });
        self.devtools("Network.enable", json!({})).await;
        self.devtools("Network.emulateNetworkConditions", conditions)
            .await;
    }

    /// Has a cookie of the site.
    pub(crate) async fn has_cookie(&self, name: &str, value: &str) {
        let cookie = json!({"name": name, "value": value, "url": self.origin});
        self.devtools("Network.setCookie", cookie).await;
    }

    /// Runs a script in every page before the page's own.
    pub(crate) async fn runs_first(&self, script: &str) {
        let source = json!({"source": script});
        self.devtools("Page.addScriptToEvaluateOnNewDocument", source)
            .await;
    }

    /// Has no cookie and nothing in any storage any more.
    pub(crate) async fn forgets_everything(&self) {
        self.devtools("Network.clearBrowserCookies", json!({}))
            .await;
        self.eval("localStorage.clear(); sessionStorage.clear()")
            .await;
    }

    /// Goes to a path of the site.
    pub(crate) async fn goes_to(&self, path: &str) {
        let url = format!("{}{path}", self.origin);
        self.client.goto(&url).await.unwrap();
    }

    /// Goes back in the window's history.
    pub(crate) async fn goes_back(&self) {
        self.client.back().await.unwrap();
    }

    /// Opens another window of the same browser and is in it from here on.
    pub(crate) async fn opens_a_window(&self) {
        let window = self.client.new_window(true).await.unwrap();
        self.client.switch_to_window(window.handle).await.unwrap();
    }

    /// Is in the window of this number, in the order in which they were opened.
    pub(crate) async fn is_in_window(&self, number: usize) {
        let mut windows = self.client.windows().await.unwrap();
        let window = windows.swap_remove(number);
        self.client.switch_to_window(window).await.unwrap();
    }

    /// Runs the body of a function in the page.
    pub(crate) async fn eval(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Sends keys to whatever has the focus; special ones by their code points.
    pub(crate) async fn types(&self, keys: &str) {
        let focused = self.client.active_element().await.unwrap();
        focused.send_keys(keys).await.unwrap();
    }

    /// Clicks the first element that a selector finds.
    pub(crate) async fn clicks(&self, selector: &str) {
        // The page takes no approval in the first moment.
        let settled = format!("!('settling' in document.querySelector({selector:?}).dataset)");
        self.waits_until(&settled).await;
        let found = self.client.find(fantoccini::Locator::Css(selector)).await;
        let element = found.unwrap_or_else(|error| panic!("{selector}: {error}"));
        element.click().await.unwrap();
    }

    /// The rendered text of the first element that a selector finds.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.eval(&script).await.as_str().unwrap().to_owned()
    }

    /// Waits until an expression is true; panics with the page's text when it does not.
    pub(crate) async fn waits_until(&self, expression: &str) {
        let begun = Instant::now();
        loop {
            // A page that is going away may break the question off.
            let script = format!("return Boolean({expression})");
            if let Ok(Value::Bool(true)) = self.client.execute(&script, Vec::new()).await {
                return;
            }
            if begun.elapsed() > patience(10.0) {
                let url = self.client.current_url().await;
                let text = self.text("body").await;
                panic!("{expression} did not come true at {url:?}:\n{text}");
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// What axe-core finds wrong with the page as it is, a line for each rule.
    pub(crate) async fn axe_violations(&self) -> Vec<String> {
        self.eval(&format!("if (!window.axe) {{ {AXE} }}")).await;
        let script = "const done = arguments[arguments.length - 1];
            axe.run(document, { resultTypes: ['violations'] }).then(
                (found) => done(found.violations.map((v) => v.id + ': ' + v.help + ' '
                    + v.nodes.map((n) => n.html + ' ' + n.failureSummary).join(' | '))),
                (error) => done([String(error)]));";
        let found = self.client.execute_async(script, Vec::new()).await.unwrap();
        let lines = found.as_array().unwrap().iter();
        lines
            .map(|line| line.as_str().unwrap().to_owned())
            .collect()
    }

    /// The whole page as a PNG.
    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        use base64::Engine as _;
        let size = json!({"captureBeyondViewport": true});
        let shot = self.devtools("Page.captureScreenshot", size).await;
        let png = shot["data"].as_str().unwrap();
        base64::engine::general_purpose::STANDARD
            .decode(png)
            .unwrap()
    }

    /// The console's messages since the last question.
    pub(crate) async fn console(&self) -> Vec<String> {
        let log = self.issue("se/log", json!({"type": "browser"})).await;
        let lines = log.unwrap();
        let lines = lines.as_array().unwrap().iter();
        lines
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The addresses that any window has asked for since the last question.
    pub(crate) async fn requested(&self) -> Vec<String> {
        let log = self.issue("se/log", json!({"type": "performance"})).await;
        let log = log.unwrap();
        let events =
            log.as_array().unwrap().iter().map(|line| {
                serde_json::from_str::<Value>(line["message"].as_str().unwrap()).unwrap()
            });
        events
            .filter(|event| event["message"]["method"] == "Network.requestWillBeSent")
            .map(|event| {
                let url = &event["message"]["params"]["request"]["url"];
                url.as_str().unwrap().to_owned()
            })
            .collect()
    }

    /// Gives a command of the DevTools protocol.
    pub(crate) async fn devtools(&self, command: &str, params: Value) -> Value {
        let order = json!({"cmd": command, "params": params});
        let answer = self.issue("goog/cdp/execute", order).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    async fn issue(&self, path: &'static str, body: Value) -> Result<Value, CmdError> {
        self.client.issue_cmd(OfChromium(path, body)).await
    }
}

impl Drop for Chromium {
    /// Ends the browser at once; the tests have a multi-threaded runtime for it.
    fn drop(&mut self) {
        let client = self.client.clone();
        tokio::task::block_in_place(|| {
            let _ = tokio::runtime::Handle::current().block_on(client.close());
        });
    }
}
