//! What the figures were measured on, and with which versions.

use std::{fs, process::Command};

use crate::{
    foreign,
    options::Options,
    pinning::{Layout, processors},
};

/// Open files that 1,000 connections through a proxy take, and some.
const OPEN_FILES: u64 = 4_096;

/// Tells the machine, the versions and the parameters, a line each.
pub(crate) fn describe(options: &Options) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split('-').next().unwrap_or_default();
    let mut versions = vec![
        format!("difygate {}", env!("CARGO_PKG_VERSION")),
        format!("pingora {}", locked("pingora")),
    ];
    for foreign in options.peers().iter().filter_map(|it| it.card().foreign) {
        versions.push(format!(
            "{} {}",
            foreign.program,
            foreign::version(&foreign)
        ));
    }
    versions.push(format!("Redis {}", server_version("redis-server")));
    versions.sort();
    versions.dedup();
    let mut lines = vec![
        time::OffsetDateTime::now_utc().date().to_string(),
        format!(
            "{model}, {} processors, Linux {}",
            processors(),
            kernel.trim()
        ),
        versions.join(", "),
    ];
    if options.check_memory {
        return bullets(&lines);
    }
    lines.push(format!(
        "rounds of each proxy: {}, of {:?}",
        options.rounds(),
        options.round()
    ));
    for &threads in &options.threads {
        let plural = if threads == 1 { "thread" } else { "threads" };
        lines.push(if Layout::of(threads).is_shared() {
            format!(
                "{threads} {plural}: the proxy, the generator and the upstream share all processors"
            )
        } else {
            format!(
                "{threads} {plural}: pinned; the proxy (with its authorizer) has {threads} to \
                 itself, the generator and the upstream have the rest"
            )
        });
    }
    for (key, value) in &options.set {
        lines.push(format!("`{key} = {value}`"));
    }
    bullets(&lines)
}

fn bullets(lines: &[String]) -> String {
    lines.iter().map(|line| format!("- {line}\n")).collect()
}

/// Tells whether enough files may be open.
///
/// # Errors
///
/// What to do when not.
pub(crate) fn has_room(options: &Options) -> Result<(), String> {
    if options.is_smoke() {
        return Ok(());
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    match soft {
        Some(soft) if soft < OPEN_FILES => Err(format!(
            "{soft} files may be open, {OPEN_FILES} have to be: run `ulimit -n {OPEN_FILES}` first"
        )),
        _ => Ok(()),
    }
}

/// The version of a dependency that this was built with.
fn locked(package: &str) -> &'static str {
    include_str!("../../Cargo.lock")
        .split_once(&format!("name = \"{package}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or("unknown")
}

/// What comes after `v=` where a server prints its version.
fn server_version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let version = text.split(' ').find_map(|word| word.strip_prefix("v="));
    version.unwrap_or("?").to_owned()
}
