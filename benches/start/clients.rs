//! Clients of one gateway, which ask for tokens as fast as they are answered.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Barrier,
    task::{JoinSet, spawn_local},
    time::sleep,
};

use crate::{
    connection::{Answer, Connection, request},
    support::IssuedToken,
};

const APPS: &str = "/openapi/v1/apps";

/// Pause after a 503, which asks for more.
const COME_BACK: Duration = Duration::from_millis(20);

/// What the clients of one gateway, or of several, were answered.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Latency of every request.
    pub(crate) all: Vec<Duration>,
    /// … and of the first for each token at its gateway.
    pub(crate) first: Vec<Duration>,
    /// When the last token had its first 200, from the beginning.
    pub(crate) hot_after: Duration,
    /// Refusals that ask to come back.
    pub(crate) unavailable: usize,
    /// Answers that must not be.
    pub(crate) wrong: Vec<String>,
}

impl Answers {
    /// Takes note of an answer; `false` where the client has to come back.
    fn note(&mut self, answer: Answer, took: Duration, asked_before: bool, begun: Instant) -> bool {
        self.all.push(took);
        if !asked_before {
            self.first.push(took);
        }
        match answer {
            Answer::Status(200) => {
                if !asked_before {
                    self.hot_after = self.hot_after.max(begun.elapsed());
                }
            }
            Answer::Status(503) => {
                self.unavailable += 1;
                return false;
            }
            wrong => self.wrong.push(format!("{wrong:?} for a live token")),
        }
        true
    }

    /// Puts what others were answered to it.
    pub(crate) fn add(&mut self, other: Self) {
        self.all.extend(other.all);
        self.first.extend(other.first);
        self.hot_after = self.hot_after.max(other.hot_after);
        self.unavailable += other.unavailable;
        self.wrong.extend(other.wrong);
    }
}

/// What the clients of one gateway share.
struct Shared {
    requests: Vec<Vec<u8>>,
    order: Vec<usize>,
    next: Cell<usize>,
    asked_before: RefCell<Vec<bool>>,
    answers: RefCell<Answers>,
}

/// Keep-alive connections to one gateway.
#[derive(Debug)]
pub(crate) struct Clients {
    connections: Vec<Connection>,
}

impl Clients {
    /// Opens the connections. Nothing is looked up: what is sent over them is no token.
    pub(crate) async fn of(gateway: SocketAddr, connections: usize) -> Self {
        let mut opening = JoinSet::new();
        for _ in 0..connections {
            opening.spawn_local(async move {
                let mut connection = Connection::to(gateway);
                let answer = connection.exchange(&request("GET", APPS, "nothing")).await;
                assert_eq!(answer, Answer::Status(401), "what is no token");
                connection
            });
        }
        Self {
            connections: opening.join_all().await,
        }
    }

    /// Returns how many there are.
    pub(crate) fn count(&self) -> usize {
        self.connections.len()
    }

    /// Asks for tokens in the order of these indices, as soon as everybody is at `gate`.
    pub(crate) async fn ask(
        &mut self,
        tokens: &[IssuedToken],
        order: Vec<usize>,
        gate: &Rc<Barrier>,
    ) -> Answers {
        let shared = Rc::new(Shared {
            requests: tokens
                .iter()
                .map(|token| request("GET", APPS, &token.token))
                .collect(),
            order,
            next: Cell::new(0),
            asked_before: RefCell::new(vec![false; tokens.len()]),
            answers: RefCell::default(),
        });
        let mut running = Vec::new();
        for connection in self.connections.drain(..) {
            let (shared, gate) = (Rc::clone(&shared), Rc::clone(gate));
            running.push(spawn_local(async move {
                gate.wait().await;
                asks(connection, &shared).await
            }));
        }
        for client in running {
            self.connections.push(client.await.unwrap());
        }
        shared.answers.take()
    }
}

async fn asks(mut connection: Connection, shared: &Shared) -> Connection {
    let begun = Instant::now();
    while let Some(&token) = shared.order.get(shared.next.replace(shared.next.get() + 1)) {
        let asked_before = std::mem::replace(&mut shared.asked_before.borrow_mut()[token], true);
        loop {
            let sent = Instant::now();
            let answer = connection.exchange(&shared.requests[token]).await;
            let took = sent.elapsed();
            let is_done = {
                let mut answers = shared.answers.borrow_mut();
                answers.note(answer, took, asked_before, begun)
            };
            if is_done {
                break;
            }
            sleep(COME_BACK).await;
        }
    }
    connection
}
