//! Clients of a world's gateway, all the time, and whoever revokes tokens.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    bounds::{RECOVERY, SLACK},
    connection::{Connection, Reply, request},
    dify::Deletion,
    judge::{Kind, REPORTED, raise},
    tokens::{State, Token},
    upstream,
    world::World,
};

/// Keep-alive clients.
const CLIENTS: usize = 4;

/// A client's pause between an answer and the next request; the machine is not to be saturated.
const PAUSE: Duration = Duration::from_millis(25);

/// Unused tokens that are kept in store.
const UNUSED: usize = 64;

/// `token_cache.positive_ttl`: what Dify could not delete ends by itself.
const ENTRY: Duration = Duration::from_secs(60);

/// How often Dify tries to delete an entry.
const ATTEMPTS: usize = 3;

impl World {
    /// Starts the clients, and waits until there are tokens for them.
    pub(crate) async fn opens(self: &Rc<Self>) -> JoinSet<()> {
        let mut all = JoinSet::new();
        all.spawn_local(Rc::clone(self).issues());
        while self.tokens.cold_count() < UNUSED / 2 {
            sleep(PAUSE).await;
        }
        for _ in 0..CLIENTS {
            all.spawn_local(Rc::clone(self).uses());
        }
        all.spawn_local(Rc::clone(self).streams());
        all.spawn_local(Rc::clone(self).is_late());
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
        let shot = self.record.shot(kind, what, token);
        let answer = connection.exchange(request).await;
        self.record.judge(&shot, answer)
    }

    async fn issues(self: Rc<Self>) {
        let mut dify = self.dify();
        while !self.over.get() {
            if self.tokens.cold_count() < UNUSED
                && let Some(token) = dify.issues().await
            {
                self.tokens.add(token);
            }
            if self.tokens.cold_count() >= UNUSED / 2 {
                sleep(PAUSE).await;
            }
        }
    }

    async fn uses(self: Rc<Self>) {
        let mut connection = Connection::to(self.front());
        let unchecked = request("GET", "/v1/info", "app-x");
        while !self.over.get() {
            let tokens = &self.tokens;
            let (kind, what, token) = match tokens.roll(100) {
                0..40 => (Kind::Checked, "hot", tokens.hot()),
                40..60 => (Kind::Checked, "warm", tokens.warm()),
                60..68 => (Kind::Checked, "cold", tokens.cold()),
                68..84 => (Kind::Checked, "revoked", tokens.revoked()),
                84..89 => (Kind::Checked, "unknown", Some(Token::unknown())),
                89..95 => (Kind::Account, "account", tokens.hot()),
                _ => (Kind::Unchecked, "unchecked", None),
            };
            let request = match (&token, kind) {
                (Some(token), Kind::Account) => &token.account,
                (Some(token), _) => &token.apps,
                (None, Kind::Unchecked) => &unchecked,
                // None of this kind at the moment.
                (None, _) => continue,
            };
            self.shoot(&mut connection, kind, what, token.as_ref(), request)
                .await;
            sleep(PAUSE).await;
        }
    }

