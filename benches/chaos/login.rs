//! Logins on devices, two people at the button and three polls at a time, and what has to be true
//! about each when the storm is over.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use serde_json::json;

use crate::{
    connection::{Connection, Reply},
    judge::{Kind, REPORTED},
    support::{IssuedToken, Login, RequestBuilder, hash, request},
    tokens::{State, Token},
    world::World,
};

const DEVICE: &str = "/openapi/v1/oauth/device";

/// Hosts with a token that are kept to be logged in on again.
const HOSTS: usize = 16;

/// A host, with the token that it has got.
#[derive(Debug)]
struct Host {
    name: String,
    token: Rc<Token>,
}

/// The logins of a world.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    count: Cell<u64>,
    /// Hosts on which nobody logs in at present, and that are as they should be.
    hosts: RefCell<Vec<Host>>,
    open: RefCell<Vec<Attempt>>,
}

/// A login that has begun, and what its answers have said.
#[derive(Debug)]
struct Attempt {
    host: String,
    login: Login,
    /// Redis's losses when it began.
    losses: u64,
    won: usize,
    /// An approval without an answer that tells what it has done: it may come to pass later.
    unsure_approval: bool,
    /// A poll without an answer: it may have taken the token.
    unsure_poll: bool,
    grants: usize,
    token: Option<Rc<Token>>,
}

impl World {
    /// Logs in on a host, a new one or, if there is any, one that has a token already.
    pub(crate) async fn logs_in(&self, again: bool) {
        let known = if again {
            self.logins.hosts.borrow_mut().pop()
        } else {
            None
        };
        let number = self.logins.count.get();
        self.logins.count.set(number + 1);
        let (name, old) = match known {
            Some(host) => (host.name, Some(host.token)),
            None => (format!("host-{number}"), None),
        };
        let losses = self.record.weather.losses.get();
        let label = format!("difyctl on {name}");
        let body = json!({"client_id": "difyctl", "device_label": label});
        let code = request("POST", &format!("{DEVICE}/code")).json(&body);
        let Some(login) = self.flows("code", &code).await.and_then(codes) else {
            // Nothing has happened to the host.
            if let Some(token) = old {
                self.logins.hosts.borrow_mut().push(Host { name, token });
            }
            return;
        };
        let mut attempt = Attempt {
            host: name,
            login,
            losses,
            won: 0,
            unsure_approval: false,
            unsure_poll: false,
            grants: 0,
            token: None,
        };
        if let Some(old) = &old {
            old.becomes(State::Uncertain);
        }
        let approve = format!("{DEVICE}/approve");
        let approve = self.browser.posts(&approve, &attempt.login.user_code);
        let answers = tokio::join!(
            self.flows("approve", &approve),
            self.flows("approve", &approve)
        );
        for answer in [answers.0, answers.1] {
            self.is_decided(&mut attempt, answer);
        }
        if let Some(old) = old.filter(|_| attempt.won > 0) {
            self.record.count("tokens rotated");
            self.is_revoked(&old, REPORTED);
        }
        let poll = attempt.login.poll();
        let answers = tokio::join!(
            self.flows("poll", &poll),
            self.flows("poll", &poll),
            self.flows("poll", &poll)
        );
        for answer in [answers.0, answers.1, answers.2] {
            self.is_polled(&mut attempt, answer.as_ref());
        }
        self.logins.open.borrow_mut().push(attempt);
    }

    async fn flows(&self, what: &'static str, request: &RequestBuilder) -> Option<Reply> {
        let mut connection = Connection::to(self.front());
        let bytes = request.to_bytes();
        self.shoot(&mut connection, Kind::Flow, what, None, &bytes)
            .await
    }

    fn is_lost(&self, attempt: &Attempt) -> bool {
        self.record.weather.losses.get() != attempt.losses
    }

    fn is_decided(&self, attempt: &mut Attempt, answer: Option<Reply>) {
        let Some(reply) = answer.filter(|reply| reply.status != 503) else {
            attempt.unsure_approval = true;
            return;
        };
        let error = reply.text("error").unwrap_or_default();
        let is_known = ["already_resolved", "approve_in_progress", "state_lost"].contains(&&*error);
        match reply.status {
            200 => {
                attempt.won += 1;
                self.record.count("approvals");
            }
            409 if is_known => {}
            404 if self.is_lost(attempt) => {
                self.record.count("logins lost with Redis, and said so")
            }
            _ => self
                .record
                .note(format!("an approval: {reply:?}; {attempt:?}")),
        }
    }

