//! What the other commands print, and `serve` with a configuration that will not do: whatever fails,
//! and however the file is wrong, none of its secrets.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{Database, DedicatedRedis, Gateway, Upstream};

/// What every secret in these tests begins with.
const HIDDEN: &str = "hidden-";

/// What one begins with that is a number to TOML, as nobody has quoted it.
const HIDDEN_NUMBER: &str = "48151623";

const EVERY_COMMAND: &[&[&str]] = &[
    &["check"],
    &["check", "--connect"],
    &["migrate"],
    &["migrate", "--grants"],
    &["prune"],
];

/// Everything that a command prints with this configuration, and whether it worked.
fn printed(directory: &Path, arguments: &[&str], toml: &str) -> (String, bool) {
    let path = directory.join("config.toml");
    std::fs::write(&path, toml).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_difygate"))
        .args(arguments)
        .arg("--config")
        .arg(&path)
        .env_clear()
        .env("RUST_BACKTRACE", "full")
        .env("LEAK_TEST_SECRET", "hidden-in-the-environment")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(both).unwrap();
    for hidden in [HIDDEN, HIDDEN_NUMBER] {
        assert!(!text.contains(hidden), "{arguments:?} with\n{toml}\n{text}");
    }
    (text, output.status.success())
}

/// Runs a command where it may block.
async fn runs(arguments: &'static [&'static str], toml: String) -> (String, bool) {
    let run = move || printed(tempfile::tempdir().unwrap().path(), arguments, &toml);
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_prints_a_secret_when_all_is_well() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = DedicatedRedis::start().await;
    // In the tests' Postgres anybody is who they say they are.
    let toml = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .redis(redis.space())
        .set("dify.secret_key", "\"hidden-key\"")
        .set("postgres.password", "\"hidden-password\"")
        .set("log.level", "\"trace\"")
        .to_toml();

    for command in EVERY_COMMAND {
        let (said, worked) = runs(command, toml.clone()).await;
        assert!(worked, "{command:?}\n{said}");
        assert!(!said.is_empty(), "{command:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_prints_a_secret_that_a_store_does_not_take() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = DedicatedRedis::start().await;
    let role = format!("gate_{}", uuid::Uuid::new_v4().simple());
    let toml = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .redis(redis.space())
        .set("dify.secret_key", "\"hidden-key\"")
        .set("postgres.user", &format!("\"{role}\""))
        .set("postgres.password", "\"hidden-password\"")
        // It has no password, and refuses those who come with one.
        .set("redis.password", "\"hidden-password\"")
        .set("log.level", "\"trace\"")
        .to_toml();

    let (said, worked) = runs(&["check", "--connect"], toml.clone()).await;
    assert!(
        !worked && said.contains("redis") && said.contains(&role),
        "{said}"
    );
    for command in [&["migrate"], &["prune"]] {
        let (said, worked) = runs(command, toml.clone()).await;
        assert!(!worked, "{command:?}\n{said}");
    }
}

/// Secrets in places where a message might quote them.
const WRONG: &[&str] = &[
    "[postgres]\npasword = \"hidden-1\"",
    "[postgres]\npassword = \"hidden-1",
    "[postgres]\npassword = hidden-1",
    "[postgres]\npassword = [\"hidden-1\"]",
    "[postgres]\nhost = \"127.0.0.1\"\nport = 1\npassword = 48151623",
    "[redis]\nhost = \"127.0.0.1\"\nport = 1\npassword = 48151623.42",
    "[dify]\nsecret_key = 48151623",
    "[postgres]\npassword = \"hidden-1\"\npassword = \"hidden-2\"",
    "[postgres]\npassword = { envv = \"hidden-1\" }",
    "[postgres]\nurl = \"postgres://u:hidden-1@h:port/d\"",
    "[postgres]\nurl = \"postgres://u:hidden-1@127.0.0.1:1/d?hidden-2=hidden-3\"",
    "[redis]\nurl = \"redis://:hidden-1@h:99999/0\"",
    "[redis]\nurl = \"redis://:hidden-1@127.0.0.1:1/hidden-2\"",
    "[redis]\nurl = \"rediss+hidden-1://h\"",
    "[postgres]\nhost = \"postgres://u:hidden-1@h\"",
    "[postgres]\nhost = \"127.0.0.1\"\nport = 1\nparameters = \"password=hidden-1\"",
    "[redis]\nhost = \"redis://:hidden-1@h\"",
    "[redis]\nsentinels = [\"redis://:hidden-1@h:1\"]\nservice_name = \"s\"",
    "[redis]\ncluster_nodes = [\"redis://:hidden-1@h:1\"]",
    "[redis]\ntls_key = \"-----BEGIN PRIVATE KEY-----hidden-1\"\nhost = \"127.0.0.1\"\nport = 1",
    "[upstream]\nurl = \"http://u:hidden-1@h/\"",
    "[upstream]\nurl = \"http://h/?key=hidden-1\"",
    "[dify]\nsecret_key = { env = \"LEAK_TEST_SECRET\", file = \"hidden-1\" }",
    "[dify]\nkeys = \"hidden-1\"",
    "[dify]\nkeys = { a = 1, b = \"hidden-1\" }\nactive_kid = \"c\"",
    "[enterprise]\nenabled = true\napi_url = \"http://u:hidden-1@h\"\nsecret_key = \"hidden-2\"",
    "[tracing]\nenabled = true\nendpoint = \"http://u:hidden-1@h/\"",
    "[tracing]\nenabled = true\nendpoint = \"http://h/?key=hidden-1\"",
    "[tracing]\nenabled = true\ntraces_endpoint = \"http://h/#hidden-1\"",
];

#[test]
fn no_message_about_a_configuration_quotes_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    for wrong in WRONG {
        let sections: Vec<&str> = wrong.lines().take(1).collect();
        let mut toml = format!("{wrong}\n");
        for rest in [
            "[upstream]\nurl = \"http://127.0.0.1:1\"\n",
            "[dify]\nsecret_key = { env = \"LEAK_TEST_SECRET\" }\n",
            "[postgres]\nhost = \"127.0.0.1\"\nport = 1\n",
            "[redis]\nhost = \"127.0.0.1\"\nport = 1\n",
        ] {
            if !sections.iter().any(|section| rest.starts_with(section)) {
                toml.push_str(rest);
            }
        }
        for command in EVERY_COMMAND {
            printed(directory.path(), command, &toml);
        }
        let (said, worked) = printed(directory.path(), &["check", "--connect"], &toml);
        assert!(!worked, "{wrong}\n{said}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_refused_by_its_name_alone() {
    for command in EVERY_COMMAND.iter().chain([&["serve"][..]].iter()) {
        let output = Command::new(env!("CARGO_BIN_EXE_difygate"))
            .args(*command)
            .args(["--config", "config.toml.example"])
            .env_clear()
            .env("RUST_BACKTRACE", "full")
            .env("DB_PASSWORD", OsStr::from_bytes(b"hidden-\xff"))
            .env(OsStr::from_bytes(b"ODD\xff"), "hidden-2")
            .stdin(Stdio::null())
            .output()
            .unwrap();

        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?} {said}");
        assert!(said.contains(": DB_PASSWORD, ODD\u{fffd}\n"), "{said}");
        assert!(!said.contains(HIDDEN), "{command:?} {said}");
    }
}
