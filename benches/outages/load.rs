//! The load: clients of both gateways, and Dify at work, all the time.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    connection::{Connection, request},
    judge::{ACCOUNT, Record, Shot},
    stage::Stage,
    tokens::{State, Token, Tokens},
};

mod revocations;

/// Keep-alive clients of each gateway.
const CLIENTS: usize = 6;

/// A client's pause between an answer and the next request: the machine is not to be saturated,
/// or its queues would be what is measured.
const PAUSE: Duration = Duration::from_millis(3);

/// Unused tokens that are kept in store: enough for an outage of Postgres.
const UNUSED: usize = 256;

/// Pause between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// What every part of the load shares.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) tokens: Rc<Tokens>,
    pub(crate) record: Rc<Record>,
    pub(crate) gateways: Vec<SocketAddr>,
    /// Whether a store that Dify needs to delete an entry is struck at present.
    pub(crate) struck: Cell<bool>,
    /// Longest life of an entry in Redis.
    pub(crate) positive_ttl: Duration,
    /// Whether Dify reaches Redis at all.
    reaches_redis: bool,
    over: Cell<bool>,
    /// No more revocations: what is still accepted is waited for.
    settling: Cell<bool>,
    chasers: RefCell<JoinSet<()>>,
}

impl Load {
    pub(crate) fn new(stage: &Stage, record: &Rc<Record>, reaches_redis: bool) -> Rc<Self> {
        Rc::new(Self {
            tokens: Rc::clone(&stage.tokens),
            record: Rc::clone(record),
            gateways: stage
                .gateways
                .iter()
                .map(|gateway| gateway.addr())
                .collect(),
            struck: Cell::new(false),
            positive_ttl: stage.positive_ttl,
            reaches_redis,
            over: Cell::new(false),
            settling: Cell::new(false),
            chasers: RefCell::default(),
        })
    }

    /// Starts everybody.
    pub(crate) fn start(self: &Rc<Self>, stage: &Stage) -> JoinSet<()> {
        let mut all = JoinSet::new();
        for gateway in 0..self.gateways.len() {
            for _ in 0..CLIENTS {
                all.spawn_local(Rc::clone(self).uses(gateway));
            }
        }
        all.spawn_local(Rc::clone(self).issues(stage.dify()));
        all.spawn_local(Rc::clone(self).revokes(stage.dify()));
        all
    }

    /// Ends the revocations, waits until every revoked token is refused or should have been, and
    /// then ends the rest.
    pub(crate) async fn end(&self, mut all: JoinSet<()>) {
        self.settling.set(true);
        loop {
            let next = self.chasers.borrow_mut().try_join_next();
            match next {
                Some(outcome) => outcome.unwrap(),
                None if self.chasers.borrow().is_empty() => break,
                None => sleep(LOOK).await,
            }
        }
        self.over.set(true);
        while let Some(outcome) = all.join_next().await {
            outcome.unwrap();
        }
    }

    /// Waits until there are enough tokens to begin with.
    pub(crate) async fn stocked(&self) {
        while self.tokens.cold_count() < UNUSED / 2 {
            sleep(LOOK).await;
        }
    }

    /// Sends a request and notes how it ended.
    pub(crate) async fn shoot(
        &self,
        connection: &mut Connection,
        gateway: usize,
        kind: &'static str,
        token: Option<&Token>,
        request: &[u8],
    ) -> Option<u16> {
        let shot = Shot::now(kind, token, gateway);
        let answer = connection.exchange(request).await;
        self.record.judge(&shot, &answer)
    }

    async fn uses(self: Rc<Self>, gateway: usize) {
        let mut connection = Connection::to(self.gateways[gateway]);
        let unchecked = request("GET", "/v1/info", "app-x");
        while !self.over.get() {
            let tokens = &self.tokens;
            let (kind, token) = match tokens.roll(100) {
                0..45 => ("hot", tokens.hot()),
                45..70 => ("warm", tokens.warm()),
                70..82 => ("cold", tokens.cold()),
                82..92 => ("revoked", tokens.revoked()),
                92..95 => ("unknown", Some(Token::unknown())),
                95..97 => (ACCOUNT, tokens.hot()),
                _ => ("unchecked", None),
            };
            match (kind, token) {
                ("unchecked", _) => {
                    self.shoot(&mut connection, gateway, kind, None, &unchecked)
                        .await;
                }
                (_, Some(token)) => {
                    let request = if kind == ACCOUNT {
                        &token.account
                    } else {
                        &token.apps
                    };
                    self.shoot(&mut connection, gateway, kind, Some(&token), request)
                        .await;
                }
                // None of this kind at the moment.
                (_, None) => {}
            }
            sleep(PAUSE).await;
        }
    }
}

/// Tells whether all is well: live tokens of every kind work at every gateway.
pub(crate) async fn is_well(load: &Load, connections: &mut [Connection]) -> bool {
    for (gateway, connection) in connections.iter_mut().enumerate() {
        for token in load.tokens.sample() {
            let status = load
                .shoot(connection, gateway, "probe", Some(&token), &token.apps)
                .await;
            if status != Some(200) && token.state() == State::Live {
                return false;
            }
        }
    }
    true
}
