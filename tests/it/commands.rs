//! The command line: `check`, `demo`, and what `serve` says about a bad file.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{Database, Gateway, RedisSpace, Upstream, patience};

fn difygate(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_difygate"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(directory: &Path, toml: &str) -> String {
    let path = directory.join("config.toml");
    std::fs::write(&path, toml).unwrap();
    path.display().to_string()
}

#[test]
fn the_example_is_valid() {
    let output = difygate(&["check", "--config", "config.toml.example"], &[]);

    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with("the configuration is valid\n"));
}

#[test]
fn every_problem_is_named_at_once_with_key_line_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(
        directory.path(),
        "[server]\nlisten = [\"nowhere\"]\nthreds = 2\n[tokens]\nttl_days = \"many\"\n",
    );

    for command in ["check", "serve"] {
        let output = difygate(&[command, "--config", &path], &[]);
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        for part in [
            "server.listen",
            "config.toml:2",
            "server.threds",
            "config.toml:3",
            "tokens.ttl_days",
            "config.toml:5",
            "upstream.url",
            "dify.secret_key",
            "SECRET_KEY",
            "postgres",
            "redis",
        ] {
            assert!(said.contains(part), "{part} is not in:\n{said}");
        }
    }
}

#[test]
fn a_rule_that_opens_what_is_guarded_is_a_problem_too() {
    let directory = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string("config.toml.example").unwrap();
    let rule = "\n[[routes]]\nmatch = \"/inner/api/*\"\npolicy = \"pass\"\n";
    let path = write(directory.path(), &format!("{example}{rule}"));

    let output = difygate(&["check", "--config", &path], &[]);

    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("unsafe = true"));
}

#[test]
fn check_refuses_whatever_serve_refuses_with_key_line_and_cause() {
    let directory = tempfile::tempdir().unwrap();
    let common = "dify.secret_key = \"x\"\nupstream.url = \"http://h\"\n";
    let broken = "postgres.url = \"postgres://u:hunter2@h/d?keepalives=hunter2\"\n\
                  redis.url = \"redis://u:hunter2%FF@h/0\"\n\
                  enterprise.enabled = true\nenterprise.api_url = \"http://e\"\n\
                  enterprise.secret_key = \"hunter2\\u0001\"\n";
    let path = write(directory.path(), &format!("{common}{broken}"));

    for command in ["check", "serve"] {
        let output = difygate(&[command, "--config", &path], &[]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = text(&output.stderr);
        for part in [
            "postgres.url",
            "config.toml:3",
            "`keepalives`",
            "redis.url",
            "config.toml:4",
            "Password is not valid UTF-8",
            "enterprise.secret_key",
            "config.toml:7",
        ] {
            assert!(said.contains(part), "{part} is not in:\n{said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }

    let unknown = "postgres.url = \"postgres://u@h/d?require_auth=scram-sha-256\"\n\
                   redis.url = \"redis://h/abc\"\n";
    let path = write(directory.path(), &format!("{common}{unknown}"));
    let output = difygate(&["check", "--config", &path], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("config.toml:3") && said.contains("require_auth"),
        "{said}"
    );
    assert!(said.contains("config.toml:4"), "{said}");
}

#[test]
fn usage_errors_and_missing_files_have_their_exit_codes() {
    assert_eq!(difygate(&["frobnicate"], &[]).status.code(), Some(2));
    let missing = difygate(&["check", "--config", "/nonexistent/config.toml"], &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nonexistent/config.toml"));
}

#[test]
fn difys_own_environment_is_enough_but_for_the_upstream() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), "[upstream]\nurl = \"http://api:5001\"\n");
    let environment = [
        ("SECRET_KEY", "sk-x"),
        ("DB_HOST", "db"),
        ("DB_PORT", "5432"),
        ("DB_USERNAME", "postgres"),
        ("DB_PASSWORD", "difyai123456"),
        ("DB_DATABASE", "dify"),
        ("REDIS_HOST", "redis"),
        ("REDIS_PASSWORD", "difyai123456"),
        ("CONSOLE_WEB_URL", ""),
        ("LOG_LEVEL", "INFO"),
        ("EDITION", "SELF_HOSTED"),
    ];

    let output = difygate(&["check", "--config", &path], &environment);

    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let named_by_variable = difygate(
        &["check"],
        &[&environment[..], &[("DIFYGATE_CONFIG", path.as_str())]].concat(),
    );
    assert_eq!(named_by_variable.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_connect_reaches_everything() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = RedisSpace::create().await;
    let directory = tempfile::tempdir().unwrap();
    let toml = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .redis(&redis)
        .to_toml();
    let path = write(directory.path(), &toml);
    let arguments = ["check", "--connect", "--config", &path];

    let fine = difygate(&arguments, &[]);
    assert_eq!(fine.status.code(), Some(0), "{}", text(&fine.stdout));

    let client = database.client().await;
    client
        .batch_execute("DROP TABLE dify_setups; DROP TABLE tenant_account_joins;")
        .await
        .unwrap();
    let missing = difygate(&arguments, &[]);
    assert_eq!(missing.status.code(), Some(1));
    let said = text(&missing.stdout);
    assert!(said.contains("dify_setups") && said.contains("tenant_account_joins"));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_connect_names_the_rights_that_are_missing() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = RedisSpace::create().await;
    let role = format!("gate_{}", uuid::Uuid::new_v4().simple());
    let client = database.client().await;
    let setup = format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT ON accounts TO {role}; \
         GRANT SELECT, INSERT ON oauth_access_tokens TO {role};"
    );
    client.batch_execute(&setup).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let toml = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .redis(&redis)
        .set("postgres.user", &format!("\"{role}\""))
        .to_toml();
    let path = write(directory.path(), &toml);

    let output = difygate(&["check", "--connect", "--config", &path], &[]);

    let clean_up = format!("DROP OWNED BY {role}; DROP ROLE {role};");
    client.batch_execute(&clean_up).await.unwrap();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    for right in [
        "UPDATE ON oauth_access_tokens",
        "DELETE ON oauth_access_tokens",
        "SELECT ON tenants",
    ] {
        assert!(
            said.contains(&format!("GRANT {right} TO \"{role}\";")),
            "{said}"
        );
    }
    assert!(!said.contains("GRANT SELECT ON accounts"));
}

#[test]
fn check_connect_says_what_cannot_be_reached() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &Gateway::builder().to_toml());

    let output = difygate(&["check", "--connect", "--config", &path], &[]);

    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    for key in ["postgres", "redis", "upstream.url"] {
        assert!(said.contains(key), "{said}");
    }
}

