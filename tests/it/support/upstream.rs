//! A scripted HTTP/1.1 upstream that keeps the bytes it was sent.

mod behaviour;
mod serve;

use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) use self::behaviour::{Behaviour, Disconnect, RecordedRequest};
use super::patience::patience;

/// The upstream; its connections are reset when it is dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    acceptor: JoinHandle<()>,
}

/// What the connections work on.
#[derive(Debug, Default)]
struct Shared {
    rules: Mutex<Vec<(String, VecDeque<Behaviour>)>>,
    requests: Mutex<Vec<RecordedRequest>>,
    disconnects: Mutex<VecDeque<Disconnect>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    /// Counts the orders to close idle connections.
    close_idle: watch::Sender<u64>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Upstream {
    /// Starts one that answers everything with 200 and `{"ok":true}`.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = watch::channel(false);
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&shared), stopped));
        Self {
            addr,
            shared,
            stop,
            acceptor,
        }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to do with requests for a path (a trailing `*` stands for anything, the query does
    /// not count). The last matching rule wins.
    pub(crate) fn on(&self, path: &str, behaviour: Behaviour) -> &Self {
        self.on_each(path, [behaviour])
    }

    /// One behaviour after the other for a path; the last stays.
    pub(crate) fn on_each(
        &self,
        path: &str,
        behaviours: impl IntoIterator<Item = Behaviour>,
    ) -> &Self {
        let rule = (path.to_owned(), behaviours.into_iter().collect());
        self.shared.rules.lock().unwrap().push(rule);
        self
    }

    /// The requests so far. One is recorded when its body is through, before it is answered.
    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The requests so far, which are then forgotten.
    pub(crate) fn take_requests(&self) -> Vec<RecordedRequest> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }

    /// Waits until there are `count` requests, and returns them all.
    pub(crate) async fn wait_for_requests(&self, count: usize) -> Vec<RecordedRequest> {
        self.wait(&format!("{count} requests upstream"), || {
            let requests = self.requests();
            (requests.len() >= count).then_some(requests)
        })
        .await
    }

    /// Waits until the peer has broken off an exchange: closed the connection in the middle of
    /// a request or before the whole answer was out. Each is returned once, in order.
    pub(crate) async fn wait_for_disconnect(&self) -> Disconnect {
        self.wait("a disconnect in mid-exchange", || {
            self.shared.disconnects.lock().unwrap().pop_front()
        })
        .await
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Closes every connection that is waiting for a next request.
    pub(crate) fn close_idle(&self) {
        self.shared.close_idle.send_modify(|orders| *orders += 1);
    }

    /// Ends it and re-raises the panic of a connection that saw something malformed.
    pub(crate) async fn finish(mut self) {
        self.stop.send_replace(true);
        (&mut self.acceptor).await.unwrap();
        let panic = self.shared.panic.lock().unwrap().take();
        if let Some(panic) = panic {
            std::panic::resume_unwind(panic);
        }
    }

    async fn wait<T>(&self, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(value) = ready() {
                return value;
            }
            assert!(
                begun.elapsed() < patience(10.0),
                "not in time: {what}; requests: {:#?}",
                self.requests()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve::serve(stream, number, Arc::clone(&shared)));
            }
            Some(ended) = connections.join_next() => keep_panic(&shared, ended),
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    connections.abort_all();
    while let Some(ended) = connections.join_next().await {
        keep_panic(&shared, ended);
    }
}

fn keep_panic(shared: &Shared, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        shared.panic.lock().unwrap().get_or_insert(panic);
    }
}
