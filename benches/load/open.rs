//! The open loop: requests become due at a constant rate, whatever has become of those before, and
//! their latency counts from then. A proxy that stands still for a moment is charged for all that
//! were due meanwhile.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::sleep_until,
};

use crate::{
    accounting::{Meter, resident_mib},
    generator::{Order, Round, all_or_error, ask},
};

/// How long the clock of the requests rests when none is due. What it is late by for that, and for
/// being woken, is in the latency of every proxy.
const REST: Duration = Duration::from_micros(50);

/// Runs a round of `rate` requests a second. Whatever connection is free takes the next that is
/// due; while none is, they wait.
pub(crate) async fn run(order: &Order<'_>, rate: f64) -> Result<Round, String> {
    let connections = order.connect().await?;
    let begun = Instant::now();
    let counted = begun + order.lead_in();
    let end = counted + order.length;
    let (sender, receiver) = mpsc::unbounded_channel();
    let clock = thread::spawn(move || {
        let interval = Duration::from_secs_f64(1.0 / rate);
        let mut due = begun;
        while due < end {
            while Instant::now() < due {
                thread::sleep(REST);
            }
            if sender.send(due).is_err() {
                break;
            }
            due += interval;
        }
    });
    let receiver = Arc::new(Mutex::new(receiver));
    let mut clients = JoinSet::new();
    for (mut connection, request) in connections {
        let (receiver, expected) = (Arc::clone(&receiver), order.expected);
        clients.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let due: Option<Instant> = receiver.lock().await.recv().await;
                let Some(due) = due else {
                    return Ok((connection, latencies));
                };
                ask(&mut connection, &request, expected).await?;
                if due >= counted {
                    latencies.push(due.elapsed());
                }
            }
        });
    }
    drop(receiver);
    sleep_until(counted.into()).await;
    let meter = Meter::start(order.target);
    let answers = clients.join_all().await;
    let spent = meter.stop();
    clock.join().expect("the clock does not fail");
    let (connections, latencies): (Vec<_>, Vec<_>) = all_or_error(answers)?.into_iter().unzip();
    let resident = resident_mib(&order.target.processes);
    drop(connections);
    Ok(Round::new(spent, latencies.concat(), resident))
}