/// Runs the demo, copies every line that it prints and compares the answer with what it promises.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_keeps_what_it_prints() {
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
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut steps = Vec::new();
    while steps.len() < 17 {
        let line = tokio::time::timeout(patience(10.0), lines.next_line())
            .await
            .expect("the demo prints its guide")
            .unwrap()
            .expect("the guide has seventeen steps");
        if let Some(promise) = line.strip_prefix("# ") {
            let command = lines.next_line().await.unwrap().unwrap();
            steps.push((promise.to_owned(), command));
        }
    }

    for (promise, command) in steps {
        let output = tokio::process::Command::new("sh")
            .args(["-c", &command])
            .output()
            .await
            .unwrap();
        let said = text(&output.stdout);
        let expected = promise.split(':').next().unwrap();
        if command.contains("/metrics") {
            assert!(said.contains("difygate_requests_total"), "{promise}");
        } else {
            let status = said.split(' ').nth(1);
            assert_eq!(status, Some(expected), "{promise}\n{command}\n{said}");
        }
        match promise.split_once(": ").unwrap().1 {
            p if p.contains("five events") => assert_eq!(said.matches("data:").count(), 5),
            p if p.contains("WebSocket") => assert!(said.contains("hello from the demo")),
            p if p.contains("nobody has approved") => {
                assert!(said.contains("\"authorization_pending\""), "{said}");
            }
            p if p.contains("about a user code") => {
                assert!(said.contains("\"valid\": true"), "{said}");
            }
            p if p.contains("made up") => assert!(!said.contains("eve@example.com")),
            p if p.contains("each up") => assert_eq!(said.matches("\"up\"").count(), 3),
            _ => {}
        }
    }
}

#[test]
fn the_demo_says_what_to_do_when_its_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let output = difygate(&["demo", "--listen", &address], &[]);

    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--listen"));
}
