//! Clients of a world's gateways, all the time.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use crate::{
    bounds::{RECOVERY, SLACK},
    connection::{Connection, Reply, request},
    judge::{Kind, TOO_LATE, raise},
    lateness,
    schedule::GATEWAYS,
    tokens::{State, Token},
    upstream,
    world::World,
};

/// Keep-alive clients.
const CLIENTS: usize = 6;

/// A client's pause between an answer and the next request; the machine is not to be saturated.
const PAUSE: Duration = Duration::from_millis(25);

/// Longest wait for all to be well, however late the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Unused tokens that are kept in store.
const UNUSED: usize = 64;

/// The gateways' surfaces for either kind of token.
const SURFACES: [&str; 2] = ["/openapi/v1/apps", "/openapi/v1/permitted-external-apps"];

impl World {
    /// Starts the clients, and waits until there are tokens for them.
    pub(crate) async fn opens(self: &Rc<Self>) -> JoinSet<()> {
        let mut all = JoinSet::new();
        for owner in [Some(self.account), None] {
            all.spawn_local(Rc::clone(self).issues(owner));
        }
        while self.tokens.cold_count() < UNUSED / 2 {
            sleep(PAUSE).await;
        }
        for _ in 0..CLIENTS {
            all.spawn_local(Rc::clone(self).uses());
        }
        for gateway in 0..GATEWAYS {
            all.spawn_local(Rc::clone(self).streams(gateway));
        }
        all.spawn_local(lateness::watches(Rc::clone(self)));
        all
    }

    /// Sends a request through everything that may be struck, and notes how it ended.
    pub(crate) async fn shoot(
        &self,
        connection: &mut Connection,
        kind: Kind,
        what: &'static str,
        token: Option<&Rc<Token>>,
        request: &[u8],
    ) -> Option<Reply> {
        let shot = self.record.shot(connection.gateway, kind, what, token);
        let answer = connection.exchange(request).await;
        self.record.judge(&shot, answer)
    }

    async fn issues(self: Rc<Self>, owner: Option<Uuid>) {
        let mut dify = self.dify(owner);
        while !self.over.get() {
            if self.tokens.cold_count() < UNUSED
                && let Some(token) = dify.issues().await
            {
                self.tokens.add(token);
            }
            sleep(PAUSE / 5).await;
        }
    }

    async fn uses(self: Rc<Self>) {
        let mut connections = [0, 1].map(|gateway| self.connection(gateway));
        let unchecked = request("GET", "/v1/info", "app-x");
        while !self.over.get() {
            let tokens = &self.tokens;
            let (kind, what, token) = match tokens.roll(100) {
                0..40 => (Kind::Checked, "hot", tokens.hot()),
                40..60 => (Kind::Checked, "warm", tokens.warm()),
                60..68 => (Kind::Checked, "cold", tokens.cold()),
                68..84 => (Kind::Checked, "revoked", tokens.revoked()),
                84..89 => (Kind::Checked, "unknown", Some(Token::unknown())),
                89..93 => (Kind::Account, "account", tokens.hot()),
                93..96 => (Kind::Misplaced, "misplaced", tokens.hot()),
                _ => (Kind::Unchecked, "unchecked", None),
            };
            let request = match (&token, kind) {
                (Some(token), Kind::Account) => token.account.clone(),
                (Some(token), Kind::Misplaced) => misplaced(token),
                (Some(token), _) => token.apps.clone(),
                (None, Kind::Unchecked) => unchecked.clone(),
                // None of this kind at the moment.
                (None, _) => continue,
            };
            let connection = &mut connections[tokens.roll(GATEWAYS)];
            self.shoot(connection, kind, what, token.as_ref(), &request)
                .await;
            sleep(PAUSE).await;
        }
    }

    async fn streams(self: Rc<Self>, gateway: usize) {
        // One token of its own, which nobody revokes.
        let mut dify = self.dify(Some(self.account));
        let token = loop {
            if let Some(token) = dify.issues().await {
                break token;
            }
        };
        let path = format!("GET {} ", upstream::STREAM);
        let text = String::from_utf8(token.apps.clone()).unwrap();
        let request = text.replacen("GET /openapi/v1/apps ", &path, 1);
        while !self.over.get() {
            let mut connection = self.connection(gateway);
            let bytes = request.as_bytes();
            let reply = self
                .shoot(&mut connection, Kind::Stream, "stream", Some(&token), bytes)
                .await;
            if let Some(reply) = reply.filter(|reply| reply.status == 200) {
                let text = String::from_utf8_lossy(&reply.body);
                let events = text.matches("data:").count();
                if events != upstream::CHUNKS {
                    self.record
                        .note(format!("a whole stream of {events} events"));
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until all is well: every kind of request is answered as if nothing had been. Time in
    /// which the machine is too late for Redis to answer in time does not count.
    pub(crate) async fn recovers(&self) {
        let begun = Instant::now();
        let mut counted = Duration::ZERO;
        let mut connections = [0, 1].map(|gateway| self.connection(gateway));
        let [first, second] = &mut connections;
        loop {
            let tried = Instant::now();
            let (first, second) = tokio::join!(self.is_well(first), self.is_well(second));
            let Err(why) = first.and(second) else {
                counted += tried.elapsed();
                break;
            };
            if self.record.late.get() <= TOO_LATE {
                counted += tried.elapsed() + PAUSE;
            }
            if counted > RECOVERY + SLACK || begun.elapsed() > PATIENCE {
                let after = begun.elapsed();
                self.record
                    .note(format!("not well again after {after:?}: {why}"));
                return;
            }
            sleep(PAUSE).await;
        }
        raise(&self.record.longest_recovery, counted);
        self.record.weather.clears();
    }

    async fn is_well(&self, connection: &mut Connection) -> Result<(), String> {
        // A code that nobody has: who has heard of a licence says so, and who has not has no SSO.
        let nobodys = crate::support::request(
            "GET",
            "/openapi/v1/oauth/device/sso-initiate?user_code=BCDF-2345",
        );
        let reply = self
            .shoot(connection, Kind::SignIn, "probe", None, &nobodys.to_bytes())
            .await;
        if reply.as_ref().is_none_or(|reply| reply.status != 400) {
            return Err(format!("SSO at gateway {}: {reply:?}", connection.gateway));
        }
        for token in self.tokens.sample() {
            for (kind, request) in [
                (Kind::Checked, &token.apps),
                (Kind::Account, &token.account),
            ] {
                let begun = Instant::now();
                let reply = self
                    .shoot(connection, kind, "probe", Some(&token), request)
                    .await;
                let is_live = token.state() == State::Live;
                if is_live && reply.as_ref().is_none_or(|reply| reply.status != 200) {
                    let gateway = connection.gateway;
                    let took = begun.elapsed();
                    return Err(format!(
                        "{kind:?} at gateway {gateway}: {reply:?} after {took:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Shows a token where tokens of another kind belong.
fn misplaced(token: &Token) -> Vec<u8> {
    let text = String::from_utf8(token.apps.clone()).unwrap();
    let line = |surface: &str| format!("GET {surface} ");
    let [own, other] = SURFACES.map(line);
    let (own, other) = if text.starts_with(&own) {
        (own, other)
    } else {
        (other, own)
    };
    text.replacen(&own, &other, 1).into_bytes()
}
