//! Logins on devices, two people at the button and three polls at a time, and what has to be true
//! about each when the storm is over.

use std::{
    cell::{Cell, RefCell},
    fmt::Debug,
    rc::Rc,
};

use serde_json::json;

use crate::{
    bounds::REPORTED,
    connection::Reply,
    judge::{Kind, TOO_LATE},
    schedule::GATEWAYS,
    support::{
        Grant, IssuedToken, Login, RequestBuilder, assertion, claims_of, completes, hash, request,
    },
    tokens::{State, Token},
    weather::Moment,
    world::World,
};

const DEVICE: &str = "/openapi/v1/oauth/device";

/// Hosts with a token that are kept to be logged in on again.
const HOSTS: usize = 16;

/// Whom an identity provider vouches for.
const PERSON: &str = "eve@partner.example";

/// The cookie of a person who has signed in by SSO.
const GRANT: &str = "device_approval_grant";

/// How somebody logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With an account, on a new host.
    Login,
    /// By SSO and without an account, on a new host.
    Sso,
    /// As it was done before, on a host that has a token already.
    Again,
}

/// A host, with the token that it has got.
#[derive(Debug)]
struct Host {
    name: String,
    by_sso: bool,
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
    by_sso: bool,
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
    /// Logs in on a host, over both gateways or over this one only.
    pub(crate) async fn logs_in(&self, way: Way, only: Option<usize>) {
        let calm = self.calm(only);
        let known = (way == Way::Again)
            .then(|| self.logins.hosts.borrow_mut().pop())
            .flatten();
        let number = self.logins.count.get();
        self.logins.count.set(number + 1);
        let (host, by_sso, old) = match known {
            Some(host) => (host.name, host.by_sso, Some(host.token)),
            None => (format!("host-{number}"), way == Way::Sso, None),
        };
        let losses = self.record.weather.losses.get();
        let body = json!({"client_id": "difyctl", "device_label": format!("difyctl on {host}")});
        let code = request("POST", &format!("{DEVICE}/code")).json(&body);
        let [gateway, ..] = self.gateways(only);
        let Some(login) = self.flows(gateway, "code", &code).await.and_then(codes) else {
            // Nothing has happened to the host.
            if let Some(token) = old {
                self.logins.hosts.borrow_mut().push(Host {
                    name: host,
                    by_sso,
                    token,
                });
            }
            self.is_no_wonder(calm, only, &"no code");
            return;
        };
        let mut attempt = Attempt {
            host,
            by_sso,
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
        if let Some(approval) = self.approval(&attempt, only).await {
            let [first, second, _] = self.gateways(only);
            let answers = tokio::join!(
                self.flows(first, "approve", &approval),
                self.flows(second, "approve", &approval)
            );
            for answer in [answers.0, answers.1] {
                self.is_decided(&mut attempt, answer);
            }
        }
        match old {
            Some(old) if attempt.won > 0 => {
                self.record.count("tokens rotated");
                self.is_revoked(&old, REPORTED);
            }
            Some(old) => self.is_unsettled(old),
            None => {}
        }
        let poll = attempt.login.poll();
        let [first, second, third] = self.gateways(only);
        let answers = tokio::join!(
            self.flows(first, "poll", &poll),
            self.flows(second, "poll", &poll),
            self.flows(third, "poll", &poll)
        );
        for answer in [answers.0, answers.1, answers.2] {
            self.is_polled(&mut attempt, answer.as_ref());
        }
        if (attempt.won, attempt.grants) != (1, 1) {
            self.is_no_wonder(calm, only, &attempt);
        } else if calm.is_some() && calm == self.calm(only) {
            self.record.count("logins that nothing was in the way of");
        }
        self.logins.open.borrow_mut().push(attempt);
    }

    /// Returns which gateways three requests go to.
    fn gateways(&self, only: Option<usize>) -> [usize; 3] {
        let first = self.tokens.roll(GATEWAYS);
        only.map_or([first, 1 - first, first], |one| [one; 3])
    }

    /// Returns how things are, if nothing has been struck that a login needs.
    fn calm(&self, only: Option<usize>) -> Option<Vec<Moment>> {
        let used = (0..GATEWAYS).filter(|gateway| only.is_none_or(|only| only == *gateway));
        let around = used.map(|gateway| self.record.weather.around(gateway));
        let moments = around.map(|one| one.is_calm().then(|| one.now()));
        moments.collect()
    }

    /// Notes a login that has failed with nothing in its way.
    fn is_no_wonder(&self, calm: Option<Vec<Moment>>, only: Option<usize>, what: &dyn Debug) {
        let late = self.record.late.get();
        if calm.is_some() && calm == self.calm(only) && late <= TOO_LATE {
            self.record.note(format!(
                "a login has failed though nothing was struck at {only:?}: {what:?}"
            ));
        }
    }

    /// Returns what is sent to approve a login; `None` where a person could not even sign in.
    async fn approval(&self, attempt: &Attempt, only: Option<usize>) -> Option<RequestBuilder> {
        let user_code = &attempt.login.user_code;
        if !attempt.by_sso {
            let path = format!("{DEVICE}/approve");
            return Some(self.browser.posts(&path, user_code));
        }
        let signed_in = completes(&assertion(user_code, PERSON));
        let [gateway, ..] = self.gateways(only);
        let reply = self.flows(gateway, "sign-in", &signed_in).await?;
        if let Some(cookie) = reply.cookie(GRANT).filter(|_| reply.status == 302) {
            let csrf = claims_of(&cookie)["csrf_token"].as_str()?.to_owned();
            let user_code = user_code.clone();
            let grant = Grant {
                cookie,
                csrf,
                user_code,
            };
            return Some(grant.approves());
        }
        if reply.status == 409 && self.is_lost(attempt) {
            self.record.count("logins lost with Redis, and said so");
        } else if reply.status != 503 {
            self.record
                .note(format!("a sign-in: {reply:?}; {attempt:?}"));
        }
        None
    }

    async fn flows(
        &self,
        gateway: usize,
        what: &'static str,
        request: &RequestBuilder,
    ) -> Option<Reply> {
        let mut connection = self.connection(gateway);
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

fn codes(reply: Reply) -> Option<Login> {
    Some(Login {
        device_code: reply.text("device_code")?,
        user_code: reply.text("user_code")?,
    })
}
