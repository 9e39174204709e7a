//! The threads that serve connections, each with a runtime, a proxy and a pool of upstream
//! connections of its own.
//!
//! A connection stays with the thread that it was given to, and so does its upstream's: no task is
//! stolen, and no thread is woken for what another has read. Which thread that is, is decided when
//! it is accepted: the one with the fewest open connections.

use std::{
    fmt, io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads; they end, with whatever they still serve, when this is dropped.
pub struct Workers<A> {
    first: Worker<A>,
    others: Vec<Worker<A>>,
    _end: DropGuard,
}

struct Worker<A> {
    runtime: Handle,
    app: Arc<A>,
    open: Arc<AtomicUsize>,
}

/// A connection's place at a thread.
#[derive(Debug)]
pub(super) struct Place<A> {
    pub(super) runtime: Handle,
    pub(super) app: Arc<A>,
    open: Arc<AtomicUsize>,
}

impl<A> Drop for Place<A> {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is served with need not be shown.
impl<A> fmt::Debug for Workers<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open: Vec<_> = self.all().map(|worker| &worker.open).collect();
        f.debug_struct("Workers").field("open", &open).finish()
    }
}

impl<A> Workers<A> {
    /// Starts `count` threads, each with what `app` makes.
    ///
    /// # Errors
    ///
    /// The operating system's; nothing is left running.
    pub fn start(count: NonZeroUsize, mut app: impl FnMut() -> A) -> io::Result<Self> {
        let end = CancellationToken::new();
        let guard = end.clone().drop_guard();
        let mut start = |number| Worker::start(number, app(), &end);
        Ok(Self {
            first: start(0)?,
            others: (1..count.get()).map(start).collect::<io::Result<_>>()?,
            _end: guard,
        })
    }

    /// Returns what every thread serves with.
    pub fn apps(&self) -> impl Iterator<Item = &Arc<A>> {
        self.all().map(|worker| &worker.app)
    }

    fn all(&self) -> impl Iterator<Item = &Worker<A>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Takes a place at the thread that has the fewest connections.
    pub(super) fn place(&self) -> Place<A> {
        let open = |worker: &&Worker<A>| worker.open.load(Ordering::Relaxed);
        let worker = self.all().min_by_key(open).unwrap_or(&self.first);
        worker.open.fetch_add(1, Ordering::Relaxed);
        Place {
            runtime: worker.runtime.clone(),
            app: Arc::clone(&worker.app),
            open: Arc::clone(&worker.open),
        }
    }
}

impl<A> Worker<A> {
    fn start(number: usize, app: A, end: &CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let end = end.clone();
        thread::Builder::new()
            .name(format!("serve-{number}"))
            .spawn(move || runtime.block_on(end.cancelled()))?;
        Ok(Self {
            runtime: handle,
            app: Arc::new(app),
            open: Arc::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_where_the_fewest_are() {
        let mut number = 0;
        let three = NonZeroUsize::new(3).unwrap();
        let workers = Workers::start(three, || {
            number += 1;
            number
        });
        let workers = workers.unwrap();
        let numbers =
            |places: &[Place<i32>]| -> Vec<i32> { places.iter().map(|place| *place.app).collect() };

        let mut places: Vec<_> = (0..4).map(|_| workers.place()).collect();

        assert_eq!(numbers(&places), [1, 2, 3, 1]);
        places.remove(2);
        places.push(workers.place());
        assert_eq!(numbers(&places), [1, 2, 1, 3]);
    }

    #[test]
    fn a_place_is_on_a_thread_of_its_worker() {
        let workers = Workers::start(NonZeroUsize::MIN, || ()).unwrap();
        let place = workers.place();

        let (sender, receiver) = std::sync::mpsc::channel();
        place.runtime.spawn(async move {
            let name = thread::current().name().map(ToOwned::to_owned);
            sender.send(name).unwrap();
        });

        assert_eq!(receiver.recv().unwrap().as_deref(), Some("serve-0"));
    }
}
