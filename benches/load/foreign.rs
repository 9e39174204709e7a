//! Proxies of somebody else's: where they are, which version, how one is started.

use std::{
    env,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    peers::{Foreign, Peer},
    support::{Guard, Plan, free_port, patience},
};

/// The check of `nginx-lua.conf`.
const LUA: &str = include_str!("peers/nginx-lua.lua");

/// Writes the configuration down. Where it will stand is known only then.
const SETUP: &str = r#"printf %s "$TEXT" | sed "s#@DIR@#$DIR#g" >"$DIR/config" &&
    printf %s "$LUA" >"$DIR/check.lua""#;

/// Names between two @ in a configuration, and what they stand for.
pub(crate) type Values = Vec<(&'static str, String)>;

/// A running proxy, ended when dropped, and when the bench ends however it does.
#[derive(Debug)]
pub(crate) struct Process {
    guard: Guard,
    address: SocketAddr,
}

impl Process {
    /// Starts a proxy and waits until it listens.
    pub(crate) fn start(peer: Peer, foreign: &Foreign, threads: usize, values: &Values) -> Self {
        let program = find(foreign).expect("looked for before");
        let port = free_port();
        let mut text = foreign.config.to_owned();
        let own = [("PORT", port.to_string()), ("THREADS", threads.to_string())];
        for (name, value) in own.iter().chain(values) {
            text = text.replace(&format!("@{name}@"), value);
        }
        let mut guard = Guard::prepare(&Plan {
            setup: SETUP,
            run: foreign.run,
            stop: foreign.stop,
            env: vec![
                ("TEXT", text),
                ("LUA", LUA.to_owned()),
                ("PROGRAM", program.to_string_lossy().into_owned()),
                ("THREADS", threads.to_string()),
            ],
            unprivileged: None,
        });
        guard.start();
        let process = Self {
            guard,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let begun = Instant::now();
        while TcpStream::connect(process.address).is_err() {
            assert!(
                !process.guard.has_ended() && begun.elapsed() < patience(20.0),
                "{} does not listen:\n{}",
                peer.name(),
                end(&process.log())
            );
            thread::sleep(Duration::from_millis(10));
        }
        process
    }

    /// Returns where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the id of its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// Returns what it has said so far.
    pub(crate) fn log(&self) -> String {
        self.guard.log()
    }
}

/// Returns the last lines of a log.
pub(crate) fn end(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Names each program that is missing, with what installs it.
pub(crate) fn missing(peers: &[Peer]) -> Vec<String> {
    let mut lines: Vec<String> = peers
        .iter()
        .filter_map(|peer| peer.card().foreign)
        .filter(|foreign| find(foreign).is_none())
        .map(|foreign| format!("{} is missing: {}", foreign.program, foreign.install))
        .collect();
    lines.sort();
    lines.dedup();
    lines
}

/// Returns where a program is: where `.ci/tools/install` puts it, or where Debian does.
fn find(foreign: &Foreign) -> Option<PathBuf> {
    // This program is target/release/deps/load-….
    let bench = env::current_exe().ok()?;
    let installed = bench.ancestors().nth(3)?.join("peers/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    [installed]
        .into_iter()
        .chain(env::split_paths(&path))
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(foreign.program))
        .find(|file| file.is_file())
}

/// Returns the version that a program tells.
pub(crate) fn version(foreign: &Foreign) -> String {
    let output = find(foreign).map(|program| Command::new(program).arg(foreign.version).output());
    let Some(Ok(output)) = output else {
        return "?".to_owned();
    };
    // nginx writes to standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let begins_as_one = |word: &&str| {
        word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.')
    };
    text.rsplit_once("ersion")
        .map_or(&*text, |(_, rest)| rest)
        .split(['/', ' ', '\n'])
        .map(|word| word.trim_start_matches('v'))
        .find(begins_as_one)
        .unwrap_or("?")
        .to_owned()
}
