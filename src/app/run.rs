//! A gateway at work: from the first contact with its stores to its last request.

use std::{io, sync::Arc};

use pingora::apps::HttpServerApp as _;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::task::TaskTracker;

use super::{App, FIRST_CONTACT, Sockets};
use crate::{
    gateway::{Backend, Server},
    listener::{Ending, Workers},
    retention,
    store::{CacheObserver, redis::Tracking},
    trace::Exporter,
};

/// The part of `server.shutdown_grace` for which a process that has handed its sockets over keeps
/// idle connections: who uses one meanwhile is told to open another, and no request meets a
/// connection that is closing.
const IDLE_SHARE: u32 = 2;

/// Why a gateway comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It was asked to.
    Asked,
    /// Another process accepts on its sockets.
    HandedOver,
}

/// A gateway that keeps up its stores and everything else, but accepts nothing yet.
#[derive(Debug)]
pub struct Running {
    app: App,
    workers: Arc<Workers<Server>>,
    background: JoinSet<()>,
}

impl App {
    /// Makes first contact with everything, then keeps it up.
    ///
    /// # Errors
    ///
    /// When the operating system has no threads left.
    pub async fn start(self) -> io::Result<Running> {
        let workers = Workers::start(self.threads, || {
            let (gateway, http2) = (self.gateway.clone(), self.http2.clone());
            Server::new(gateway, &self.server, http2, self.front.patience)
        })?;
        let background = self.spawn_background().await;
        Ok(Running {
            app: self,
            workers: Arc::new(workers),
            background,
        })
    }

    async fn spawn_background(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let routing = self.gateway.routing.get();
        let backends: Vec<_> = routing.backends.all().cloned().collect();
        let first_contact = async {
            let mut contacts = JoinSet::new();
            if let Some((postgres, redis)) = self.stores.links.clone() {
                contacts.spawn(async move { postgres.probe().await });
                contacts.spawn(async move { redis.connect().await });
            }
            for backend in backends.clone() {
                contacts.spawn(async move {
                    backend.refresh().await;
                });
            }
            if let Some(licence) = self.licence.clone() {
                contacts.spawn(async move { licence.poll().await });
            }
            contacts.join_all().await;
        };
        let _ = timeout(FIRST_CONTACT, first_contact).await;
        if let Some((postgres, redis)) = self.stores.links.clone() {
            let observer = Arc::clone(&self.gateway.checker) as Arc<dyn CacheObserver>;
            // Followed or not: another connection may be to a server with an older state.
            redis.report_to(Arc::clone(&observer));
            tasks.spawn(postgres.keep_probing());
            tasks.spawn(Arc::clone(&redis).keep_up());
            if let Some(replica) = self.follow_as {
                let clock = Arc::clone(&self.gateway.clock);
                let tracking = Tracking::new(redis, observer, clock, replica);
                tasks.spawn(tracking.keep_following());
            }
        }
        if let Some(licence) = self.licence.clone() {
            tasks.spawn(licence.keep_polling());
        }
        for backend in backends {
            tasks.spawn(Backend::keep_fresh(Arc::downgrade(&backend)));
        }
        tasks.spawn(Arc::clone(&self.gateway.checker).keep_sweeping());
        tasks.spawn(Arc::clone(&self.gateway.checker).keep_settling());
        tasks.spawn(Arc::clone(&self.gateway.bearer_limit).keep_sweeping());
        tasks.spawn(Arc::clone(&self.gateway.activity).keep_flushing());
        if let Some(days) = self.prune {
            let sessions = Arc::clone(&self.stores.stores.sessions);
            tasks.spawn(retention::keep_pruning(sessions, days));
        }
        tasks
    }
}

impl Running {
    /// Serves until `stop` completes, then lets what is under way end, within
    /// `server.shutdown_grace`.
    ///
    /// Returns whether everything had ended by then.
    pub async fn serve(self, sockets: Sockets, stop: impl AsyncFnOnce(&Sockets) -> Stop) -> bool {
        let Self {
            app,
            workers,
            mut background,
        } = self;
        if let Some(address) = sockets.admin_address() {
            tracing::info!(listener = "admin", %address, "listening");
        }
        let admin = background.spawn(app.tells.of(&sockets).serve(Arc::clone(&sockets.admin)));

        let ending = Ending::default();
        let connections = TaskTracker::new();
        let activity = Arc::clone(&app.gateway.activity);
        let clock = Arc::clone(&app.gateway.clock);
        let exporting = app.exporter.map(Exporter::start);
        for listener in &sockets.public {
            let address = listener.address();
            tracing::info!(listener = "gateway", %address, "listening");
            connections.spawn(Arc::clone(listener).serve(
                Arc::clone(&workers),
                Arc::clone(&app.front),
                ending.clone(),
                connections.clone(),
            ));
        }

        let why = stop(&sockets).await;
        let asked = clock.monotonic();
        let mut left = app.grace;
        match why {
            Stop::Asked => {
                tracing::info!("stopping: no new connections, waiting for those under way");
                app.health.drain();
                sockets.close();
                ending.begin();
                connections.close();
            }
            Stop::HandedOver => {
                ending.begin();
                tracing::info!("handed over: waiting for the connections that are open");
                // Whoever asks how this gateway is now asks the next one.
                admin.abort();
                drop(sockets);
                connections.close();
                let share = left / IDLE_SHARE;
                let _ = timeout(share, connections.wait()).await;
                left -= share;
            }
        }
        ending.drop_silent();
        // Idle connections end now; the others with the response they are at.
        for proxy in workers.apps() {
            proxy.http_cleanup().await;
        }
        let ended = timeout(left, connections.wait()).await.is_ok();
        if ended {
            tracing::info!("stopped: every request has ended");
        } else {
            tracing::warn!(
                cut = connections.len(),
                "stopped: server.shutdown_grace is over, the rest was cut off"
            );
        }
        activity.flush().await;
        if let Some(exporting) = exporting {
            let left = app.grace.saturating_sub(clock.monotonic().since(asked));
            exporting.finish(left).await;
        }
        ended
    }
}
