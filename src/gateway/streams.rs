//! How many requests may be under way over HTTP/2.
//!
//! `server.max_connections` bounds connections, and over HTTP/1.1 that is all: a connection has one
//! request at a time. Over HTTP/2 it may have a hundred, each with a file for the upstream and with
//! what is on its way through. So one request of each connection has its place, as over HTTP/1.1,
//! and all further ones share `server.max_extra_streams`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use pingora::proxy::Session;

use super::{Ctx, Gateway, judge::Next};
use crate::{http::Rejection, listener::Neighbours};

/// The places that all connections share.
#[derive(Debug)]
pub(super) struct ExtraStreams {
    most: usize,
    taken: AtomicUsize,
}

impl ExtraStreams {
    /// Makes so many.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: AtomicUsize::new(0),
        })
    }

    /// Finds a place for one more request of `connection`; `None` if there is none for it.
    fn place(self: &Arc<Self>, connection: Arc<Neighbours>) -> Option<Place> {
        if connection.begin_first() {
            let extra = None;
            return Some(Place { connection, extra });
        }
        // Nobody gets more than there are left, so that some always are for those who come later.
        let held = connection.further();
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken + held < self.most).then_some(taken + 1)
            })
            .ok()?;
        connection.begin_further();
        let extra = Some(Arc::clone(self));
        Some(Place { connection, extra })
    }
}

/// A request's place, for as long as it lives, however it ends.
#[derive(Debug)]
pub(super) struct Place {
    connection: Arc<Neighbours>,
    /// Whose it is; `None`: the connection's own.
    extra: Option<Arc<ExtraStreams>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        match &self.extra {
            None => self.connection.end_first(),
            Some(extra) => {
                extra.taken.fetch_sub(1, Ordering::Relaxed);
                self.connection.end_further();
            }
        }
    }
}

impl Gateway {
    /// Finds a place for what may last: a request that goes on to the upstream, or one of a local
    /// endpoint whose body has yet to come. All others are answered at once.
    ///
    /// # Errors
    ///
    /// [`Rejection::TooManyStreams`] if there is none.
    pub(super) fn placed(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        next: Next,
    ) -> Result<Next, Rejection> {
        let lasts = match next {
            Next::Forward => true,
            Next::Serve(..) => !session.is_body_done(),
            Next::Answer(_) => false,
        };
        // Over HTTP/1.1 there is nobody to share a connection with.
        if lasts && let Some(stream) = session.as_http2() {
            let connection = stream.digest().and_then(Neighbours::of);
            let connection = connection.ok_or(Rejection::Internal)?;
            let place = self.settings.streams.place(connection);
            ctx.place = Some(place.ok_or(Rejection::TooManyStreams)?);
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes places for a connection until there is none.
    fn as_many_as_there_are(extra: &Arc<ExtraStreams>, connection: &Arc<Neighbours>) -> Vec<Place> {
        std::iter::from_fn(|| extra.place(Arc::clone(connection))).collect()
    }

    #[test]
    fn a_connection_has_one_place_of_its_own() {
        let extra = ExtraStreams::new(0);
        let (one, another) = (Arc::default(), Arc::default());

        let places = as_many_as_there_are(&extra, &one);

        assert_eq!(places.len(), 1);
        assert!(extra.place(another).is_some());
        drop(places);
        assert!(extra.place(one).is_some());
    }

    #[test]
    fn nobody_takes_what_others_need() {
        let extra = ExtraStreams::new(100);
        let connections: Vec<Arc<Neighbours>> = (0..4).map(|_| Arc::default()).collect();

        let held: Vec<_> = connections
            .iter()
            .map(|it| as_many_as_there_are(&extra, it))
            .collect();

        let numbers: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(numbers, [51, 26, 14, 7]);
        drop(held);
        assert_eq!(extra.taken.load(Ordering::Relaxed), 0);
        assert!(connections.iter().all(|it| it.further() == 0));
        assert_eq!(as_many_as_there_are(&extra, &connections[3]).len(), 51);
    }
}
