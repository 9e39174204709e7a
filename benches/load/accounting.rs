//! What the kernel knows about a process and its children: processor time and memory.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use crate::stage::Target;

/// Processor time of each thread so far, in nanoseconds.
type Usage = HashMap<u32, u64>;

/// Watches a proxy for a while.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    target: &'a Target,
    begun: Instant,
    own: Usage,
    beside: Usage,
}

/// What it has used meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) took: Duration,
    /// Processor time of the proxy, all its processes and threads.
    pub(crate) own: Duration,
    /// Processor time of the authorizer that it asks, if it does.
    pub(crate) beside: Duration,
}

impl<'a> Meter<'a> {
    /// Begins.
    pub(crate) fn start(target: &'a Target) -> Self {
        let (own, beside) = usages(target);
        Self {
            target,
            begun: Instant::now(),
            own,
            beside,
        }
    }

    /// Ends.
    pub(crate) fn stop(self) -> Spent {
        let took = self.begun.elapsed();
        let (own, beside) = usages(self.target);
        Spent {
            took,
            own: since(&own, &self.own),
            beside: since(&beside, &self.beside),
        }
    }
}

fn usages(target: &Target) -> (Usage, Usage) {
    (usage(&target.processes), usage(&target.beside))
}

/// The scheduler's own account, which is exact; `stat` counts in hundredths of a second.
fn usage(processes: &[u32]) -> Usage {
    let threads = processes.iter().flat_map(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.map(|task| task.unwrap().path())
    });
    threads
        .filter_map(|task| {
            let id = task.file_name()?.to_str()?.parse().ok()?;
            // A thread that has ended meanwhile takes its account with it.
            let text = fs::read_to_string(task.join("schedstat")).ok()?;
            Some((id, text.split(' ').next()?.parse().ok()?))
        })
        .collect()
}

fn since(now: &Usage, before: &Usage) -> Duration {
    let used = now.iter().map(|(thread, nanos)| {
        let before = before.get(thread).copied().unwrap_or(0);
        nanos.saturating_sub(before)
    });
    Duration::from_nanos(used.sum())
}

/// Returns a process and all that descend from it.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name, in parentheses, may hold anything. The state is next, then the parent.
            let (_, fields) = stat.rsplit_once(") ")?;
            Some((pid, fields.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        let children = parents.iter().filter(|(_, of)| *of == parent);
        family.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    family
}

/// Returns the resident memory of a proxy's processes, in MiB: the largest one's, and of the others
/// what they share with nobody.
pub(crate) fn resident_mib(processes: &[u32]) -> f64 {
    let sizes: Vec<(u64, u64)> = processes.iter().map(|pid| memory(*pid)).collect();
    let largest = sizes.iter().max().copied().unwrap_or_default();
    let private: u64 = sizes.iter().map(|(_, private)| private).sum();
    (largest.0 + private - largest.1) as f64 / 1024.0
}

/// Resident memory of a process, and the part of it that it shares with nobody, in KiB.
fn memory(pid: u32) -> (u64, u64) {
    let sum = |text: &str, prefix: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with(prefix));
        let values = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        values.sum()
    };
    match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Ok(rollup) => (sum(&rollup, "Rss:"), sum(&rollup, "Private_")),
        // The gateway lets only root look in there. It is a single process, which shares nothing.
        Err(_) => {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            (sum(&status, "VmRSS:"), 0)
        }
    }
}
