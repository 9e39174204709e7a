//! How listeners and connections are told that it is time.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The steps of an end, each on its own: whoever hands its sockets over takes the last one late.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Nobody is accepted any more.
    pub(super) accepting: CancellationToken,
    /// Who has been accepted and has not asked for anything is dropped.
    pub(super) opening: CancellationToken,
    /// Every connection's next response is its last: pingora asks this before each.
    last_response: watch::Sender<bool>,
    reuse: watch::Receiver<bool>,
}

impl Default for Ending {
    fn default() -> Self {
        let (last_response, reuse) = watch::channel(false);
        Self {
            accepting: CancellationToken::new(),
            opening: CancellationToken::new(),
            last_response,
            reuse,
        }
    }
}

impl Ending {
    /// Accepts nobody any more, and has each connection's next response be its last: over HTTP/1.1
    /// it says `Connection: close`, over HTTP/2 `GOAWAY` is sent at once.
    pub fn begin(&self) {
        self.accepting.cancel();
        self.last_response.send_replace(true);
    }

    /// Drops those who have not asked for anything.
    pub fn drop_silent(&self) {
        self.opening.cancel();
    }

    /// Returns what pingora wants to be told by.
    pub(super) const fn reuse(&self) -> &watch::Receiver<bool> {
        &self.reuse
    }
}