    fn is_polled(&self, attempt: &mut Attempt, answer: Option<&Reply>) {
        let Some(reply) = answer.filter(|reply| reply.status != 503) else {
            attempt.unsure_poll = true;
            return;
        };
        if reply.status == 200 {
            self.is_granted(attempt, reply);
            return;
        }
        let error = reply.text("error").unwrap_or_default();
        let is_allowed = match &*error {
            "slow_down" => true,
            "authorization_pending" => attempt.won == 0,
            "access_denied" => attempt.unsure_approval,
            // One of the others may have taken it a moment ago: the end will tell.
            "expired_token" => true,
            _ => false,
        };
        if !is_allowed {
            self.record.note(format!("a poll: {reply:?}; {attempt:?}"));
        }
    }

    fn is_granted(&self, attempt: &mut Attempt, reply: &Reply) {
        self.record.count("tokens granted");
        attempt.grants += 1;
        if attempt.grants > 1 {
            self.record
                .note(format!("a second token for one login: {attempt:?}"));
        }
        if attempt.won == 0 && !attempt.unsure_approval {
            self.record
                .note(format!("a token that nobody has approved: {attempt:?}"));
        }
        let Some(token) = reply.text("token") else {
            self.record
                .note(format!("a grant without a token: {reply:?}"));
            return;
        };
        // What an unsure approval has written may be replaced yet.
        let is_sure = attempt.won == 1 && !attempt.unsure_approval;
        let state = if is_sure {
            State::Live
        } else {
            State::Uncertain
        };
        let issued = IssuedToken {
            hash: hash(&token),
            id: reply
                .text("token_id")
                .and_then(|id| id.parse().ok())
                .unwrap_or_default(),
            token,
        };
        attempt.token = Some(Token::new(&issued, state));
    }

    /// Looks at every login that the storm has left, in fair weather.
    pub(crate) async fn logins_are_as_answered(&self) {
        let client = self.postgres.database().client().await;
        for mut attempt in self.logins.open.take() {
            self.record.count("logins");
            if attempt.won > 1 {
                self.record.note(format!("approved twice: {attempt:?}"));
            }
            attempt.login.wait(self.redis.space()).await;
            let late = self.flows("last poll", &attempt.login.poll()).await;
            self.is_polled(&mut attempt, late.as_ref());
            let error = late.as_ref().and_then(|reply| reply.text("error"));
            let is_explained = match error.as_deref() {
                Some("expired_token") => {
                    attempt.grants > 0 || attempt.unsure_poll || self.is_lost(&attempt)
                }
                Some("slow_down") => false,
                _ => late.is_some(),
            };
            if !is_explained {
                let said = format!("lost without a word: {late:?}");
                self.record.note(format!("{said}; {attempt:?}"));
            }
            let label = format!("difyctl on {}", attempt.host);
            let sql = "SELECT token_hash FROM oauth_access_tokens \
                       WHERE device_label = $1 AND revoked_at IS NULL";
            let rows = client.query(sql, &[&label]).await.unwrap();
            if rows.len() > 1 {
                let live = rows.len();
                self.record.note(format!("{live} live rows: {attempt:?}"));
            }
            let Some(token) = attempt.token.take() else {
                continue;
            };
            if token.state() != State::Live {
                continue;
            }
            if rows.first().map(|row| row.get(0)) != Some(token.hash.clone()) {
                self.record
                    .note(format!("a grant that is no row: {attempt:?}"));
            }
            let name = attempt.host;
            self.logins.hosts.borrow_mut().push(Host { name, token });
        }
        self.hosts_are_logged_in().await;
    }

    /// Tries every token that a login has got and nobody has replaced.
    async fn hosts_are_logged_in(&self) {
        let mut connection = Connection::to(self.front());
        let tokens: Vec<_> = {
            let mut hosts = self.logins.hosts.borrow_mut();
            let surplus = hosts.len().saturating_sub(HOSTS);
            hosts.drain(..surplus);
            hosts.iter().map(|host| Rc::clone(&host.token)).collect()
        };
        for token in tokens {
            let reply = self
                .shoot(
                    &mut connection,
                    Kind::Account,
                    "granted",
                    Some(&token),
                    &token.account,
                )
                .await;
            if reply.is_some_and(|reply| ![200, 503].contains(&reply.status)) {
                self.record
                    .note(format!("a granted token does not work: {}", token.hash));
            }
        }
    }
}

fn codes(reply: Reply) -> Option<Login> {
    Some(Login {
        device_code: reply.text("device_code")?,
        user_code: reply.text("user_code")?,
    })
}
