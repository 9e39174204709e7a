//! What the answers to a login have said, and what has to be true about it when the storm is over.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use crate::{
    connection::Reply,
    judge::Kind,
    support::{IssuedToken, Login, hash},
    tokens::{State, Token},
    world::World,
};

/// Hosts with a token that are kept to be logged in on again.
const HOSTS: usize = 16;

/// A host, with the token that it has got.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) by_sso: bool,
    pub(crate) token: Rc<Token>,
}

/// The logins of a world.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    pub(crate) count: Cell<u64>,
    /// Hosts on which nobody logs in at present, and that are as they should be.
    pub(crate) hosts: RefCell<Vec<Host>>,
    pub(crate) open: RefCell<Vec<Attempt>>,
}

/// A login that has begun, and what its answers have said.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) host: String,
    pub(crate) by_sso: bool,
    pub(crate) login: Login,
    /// Redis's losses when it began.
    pub(crate) losses: u64,
    pub(crate) won: usize,
    /// An approval without an answer that tells what it has done: it may come to pass later.
    pub(crate) unsure_approval: bool,
    /// A poll without an answer: it may have taken the token.
    pub(crate) unsure_poll: bool,
    pub(crate) grants: usize,
    pub(crate) token: Option<Rc<Token>>,
}

impl World {
    /// Tells whether Redis may have lost the login.
    pub(crate) fn is_lost(&self, attempt: &Attempt) -> bool {
        self.record.weather.losses.get() != attempt.losses
    }

    /// Takes what an approval was answered.
    pub(crate) fn is_decided(&self, attempt: &mut Attempt, answer: Option<Reply>) {
        let Some(reply) = answer.filter(|reply| reply.status != 503) else {
            attempt.unsure_approval = true;
            return;
        };
        let error = reply.text("error").unwrap_or_default();
        let known: &[(u16, &str)] = if attempt.by_sso {
            &[
                (401, "session_already_consumed"),
                (409, "user_code_not_pending"),
                (409, "state_lost"),
            ]
        } else {
            &[
                (409, "already_resolved"),
                (409, "approve_in_progress"),
                (409, "state_lost"),
            ]
        };
        match reply.status {
            200 => {
                attempt.won += 1;
                self.record.count("approvals");
            }
            status if known.contains(&(status, &*error)) => {}
            // Nothing has been done then: the browser may send it once more.
            404 if attempt.by_sso && self.is_unlicensed(&reply) => {}
            404 if self.is_lost(attempt) => {
                self.record.count("logins lost with Redis, and said so")
            }
            _ => self
                .record
                .note(format!("an approval: {reply:?}; {attempt:?}")),
        }
    }

    /// Takes what a poll was answered.
    pub(crate) fn is_polled(&self, attempt: &mut Attempt, answer: Option<&Reply>) {
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
        let prefix = if attempt.by_sso { "dfoe_" } else { "dfoa_" };
        if !token.starts_with(prefix) {
            self.record.note(format!(
                "a token of another kind than {prefix}: {attempt:?}"
            ));
        }
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
            let [gateway, ..] = self.gateways(None);
            let late = self
                .flows(gateway, "last poll", &attempt.login.poll())
                .await;
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
                self.is_unsettled(token);
                continue;
            }
            if rows.first().map(|row| row.get(0)) != Some(token.hash.clone()) {
                self.record
                    .note(format!("a grant that is no row: {attempt:?}"));
            }
            self.logins.hosts.borrow_mut().push(Host {
                name: attempt.host,
                by_sso: attempt.by_sso,
                token,
            });
        }
        self.hosts_are_logged_in().await;
    }

    /// Tries every token that a login has got and nobody has replaced.
    async fn hosts_are_logged_in(&self) {
        let mut connections = [0, 1].map(|gateway| self.connection(gateway));
        let tokens: Vec<_> = {
            let mut hosts = self.logins.hosts.borrow_mut();
            let surplus = hosts.len().saturating_sub(HOSTS);
            hosts.drain(..surplus);
            hosts.iter().map(|host| Rc::clone(&host.token)).collect()
        };
        for token in tokens {
            for connection in &mut connections {
                let what = "granted";
                let request = &token.account;
                let reply = self
                    .shoot(connection, Kind::Account, what, Some(&token), request)
                    .await;
                if reply.is_some_and(|reply| ![200, 503].contains(&reply.status)) {
                    self.record
                        .note(format!("a granted token does not work: {}", token.hash));
                }
            }
        }
    }
}
