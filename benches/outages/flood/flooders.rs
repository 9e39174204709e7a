//! The flood itself: tokens that nobody has issued, each sent once.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    connection::{Answer, Connection, request},
    support::IssuedToken,
};

/// What the clients that flood share.
#[derive(Debug)]
pub(super) struct Flooders {
    tokens: usize,
    pace: Option<usize>,
    pub(super) begun: Instant,
    pub(super) sent: Cell<usize>,
    pub(super) undecided: Cell<usize>,
    pub(super) violations: RefCell<Vec<String>>,
}

impl Flooders {
    pub(super) fn new(tokens: usize, pace: Option<usize>) -> Self {
        Self {
            tokens,
            pace,
            begun: Instant::now(),
            sent: Cell::default(),
            undecided: Cell::default(),
            violations: RefCell::default(),
        }
    }

    /// Sends tokens that nobody has issued until there have been enough of them.
    pub(super) async fn floods(self: Rc<Self>, mut connection: Connection) {
        let mut tick = interval(Duration::from_millis(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.sent.get() < self.tokens {
            if let Some(pace) = self.pace
                && self.sent.get() as f64 >= self.begun.elapsed().as_secs_f64() * pace as f64
            {
                tick.tick().await;
                continue;
            }
            self.sent.set(self.sent.get() + 1);
            let unknown = IssuedToken::unknown("dfoa_");
            let request = request("GET", "/openapi/v1/apps", &unknown.token);
            match connection.exchange(&request).await {
                Answer::Status(401) => {}
                Answer::Status(503) => self.undecided.set(self.undecided.get() + 1),
                answer => {
                    let text = format!("an unknown token got {answer:?}");
                    self.violations.borrow_mut().push(text);
                }
            }
        }
    }
}
