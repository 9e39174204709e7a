//! Which processors the proxies run on, and which everything else.

use std::{fs, process::Command};

/// Processors by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    proxies: Vec<usize>,
    others: Vec<usize>,
}

impl Layout {
    /// Gives proxies of so many threads processors of their own where the machine has some left
    /// for the others; otherwise all share all.
    pub(crate) fn of(threads: usize) -> Self {
        let all = allowed();
        match all.len().checked_sub(threads) {
            Some(rest) if rest > 0 && threads > 0 => Self {
                proxies: all[rest..].to_vec(),
                others: all[..rest].to_vec(),
            },
            _ => Self {
                proxies: all.clone(),
                others: all,
            },
        }
    }

    /// Tells whether proxies share processors with the generator and the upstream.
    pub(crate) fn is_shared(&self) -> bool {
        self.proxies == self.others
    }

    /// Puts a proxy, all its threads and those it will have, in its place.
    pub(crate) fn pin_proxy(&self, pid: u32) {
        pin(pid, &self.proxies);
    }

    /// Puts anything else in its place.
    pub(crate) fn pin_other(&self, pid: u32) {
        pin(pid, &self.others);
    }
}

fn pin(pid: u32, processors: &[usize]) {
    let list: Vec<String> = processors.iter().map(ToString::to_string).collect();
    // A thread that ends meanwhile makes it fail.
    let pinned = (0..5).any(|_| {
        let output = Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid"])
            .args([&list.join(","), &pid.to_string()])
            .output();
        output
            .expect("taskset, of Debian's util-linux")
            .status
            .success()
    });
    assert!(pinned, "{pid} cannot be pinned to {list:?}");
}

/// How many processors the machine has for the bench.
pub(crate) fn processors() -> usize {
    allowed().len()
}

/// The processors that the machine has for the bench, which narrows its own choice later.
fn allowed() -> Vec<usize> {
    static ALLOWED: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    let read = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .expect("Linux tells it");
        let ends = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse().unwrap()..=last.parse().unwrap()
        };
        list.trim().split(',').flat_map(ends).collect()
    };
    ALLOWED.get_or_init(read).clone()
}
