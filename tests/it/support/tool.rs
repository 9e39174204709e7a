//! Other people's programs as clients: what they understand, others will.

use std::ffi::OsStr;

use tokio::process::Command;

use super::patience::within;

/// What a program printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a program of a Debian package to its end, with nothing to read.
pub(crate) async fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Printed {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    command.stdin(std::process::Stdio::null());
    let output = within(60.0, program, command.output()).await;
    let output = output.unwrap_or_else(|error| panic!("{program} ({error}): see .ci/setup test"));
    Printed {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
