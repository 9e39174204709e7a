//! A panic says where it happened and nothing else, whether there is a log or not.
//!
//! No request is known that makes the gateway panic, so for a panic under way the test is its own
//! child process: the library's log as `serve` starts it, and a task that panics with a token in its
//! hands and in its message. Where there is no log the real program is made to panic, by a limit that
//! leaves it no thread: what tokio says then holds no secret and stands in for one that does.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use difygate::clock::{Clock, SystemClock};
use difygate::config::{AccessLog, AuditStream, LogConfig, LogFormat, LogLevel};
use difygate::health::Health;
use difygate::telemetry;

/// Set for the child alone.
const TOKEN: &str = "DIFYGATE_TEST_PANIC_TOKEN";

const SECRET: &str = "leak-test-panic-0123456789";

#[tokio::test]
async fn a_panic_with_a_token_at_hand_prints_none() {
    if let Ok(token) = std::env::var(TOKEN) {
        return panics_with(token).await;
    }
    let name = "panics::a_panic_with_a_token_at_hand_prints_none";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(TOKEN, SECRET)
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap();

    let printed = [child.stdout, child.stderr].concat();
    let printed = String::from_utf8(printed).unwrap();
    assert!(child.status.success(), "{printed}");
    assert!(printed.contains("a task panicked"), "{printed}");
    assert!(printed.contains("panics.rs"), "where it was: {printed}");
    assert!(!printed.contains(SECRET), "{printed}");
}

/// What the child does: logs everything, and panics in every way in which messages are made.
async fn panics_with(token: String) {
    let log = LogConfig {
        level: LogLevel::Trace,
        format: LogFormat::Json,
        access: AccessLog::All,
        audit: AuditStream::Log,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let _log = telemetry::init(&log, &Health::new(&clock)).unwrap();
    for way in 0..3 {
        let held = token.clone();
        let task = tokio::spawn(async move {
            match way {
                0 => panic!("quotes {held}"),
                1 => {
                    let refused: Result<(), String> = std::hint::black_box(Err(held));
                    refused.expect("a token");
                }
                _ => assert_eq!(held, "another"),
            }
        });
        assert!(task.await.unwrap_err().is_panic());
    }
}

/// What tokio panics with when no thread can be started (`spawn_blocking` in its
/// `src/runtime/blocking/pool.rs`).
const TOKIOS_WORDS: &str = "spawn worker thread";

#[test]
fn a_panic_without_a_log_tells_its_place_alone() {
    // Where it was built may be closed to others, and root has as many threads as it likes.
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    open(directory.path(), 0o755);
    let program = directory.path().join("difygate");
    fs::copy(env!("CARGO_BIN_EXE_difygate"), &program).unwrap();
    open(&program, 0o755);
    let file = directory.path().join("config.toml");
    fs::copy("config.toml.example", &file).unwrap();
    open(&file, 0o644);
    let as_root = fs::metadata("/proc/self").unwrap().uid() == 0;

    for arguments in [
        &["migrate"][..],
        &["prune"],
        &["check", "--connect"],
        &["demo"],
    ] {
        let mut shell = Command::new("bash");
        shell
            .args(["-c", "ulimit -u 0 && exec \"$0\" \"$@\""])
            .arg(&program)
            .args(arguments)
            .env_clear()
            .env("RUST_BACKTRACE", "full")
            .env("PATH", "/usr/bin:/bin")
            .current_dir(directory.path())
            .stdin(Stdio::null());
        if as_root {
            shell.uid(65_534).gid(65_534);
        }
        let output = shell.output().unwrap();

        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(101), "{arguments:?} {said}");
        assert!(said.contains("difygate: a panic at /"), "{said}");
        assert!(said.contains(".rs:"), "where it was: {said}");
        assert!(!said.contains(TOKIOS_WORDS), "{arguments:?} {said}");
    }
}

#[test]
fn panics_are_seen_to_before_anything_else_is_done() {
    let source = fs::read_to_string("src/main.rs").unwrap();
    let (_, body) = source.split_once("fn main() -> ExitCode {\n").unwrap();

    assert_eq!(
        body.lines().next().map(str::trim),
        Some("telemetry::print_panics();")
    );
}
