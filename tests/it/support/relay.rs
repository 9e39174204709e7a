//! A TCP relay that can misbehave: cut, stall, delay, refuse, stop at a certain step.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::patience::within;

/// How the relay treats its traffic.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// New connections are reset at once.
    refusing: bool,
    /// Nothing is forwarded either way.
    stalled: bool,
    /// Before each chunk.
    delay: Duration,
    /// Before a new connection is made, besides.
    opening_delay: Duration,
    /// How often everything has been cut: a connection ends when this is not what it was …
    cuts: u64,
    /// … and hears this first; a reset where there is nothing to hear.
    last_words: &'static [u8],
    /// The connections up to this one hear nothing any more.
    silent_up_to: usize,
    /// The tripwire has been reached.
    tripped: bool,
}

/// Which side of a step the relay stops at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The server never sees the chunk.
    Before,
    /// The server has answered the chunk, and nobody hears of it.
    After,
}

/// A chunk on its way to the server at which the relay stalls.
#[derive(Debug, Clone)]
struct Tripwire {
    needle: Vec<u8>,
    /// How many chunks with the needle are let through first.
    ahead: usize,
    side: Side,
}

/// A relay on a port of its own, gone when dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    addr: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    tripwire: Arc<Mutex<Option<Tripwire>>>,
    accepted: Arc<AtomicUsize>,
    acceptor: AbortHandle,
}

