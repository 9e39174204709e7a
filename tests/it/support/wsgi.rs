//! A real gunicorn with Werkzeug's routing behind it, as Dify's API has them.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Mutex, OnceLock},
    time::Instant,
};

use serde::Deserialize;

use super::{
    client::Response,
    guard::{Guard, Plan, free_port},
    patience::patience,
};

/// Underscores in names are let through: what arrives is to be seen, not what gunicorn refuses.
const RUN: &str = r#""$TOOLS/gunicorn" --bind "127.0.0.1:$PORT" --worker-class gthread --threads 16 \
    --keep-alive 60 --header-map dangerous --worker-tmp-dir "$DIR" --chdir "$FIXTURES" \
    werkzeug_app:application >"$DIR/log" 2>&1"#;

/// A running server; `fixtures/werkzeug_app.py` says what it answers.
#[derive(Debug)]
pub(crate) struct Wsgi {
    _guard: Mutex<Guard>,
    addr: SocketAddr,
}

/// What the server made of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct Matched {
    /// `guarded` or `open` and the rule, a redirect, or a status.
    pub(crate) endpoint: String,
    /// The path that was routed: decoded, slashes as they came.
    pub(crate) path: String,
    /// The body's length in bytes.
    pub(crate) length: u64,
    /// The bearer credentials in it, once for each way of reading that finds some.
    pub(crate) bearer: Vec<String>,
    /// What the server says of the request.
    pub(crate) environ: std::collections::BTreeMap<String, String>,
}

impl Matched {
    /// Reads an answer; `None` if it is not this server's. One to HEAD says in the header what others
    /// say in their body.
    pub(crate) fn of(response: &Response) -> Option<Self> {
        let said = match response.header("x-werkzeug")? {
            "1" => &response.body,
            said => said.as_bytes(),
        };
        Some(serde_json::from_slice(said).unwrap())
    }
}

impl Wsgi {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        let port = free_port();
        let guard = tokio::task::spawn_blocking(move || {
            let mut guard = Guard::prepare(&Plan {
                setup: "true",
                run: RUN,
                stop: "TERM",
                env: vec![
                    ("PORT", port.to_string()),
                    ("TOOLS", tools()),
                    ("FIXTURES", fixtures()),
                    ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
                ],
                unprivileged: None,
            });
            guard.start();
            let begun = Instant::now();
            while !guard.log().contains("Booting worker") {
                let late = guard.has_ended() || begun.elapsed() > patience(20.0);
                assert!(!late, "gunicorn did not start:\n{}", guard.log());
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            guard
        });
        let guard = guard.await.unwrap();
        Self {
            _guard: Mutex::new(guard),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// The folder of the Python tools, which are installed if they are missing, by one test for all.
fn tools() -> String {
    static FOLDER: OnceLock<String> = OnceLock::new();
    FOLDER.get_or_init(install).clone()
}

fn install() -> String {
    let output = Command::new(".ci/tools/install").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the Python tools are missing: {said}"
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn fixtures() -> String {
    let folder = Path::new("tests/it/fixtures").canonicalize().unwrap();
    folder.into_os_string().into_string().unwrap()
}
