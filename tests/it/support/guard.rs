//! A child server that never outlives the test process, however that process ends.
//!
//! The server is the child of a small shell script, not of the tests. The script reads orders
//! from its standard input; when the tests end, even by SIGKILL, the kernel closes that pipe
//! and the script stops the server and removes its directory.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// `$SETUP`, `$RUN` and `$STOP` come in the environment. The children's own PIDs are looked
/// up in /proc, because PostgreSQL moves every backend into a process group of its own.
const SCRIPT: &str = r#"
pid=
family() { echo "$pid"; grep -ls "^PPid:[[:space:]]*$pid\$" /proc/[0-9]*/status | cut -d/ -f3; }
halt() {
    [ -n "$pid" ] || return
    kill -CONT $(family); kill "-$STOP" "$pid"; wait "$pid"
    pid=
}
DIR=$(mktemp -d) || exit 1
# Only the end of the tests ends this script, and nothing comes between it and cleaning up:
# not a reader that is gone, nor the SIGHUP that orphans get when one of them is frozen.
trap '' PIPE HUP INT TERM
echo "$DIR"
eval "$SETUP" && echo prepared || echo failed
while read -r order; do
    case $order in
        start) (eval "exec $RUN") </dev/null & pid=$!; echo "$pid" ;;
        stop) halt; echo stopped ;;
        # The parent first, so that it has no new child that the list does not know.
        freeze) kill -STOP "$pid"; kill -STOP $(family); echo frozen ;;
        thaw) kill -CONT $(family); echo thawed ;;
    esac
done
halt
rm -rf "$DIR"
"#;

/// How to prepare, run and stop one kind of server; `$DIR` is its private directory.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) setup: &'static str,
    pub(crate) run: &'static str,
    /// Name of the signal that stops the server at once.
    pub(crate) stop: &'static str,
    pub(crate) env: Vec<(&'static str, String)>,
    /// The user to become when the tests run as root.
    pub(crate) unprivileged: Option<&'static str>,
}

/// The guarding script and its server.
#[derive(Debug)]
pub(crate) struct Guard {
    script: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    dir: PathBuf,
    pid: u32,
}

impl Guard {
    /// Prepares the directory; the server itself is started by [`Guard::start`].
    pub(crate) fn prepare(plan: &Plan) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT])
            .envs([
                ("SETUP", plan.setup),
                ("RUN", plan.run),
                ("STOP", plan.stop),
            ])
            .envs(plan.env.iter().map(|(key, value)| (key, value.as_str())))
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C in the terminal is for the tests; the script notices that they are gone.
            .process_group(0);
        if let Some(user) = plan.unprivileged.filter(|_| is_root()) {
            // Root's own TMPDIR may be closed to that user.
            command
                .env_remove("TMPDIR")
                .uid(id_of("-u", user))
                .gid(id_of("-g", user));
        }
        let mut script = command.spawn().expect("sh starts");
        let mut guard = Self {
            orders: script.stdin.take(),
            answers: BufReader::new(script.stdout.take().unwrap()),
            script,
            dir: PathBuf::new(),
            pid: 0,
        };
        guard.dir = PathBuf::from(guard.answer());
        let prepared = guard.answer();
        assert_eq!(
            prepared,
            "prepared",
            "server setup failed:\n{}",
            guard.log()
        );
        guard
    }

    /// Starts the server; says nothing about its being ready.
    pub(crate) fn start(&mut self) {
        self.pid = self.order("start").parse().expect("a process id");
    }

    /// Gives one of the script's orders and waits for it to be done.
    pub(crate) fn order(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{order}").expect("the guard script is alive");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the guard script ended by itself");
        line.trim_end().to_owned()
    }

    /// The private directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The server's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What the server has written to `$DIR/log`.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the server process has ended (the script has not collected it yet).
    pub(crate) fn has_ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with('Z'))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.script.wait();
    }
}

/// Kills a process and removes its directory when the test process has ended without doing so.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Watches over the process `pid` and the directory `dir`.
    pub(crate) fn over(pid: u32, dir: &Path) -> Self {
        let child = Command::new("sh")
            .args(["-c", r#"read -r _; kill -KILL "$0"; rm -rf "$1""#])
            .arg(pid.to_string())
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        Self(child)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed, not released: by now the process id may belong to somebody else.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago, below the range from which the kernel serves outgoing
/// connections: a stopped server's port must still be free when it starts again.
pub(crate) fn free_port() -> u16 {
    loop {
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        let port = 10_000 + u16::from_ne_bytes(random) % 22_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn id_of(kind: &str, user: &str) -> u32 {
    let output = Command::new("id").args([kind, user]).output().unwrap();
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("no user {user}: apt-get install -y postgresql redis-server"))
}
