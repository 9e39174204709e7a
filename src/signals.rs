//! What the operating system's signals ask for.

use std::io;

use tokio::signal::unix::{Signal as Listening, SignalKind, signal};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT: come to an end.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGQUIT: hand the listening sockets to the process that waits for them.
    HandOver,
}

/// The handlers of this process; from [`Signals::install`] on, no signal ends it by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Listening,
    interrupt: Listening,
    quit: Listening,
    hang_up: Listening,
}

impl Signals {
    /// Installs the handlers; needs a runtime.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.quit.recv() => Signal::HandOver,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }
}
