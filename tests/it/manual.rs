//! Completions and manual pages, as packages install them.

use std::{collections::BTreeSet, fs, io::Write as _, process::Command, process::Stdio};

/// What a person may want to run; the commands that make packages are hidden.
const COMMANDS: [&str; 5] = ["serve", "check", "migrate", "prune", "demo"];

fn difygate(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_difygate"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_shell_completes_the_commands_and_their_options() {
    for shell in ["bash", "zsh", "fish"] {
        let script = difygate(&["completions", shell]);

        for word in COMMANDS.iter().chain(&["connect", "grants", "config"]) {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
}

#[test]
fn the_completion_for_bash_is_a_script_that_bash_reads() {
    let script = difygate(&["completions", "bash"]);
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = bash.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).unwrap();
    drop(stdin);

    assert!(bash.wait().unwrap().success());
}

#[test]
fn there_is_a_manual_page_for_each_command_and_none_for_hidden_ones() {
    let folder = tempfile::tempdir().unwrap();

    difygate(&["man", folder.path().to_str().unwrap()]);

    let found: BTreeSet<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = COMMANDS.map(|command| format!("difygate-{command}.1"));
    let expected = expected.into_iter().chain(["difygate.1".to_owned()]);
    assert_eq!(found, expected.collect());
    let page = fs::read_to_string(folder.path().join("difygate.1")).unwrap();
    for part in [".TH difygate 1", "Exit codes", "SIGTERM", "serve"] {
        assert!(page.contains(part), "{part} is not in:\n{page}");
    }
    let migrate = fs::read_to_string(folder.path().join("difygate-migrate.1")).unwrap();
    assert!(migrate.contains("config") && migrate.contains("grants"));
}
