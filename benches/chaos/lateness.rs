//! How late the machine is: what a starved process does late is no fault of its own.

use std::{
    collections::HashMap,
    fs,
    rc::Rc,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::world::World;

/// How often it is looked.
const TICK: Duration = Duration::from_millis(20);

/// What a timer may be late by on a machine with nothing to do.
const USUAL: Duration = Duration::from_millis(3);

/// How long each thread of a process has waited for a processor, in nanoseconds.
type Waits = HashMap<String, u64>;

/// Notes what the clients, the relays, the gateways and the stores are late by; half of it is forgotten
/// every half a second or so.
pub(crate) async fn watches(world: Rc<World>) {
    let relays = Arc::new(AtomicU64::new(0));
    // On the thread that the relays are on.
    tokio::spawn(on_their_thread(Arc::downgrade(&relays)));
    let mut waits = Waits::new();
    while !world.over.get() {
        let here = lateness().await;
        let there = Duration::from_micros(relays.swap(0, Ordering::Relaxed));
        let servers = longest_wait(&world.pids(), &mut waits);
        let late = here.max(there).max(servers);
        world.record.lost.set(world.record.lost.get() + late);
        let before = world.record.late.get() * 97 / 100;
        world.record.late.set(late.max(before));
    }
}

async fn on_their_thread(late: Weak<AtomicU64>) {
    while let Some(late) = late.upgrade() {
        let by = lateness().await.as_micros();
        late.fetch_max(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

async fn lateness() -> Duration {
    let begun = Instant::now();
    sleep(TICK).await;
    begun.elapsed().saturating_sub(TICK + USUAL)
}

/// Returns the longest that any thread of these processes, or of their children (a process for each
/// connection, in Postgres), has waited since the last time.
///
/// The second number of `schedstat` is the time spent waiting on a run queue (proc(5)); it is added
/// when the wait is over.
fn longest_wait(pids: &[u32], before: &mut Waits) -> Duration {
    let mut now = Waits::new();
    let mut longest = 0;
    for pid in pids.iter().flat_map(|pid| with_children(*pid)) {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else {
                continue;
            };
            let waited = text
                .split(' ')
                .nth(1)
                .and_then(|text| text.parse::<u64>().ok());
            let (waited, name) = (waited.unwrap_or(0), thread.path().display().to_string());
            if let Some(before) = before.get(&name) {
                longest = longest.max(waited.saturating_sub(*before));
            }
            now.insert(name, waited);
        }
    }
    *before = now;
    Duration::from_nanos(longest)
}

fn with_children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace();
    [pid]
        .into_iter()
        .chain(children.filter_map(|child| child.parse().ok()))
        .collect()
}