    async fn streams(self: Rc<Self>) {
        // One token of its own, which nobody revokes.
        let mut dify = self.dify();
        let token = loop {
            if let Some(token) = dify.issues().await {
                break token;
            }
        };
        let path = format!("GET {} ", upstream::STREAM);
        let text = String::from_utf8(token.apps.clone()).unwrap();
        let request = text.replacen("GET /openapi/v1/apps ", &path, 1);
        while !self.over.get() {
            let mut connection = Connection::to(self.front());
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

    /// Notices when this process is not run when it should be.
    async fn is_late(self: Rc<Self>) {
        while !self.over.get() {
            let begun = Instant::now();
            sleep(PAUSE).await;
            let late = begun.elapsed().saturating_sub(2 * PAUSE);
            // Half of it is forgotten every half a second or so.
            let before = self.record.late.get() * 97 / 100;
            self.record.late.set(late.max(before));
        }
    }

    /// Takes a token to be revoked, and uses it once more: what is in no cache cannot stay there.
    async fn takes(&self) -> Option<Rc<Token>> {
        let token = self.tokens.take_for_revocation()?;
        let mut connection = Connection::to(self.front());
        let what = "before a revocation";
        let request = &token.apps;
        self.shoot(&mut connection, Kind::Checked, what, Some(&token), request)
            .await;
        Some(token)
    }

    /// Has Dify revoke a token: the row, and then the entry in Redis.
    pub(crate) async fn revokes_at_dify(&self) {
        let Some(token) = self.takes().await else {
            return;
        };
        let mut dify = self.dify();
        if !dify.revokes(&token).await {
            return;
        }
        let mut bound = ENTRY;
        for _ in 0..ATTEMPTS {
            if dify.deletes(&token).await == Deletion::Done {
                bound = REPORTED;
                break;
            }
        }
        if bound == ENTRY {
            self.record.count("revocations not deleted");
        }
        self.is_revoked(&token, bound);
    }

    /// Has the owner revoke a token at the gateway.
    pub(crate) async fn revokes_at_gateway(&self) {
        let Some(token) = self.takes().await else {
            return;
        };
        let mut connection = Connection::to(self.front());
        let what = "revocation";
        let request = &token.revocation;
        let reply = self
            .shoot(&mut connection, Kind::Account, what, Some(&token), request)
            .await;
        if reply.is_some_and(|reply| reply.status == 200) {
            self.is_revoked(&token, REPORTED);
        }
    }

    /// Keeps a token whose revocation has been acknowledged, to be tried again and again.
    pub(crate) fn is_revoked(&self, token: &Rc<Token>, bound: Duration) {
        self.record.count("revocations acknowledged");
        let at = Instant::now();
        token.becomes(State::Revoked { at, bound });
        self.revoked_now.borrow_mut().push(Rc::clone(token));
        self.tokens.keep_revoked(Rc::clone(token));
    }

    /// Waits until all is well: every kind of request is answered as if nothing had been.
    pub(crate) async fn recovers(&self) {
        let begun = Instant::now();
        let mut connection = Connection::to(self.front());
        while !self.is_well(&mut connection).await {
            if begun.elapsed() > RECOVERY + SLACK + self.record.late.get() {
                let after = begun.elapsed();
                self.record.note(format!("not well again after {after:?}"));
                return;
            }
            sleep(PAUSE).await;
        }
        raise(&self.record.longest_recovery, begun.elapsed());
        self.record.weather.clears();
    }

    async fn is_well(&self, connection: &mut Connection) -> bool {
        for token in self.tokens.sample() {
            for (kind, request) in [
                (Kind::Checked, &token.apps),
                (Kind::Account, &token.account),
            ] {
                let reply = self
                    .shoot(connection, kind, "probe", Some(&token), request)
                    .await;
                let is_live = token.state() == State::Live;
                if is_live && reply.is_none_or(|reply| reply.status != 200) {
                    return false;
                }
            }
        }
        true
    }

    /// Waits until every token that has been revoked must be refused, and tries each.
    pub(crate) async fn all_are_refused(&self) {
        let mut connection = Connection::to(self.front());
        for token in self.revoked_now.take() {
            let State::Revoked { at, bound } = token.state() else {
                continue;
            };
            if bound == ENTRY && at.elapsed() < ENTRY {
                continue;
            }
            sleep((bound + SLACK).saturating_sub(at.elapsed())).await;
            let what = "revoked, at the end";
            let request = &token.apps;
            let reply = self
                .shoot(&mut connection, Kind::Checked, what, Some(&token), request)
                .await;
            if reply.is_some_and(|reply| ![401, 503].contains(&reply.status)) {
                self.record.note(format!("{what}: {}", &token.hash[..12]));
            }
        }
    }
}
