//! What becomes of the log when nobody reads it, and when it cannot be written.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Browser, Gateway, GatewayBuilder, Login, RawClient, Stage, assert_eventually, get, patience,
    request, within,
};

const APPS: &str = "/openapi/v1/apps";
const DROPPED: &str = "difygate_log_lines_dropped_total";

/// Linux's `O_NONBLOCK`.
const NON_BLOCKING: i32 = 0o4_000;

/// A gateway whose standard error is a pipe, of which nobody reads more than where it listens.
struct Unread {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    addr: SocketAddr,
    admin: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Unread {
    fn start(builder: &GatewayBuilder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, builder.to_toml()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_difygate"))
            .args(["serve", "--config"])
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut listening = |listener: &str| loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it did not start");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" && line["listener"] == listener {
                return line["address"].as_str().unwrap().parse().unwrap();
            }
        };
        let admin = listening("admin");
        let addr = listening("gateway");
        Self {
            child,
            log,
            addr,
            admin,
            _dir: dir,
        }
    }

    async fn dropped(&self) -> u64 {
        let metrics = get(self.admin, "/metrics", None).await.text();
        let counted = metrics.lines().filter(|line| line.starts_with(DROPPED));
        counted
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    /// Asks so often, over connections that every thread has some of, and gets refused.
    async fn is_flooded(&self, requests: usize) {
        let path = format!("{APPS}/{}", "x".repeat(8_000));
        let flood = request("GET", &path).to_bytes();
        let clients = (0..8).map(async |_| {
            let mut client = RawClient::connect(self.addr).await;
            for _ in 0..requests / 8 {
                client.send(&flood).await;
                assert_eq!(client.read_response().await.status, 401);
            }
        });
        futures_util::future::join_all(clients).await;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends a process, and tells whether it ended well.
async fn stops(child: &mut Child) -> bool {
    let pid = child.id().to_string();
    let sent = Command::new("sh")
        .args(["-c", r#"kill -TERM "$0""#, &pid])
        .status();
    assert!(sent.unwrap().success());
    assert_eventually!(child.try_wait().unwrap().is_some(), "the process ends");
    child.wait().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_nobody() {
    let stage = Stage::set().await;
    let builder = Gateway::builder()
        .upstream(stage.upstream.addr())
        .database(&stage.database)
        .redis(&stage.redis)
        .set("server.threads", "2")
        .set("log.level", "\"info\"")
        .set("log.access", "\"all\"");
    let mut gateway = Unread::start(&builder);
    let token = Some(stage.account.token.as_str());
    assert_eq!(get(gateway.addr, APPS, token).await.status, 200);

    within(120.0, "a flood of refusals", gateway.is_flooded(4_000)).await;

    for _ in 0..8 {
        let hot = get(gateway.addr, APPS, token);
        assert_eq!(within(30.0, "a hot token", hot).await.status, 200);
    }
    assert!(gateway.dropped().await > 0, "more than there is room for");

    // Somebody reads again, and hears of it.
    let mut said = None;
    let mut line = String::new();
    while said.is_none() {
        line.clear();
        assert_ne!(gateway.log.read_line(&mut line).unwrap(), 0);
        let line: Value = serde_json::from_str(&line).unwrap();
        said = line["message"]
            .as_str()
            .is_some_and(|message| message.contains("lines were lost"))
            .then(|| line["lines"].as_u64().unwrap());
    }
    assert!(said.unwrap() > 0);
    assert_eventually!(
        gateway.dropped().await == said.unwrap(),
        "every one is said"
    );
    let mut rest = std::mem::replace(&mut gateway.log, BufReader::new(stderr_of_nobody()));
    let reader = std::thread::spawn(move || rest.read_to_end(&mut Vec::new()));
    assert!(stops(&mut gateway.child).await);
    reader.join().unwrap().unwrap();
}

/// An end of a pipe that is closed already.
fn stderr_of_nobody() -> std::process::ChildStderr {
    let child = Command::new("true").stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    child.wait().unwrap();
    child.stderr.take().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_keeps_no_process_from_its_end() {
    let builder = Gateway::builder().set("log.access", "\"all\"");
    let mut gateway = Unread::start(&builder);
    within(120.0, "a flood of refusals", gateway.is_flooded(400)).await;

    assert!(stops(&mut gateway.child).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_are_written() {
    let mut stage = Stage::with(|gateway| gateway.set("log.access", "\"all\"")).await;
    for _ in 0..100 {
        stage.gateway.get("/nothing", None).await;
    }

    stage.gateway.terminate();
    stage.gateway.wait_exit(patience(30.0)).await;

    let lines = stage.gateway.log_lines();
    let count = lines.iter().filter(|line| line["target"] == "access");
    assert_eq!(count.count(), 100);
    let last = Gateway::log_field(lines.last().unwrap(), "message");
    assert_eq!(last.unwrap(), "stopped: every request has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_event_that_cannot_be_written_is_counted_and_said() {
    let stage = Stage::with(|gateway| gateway.set("log.audit", "\"/dev/full\"")).await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    let login = Login::begin(&stage.gateway, "ada-laptop").await;

    let approved = browser.approves(&stage.gateway, &login.user_code).await;

    assert_eq!(approved.status, 200);
    assert_eq!(login.polls(&stage.gateway).await.status, 200);
    let lost = format!(r#"{DROPPED}{{kind="audit",reason="unwritten"}}"#);
    assert_eventually!(stage.gateway.metric(&lost).await >= 1.0, "it is counted");
    let said = stage
        .gateway
        .wait_for_log(|line| Gateway::log_field(line, "stream") == Some(&"audit".into()))
        .await;
    assert_eq!(said["level"], "ERROR");
    let apps = request("GET", APPS).bearer(&stage.account.token);
    stage.forwards(&apps).await;
}

/// A pipe with a name, which holds 64 KiB that nobody reads.
struct Fifo {
    file: std::fs::File,
    path: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Fifo {
    fn create() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.fifo");
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let mut options = std::fs::OpenOptions::new();
        // Both ends, so that it opens at once; a read takes what is there and waits for no more.
        options.read(true).write(true).custom_flags(NON_BLOCKING);
        Self {
            file: options.open(&path).unwrap(),
            path,
            _dir: dir,
        }
    }

    /// Reads what is there.
    fn drain(&self, into: &mut String) {
        let mut chunk = vec![0; 64 * 1_024];
        while let Ok(length @ 1..) = (&self.file).read(&mut chunk) {
            into.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_trail_that_stands_still_holds_up_no_token_check() {
    let fifo = Fifo::create();
    let audit = Value::from(fifo.path.to_str().unwrap()).to_string();
    let stage = Stage::with(|gateway| gateway.set("log.audit", &audit)).await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let wrong = request("GET", &format!("{APPS}/{}", "x".repeat(2_000)));
    let wrong = wrong.bearer(&stage.external.token).to_bytes();
    within(120.0, "a flood of events", is_full(&stage, &wrong)).await;

    let hot = request("GET", APPS).bearer(&stage.account.token);
    within(30.0, "a hot token", stage.forwards(&hot)).await;
    // An approval waits for a place, and is not refused for want of one.
    let approved = browser.approves(&stage.gateway, &login.user_code);
    assert_eq!(within(30.0, "an approval", approved).await.status, 200);
    // It has two seconds; on a machine that stands still for as long, another may have more luck.
    for host in ["phone", "tablet", "watch", "desk", "car"] {
        within(120.0, "a flood of events", is_full(&stage, &wrong)).await;
        if has_waited_for_its_turn(&stage, &browser, host, &fifo).await {
            return;
        }
    }
    panic!("no event has waited for its turn");
}

async fn lost(stage: &Stage) -> f64 {
    let lost = format!(r#"{DROPPED}{{kind="audit",reason="queue_full"}}"#);
    stage.gateway.metric(&lost).await
}

/// Sends requests whose events wait, each for one more place, until there is none for the next.
async fn is_full(stage: &Stage, wrong: &[u8]) {
    let before = lost(stage).await;
    let mut client = stage.gateway.client().await;
    while lost(stage).await == before {
        for _ in 0..100 {
            client.send(wrong).await;
            assert_eq!(client.read_response().await.status, 403);
        }
    }
}

/// Approves, and reads the trail meanwhile; whether the approval's event has come, and is not lost.
async fn has_waited_for_its_turn(
    stage: &Stage,
    browser: &Browser,
    host: &str,
    fifo: &Fifo,
) -> bool {
    let login = Login::begin(&stage.gateway, &format!("ada-{host}")).await;
    let before = lost(stage).await;
    let approving = browser.approves(&stage.gateway, &login.user_code);
    let reading = async {
        assert_eventually!(
            login.state(&stage.redis).await.unwrap()["status"] == "approved",
            "the approval is under way"
        );
        // Long enough for who does not wait to lose it.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (mut read, mut written) = (String::new(), false);
        assert_eventually!(
            {
                fifo.drain(&mut read);
                written |= read.contains(&format!("ada-{host}"));
                written || lost(stage).await > before
            },
            "its event comes, or is lost"
        );
        written
    };
    let (approved, written) = tokio::join!(approving, reading);
    assert_eq!(approved.status, 200);
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_chooses_how_long_a_line_is() {
    let mut stage = Stage::set().await;
    let long = "X".repeat(60 * 1_024);
    let path = format!("{APPS}/{long}");

    stage.refuses(&request("GET", &path), 401).await;
    stage.refuses(&request(&long, APPS), 401).await;
    let wrong = request("GET", &path).bearer(&stage.external.token);
    stage.refuses(&wrong, 403).await;
    // A line comes after its answer.
    stage.gateway.terminate();
    stage.gateway.wait_exit(patience(30.0)).await;

    let text = stage.gateway.log_text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("XXX")).collect();
    assert_eq!(lines.len(), 4, "three requests and an event");
    for line in lines {
        assert!(line.len() < 2_048, "{} bytes", line.len());
    }
    let denied = stage.gateway.audit_events("openapi.wrong_surface_denied");
    assert_eq!(denied.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_has_what_a_terminal_obeys() {
    let mut stage = Stage::set().await;
    // Two of the controls, two ends of lines and three turns of direction.
    let obeyed = ['\u{85}', '\u{9b}', '\u{2028}', '\u{2029}', '\u{202e}'];
    let obeyed = [&obeyed[..], &['\u{2066}', '\u{200f}']].concat();
    let name: String = obeyed.iter().collect();
    let raw = format!("/openapi/v1/oauth/device/assets/{name}2J-zoë");
    let decoded = format!("{APPS}/{name}2J-zoë");
    let encoded = name.bytes().map(|byte| format!("%{byte:02X}"));
    let encoded = format!("{APPS}/{}2J-zo%C3%AB", encoded.collect::<String>());

    stage.refuses(&request("GET", &raw), 404).await;
    let wrong = request("GET", &encoded).bearer(&stage.external.token);
    stage.refuses(&wrong, 403).await;
    stage.gateway.terminate();
    stage.gateway.wait_exit(patience(30.0)).await;

    let text = stage.gateway.log_text();
    assert!(!text.contains(&obeyed[..]), "{text:?}");
    // Whoever parses a line reads what it was about all the same.
    let lines = stage.gateway.log_lines();
    for (target, path) in [("access", raw), ("audit", decoded)] {
        let told = |line: &Value| line["target"] == target && line["path"] == path.as_str();
        assert!(lines.iter().any(told), "{target}: {text:?}");
    }
}