impl Relay {
    /// Relays a fresh port of 127.0.0.1 to `target`.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let weather = Arc::new(watch::Sender::new(Weather::default()));
        let accepted = Arc::new(AtomicUsize::new(0));
        let tripwire = Arc::new(Mutex::new(None));
        let (sender, counter) = (Arc::clone(&weather), Arc::clone(&accepted));
        let wire = Arc::clone(&tripwire);
        let acceptor = tokio::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else {
                    continue;
                };
                let trip = Trip {
                    number: counter.fetch_add(1, Ordering::SeqCst) + 1,
                    cuts: sender.borrow().cuts,
                    wire: Arc::clone(&wire),
                    weather: Arc::clone(&sender),
                    answer_due: Arc::default(),
                };
                tokio::spawn(serve(near, target, trip));
            }
        });
        Self {
            addr,
            weather,
            tripwire,
            accepted,
            acceptor: acceptor.abort_handle(),
        }
    }

    /// Where the relay listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far, those reset at once included.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Resets all open connections, and new ones as soon as they come.
    pub(crate) fn cut(&self) {
        self.weather.send_modify(|weather| {
            weather.refusing = true;
            weather.last_words = &[];
            weather.cuts += 1;
        });
    }

    /// Ends all open connections with `words` for the client; new ones are made, nothing stalls.
    pub(crate) fn cut_saying(&self, words: &'static [u8]) {
        self.weather.send_modify(|weather| {
            weather.last_words = words;
            weather.stalled = false;
            weather.cuts += 1;
        });
    }

    /// Forwards nothing over the connections that are open now, not even their end; new ones work.
    pub(crate) fn silence_open(&self) {
        let newest = self.connections();
        self.weather
            .send_modify(|weather| weather.silent_up_to = newest);
    }

    /// Resets new connections as soon as they come; open ones go on.
    pub(crate) fn drop_new(&self) {
        self.weather.send_modify(|weather| weather.refusing = true);
    }

    /// Accepts, and forwards nothing either way, not even the end of a connection.
    pub(crate) fn stall(&self) {
        self.weather.send_modify(|weather| weather.stalled = true);
    }

    /// Stalls at a side of the chunk to the server that holds `needle` after `ahead` others that
    /// do.
    pub(crate) fn stall_at(&self, needle: &[u8], ahead: usize, side: Side) {
        self.weather.send_modify(|weather| weather.tripped = false);
        *self.tripwire.lock().unwrap() = Some(Tripwire {
            needle: needle.to_vec(),
            ahead,
            side,
        });
    }

    /// Waits until [`Relay::stall_at`] has stalled.
    pub(crate) async fn tripped(&self) {
        let mut weather = self.weather.subscribe();
        let tripped = weather.wait_for(|now| now.tripped);
        within(10.0, "the step at which to stall", tripped)
            .await
            .unwrap();
    }

    /// Holds every chunk back for so long, either way.
    pub(crate) fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Holds new connections back for so long before they are made.
    pub(crate) fn delay_new(&self, delay: Duration) {
        self.weather
            .send_modify(|weather| weather.opening_delay = delay);
    }

    /// Fair weather again; what was stalled flows on, and nothing is waited for to stall at.
    pub(crate) fn restore(&self) {
        *self.tripwire.lock().unwrap() = None;
        self.weather.send_modify(|weather| {
            *weather = Weather {
                cuts: weather.cuts,
                last_words: weather.last_words,
                silent_up_to: weather.silent_up_to,
                ..Weather::default()
            };
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.cut();
    }
}

/// Relays one connection until an end closes it or the relay is cut.
async fn serve(near: TcpStream, target: SocketAddr, trip: Trip) {
    let mut weather = trip.weather.subscribe();
    let start = *weather.borrow();
    let mut near = near;
    if start.refusing {
        let _ = near.set_zero_linger();
        return;
    }
    let mut cut = weather.clone();
    let is_cut = cut.wait_for(|now| now.cuts != trip.cuts);
    let far = {
        let connect = async {
            until_flowing(&mut weather, &trip).await;
            tokio::time::sleep(start.opening_delay).await;
            TcpStream::connect(target).await
        };
        tokio::select! {
            far = connect => far.ok(),
            _ = is_cut => None,
        }
    };
    let Some(mut far) = far else {
        let _ = near.set_zero_linger();
        return;
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ended = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        let both = async {
            tokio::try_join!(
                pump(near_read, far_write, Way::ToServer(&trip), weather.clone()),
                pump(far_read, near_write, Way::Back(&trip), weather.clone()),
            )
        };
        tokio::select! {
            ended = both => ended.is_ok(),
            _ = cut.wait_for(|now| now.cuts != trip.cuts) => false,
        }
    };
    let last_words = weather.borrow().last_words;
    if !ended && !last_words.is_empty() {
        let _ = near.write_all(last_words).await;
        let _ = near.shutdown().await;
        return;
    }
    // A connection that did not end well on one side ends with a reset on the other too.
    if !ended {
        let _ = (near.set_zero_linger(), far.set_zero_linger());
    }
}

/// One connection's part in the tripwire.
#[derive(Debug)]
struct Trip {
    /// The connection's, counted from 1.
    number: usize,
    /// What there had been of them when it was accepted.
    cuts: u64,
    wire: Arc<Mutex<Option<Tripwire>>>,
    weather: Arc<watch::Sender<Weather>>,
    /// The chunk has gone to the server, whose answer is awaited.
    answer_due: Arc<AtomicBool>,
}

/// Where a chunk is going.
#[derive(Debug, Clone, Copy)]
enum Way<'a> {
    ToServer(&'a Trip),
    Back(&'a Trip),
}

impl Way<'_> {
    fn trip(&self) -> &Trip {
        match self {
            Self::ToServer(trip) | Self::Back(trip) => trip,
        }
    }

    /// Looks at a chunk; stalls if this is the one, and tells whether it goes through all the same.
    fn passes(self, chunk: &[u8]) -> bool {
        match self {
            Self::ToServer(trip) => trip.passes(chunk),
            Self::Back(trip) => {
                if trip.answer_due.swap(false, Ordering::SeqCst) {
                    trip.weather.send_modify(|weather| weather.tripped = true);
                }
                false
            }
        }
    }
}

impl Trip {
    fn passes(&self, chunk: &[u8]) -> bool {
        let mut wire = self.wire.lock().unwrap();
        let Some(found) = wire.as_mut() else {
            return false;
        };
        if !chunk
            .windows(found.needle.len())
            .any(|bytes| bytes == found.needle)
        {
            return false;
        }
        if found.ahead > 0 {
            found.ahead -= 1;
            return false;
        }
        let side = found.side;
        *wire = None;
        self.answer_due.store(side == Side::After, Ordering::SeqCst);
        self.weather.send_modify(|weather| {
            weather.stalled = true;
            weather.tripped = side == Side::Before;
        });
        side == Side::After
    }
}

/// Waits for a moment in which a connection's chunks flow: never, once it has been cut.
async fn until_flowing(weather: &mut watch::Receiver<Weather>, trip: &Trip) -> Duration {
    let flows =
        |now: &Weather| !now.stalled && now.silent_up_to < trip.number && now.cuts == trip.cuts;
    let delay = weather.wait_for(flows).await.map(|now| now.delay);
    match delay {
        Ok(delay) => delay,
        // The relay is gone, and its last word was to cut.
        Err(_) => std::future::pending().await,
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way<'_>,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut chunk).await?;
        if way.passes(&chunk[..length]) {
            to.write_all(&chunk[..length]).await?;
            continue;
        }
        let delay = until_flowing(&mut weather, way.trip()).await;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
            // The weather may have changed meanwhile.
            until_flowing(&mut weather, way.trip()).await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..length]).await?;
    }
}
