//! A panic says where it happened and nothing else. No request is known that makes the gateway
//! panic, so the test is its own child process: the library's log as `serve` starts it, and a task
//! that panics with a token in its hands and in its message.

use std::process::Command;
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
