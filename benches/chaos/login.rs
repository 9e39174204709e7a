//! Logins on devices: two people at the button and three polls at a time, over both gateways.

use std::fmt::Debug;

use serde_json::json;

use crate::{
    attempt::{Attempt, Host},
    bounds::REPORTED,
    connection::Reply,
    judge::{Kind, TOO_LATE},
    schedule::GATEWAYS,
    support::{Grant, Login, RequestBuilder, assertion, claims_of, completes, request},
    tokens::State,
    weather::Moment,
    world::World,
};

const DEVICE: &str = "/openapi/v1/oauth/device";

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

impl World {
    /// Logs in on a host, over both gateways or over this one only.
    pub(crate) async fn logs_in(&self, way: Way, only: Option<usize>) {
        let known = (way == Way::Again)
            .then(|| self.logins.hosts.borrow_mut().pop())
            .flatten();
        let number = self.logins.count.get();
        self.logins.count.set(number + 1);
        let (host, by_sso, old) = match known {
            Some(host) => (host.name, host.by_sso, Some(host.token)),
            None => (format!("host-{number}"), way == Way::Sso, None),
        };
        let calm = self.calm(only, by_sso);
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
            self.is_no_wonder(calm, only, by_sso, &"no code");
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
            self.is_no_wonder(calm, only, by_sso, &attempt);
        } else if calm.is_some() && calm == self.calm(only, by_sso) {
            self.record.count("logins that nothing was in the way of");
        }
        self.logins.open.borrow_mut().push(attempt);
    }

    /// Returns which gateways three requests go to.
    pub(crate) fn gateways(&self, only: Option<usize>) -> [usize; 3] {
        let first = self.tokens.roll(GATEWAYS);
        only.map_or([first, 1 - first, first], |one| [one; 3])
    }

    /// Returns how things are, if nothing has been struck that a login needs.
    fn calm(&self, only: Option<usize>, by_sso: bool) -> Option<Vec<Moment>> {
        let used = (0..GATEWAYS).filter(|gateway| only.is_none_or(|only| only == *gateway));
        let around = used.map(|gateway| self.record.weather.around(gateway));
        around.map(|one| one.calm(by_sso)).collect()
    }

    /// Notes a login that has failed with nothing in its way.
    fn is_no_wonder(
        &self,
        calm: Option<Vec<Moment>>,
        only: Option<usize>,
        by_sso: bool,
        what: &dyn Debug,
    ) {
        let late = self.record.late.get();
        if calm.is_some() && calm == self.calm(only, by_sso) && late <= TOO_LATE {
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
        let begin = request(
            "GET",
            &format!("{DEVICE}/sso-initiate?user_code={user_code}"),
        );
        let [gateway, ..] = self.gateways(only);
        let begun = self.asks(gateway, Kind::SignIn, "sign-in", &begin).await?;
        if begun.status != 302 {
            // What it may be is judged; a code that leads nowhere, only here.
            if begun.status == 400 && !self.is_lost(attempt) {
                self.record
                    .note(format!("a sign-in: {begun:?}; {attempt:?}"));
            }
            return None;
        }
        self.record.count("sign-ins begun");
        let signed_in = completes(&assertion(user_code, PERSON));
        let [gateway, ..] = self.gateways(only);
        let reply = self.flows(gateway, "assertion", &signed_in).await?;
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
        } else if reply.status != 503 && !self.is_unlicensed(&reply) {
            self.record
                .note(format!("a sign-in: {reply:?}; {attempt:?}"));
        }
        None
    }

    /// Tells whether a gateway has answered that it has no SSO, as it was started while it could not
    /// hear of a licence.
    pub(crate) fn is_unlicensed(&self, reply: &Reply) -> bool {
        let is_struck = |gateway: usize| self.record.weather.around(gateway).enterprise.is_recent();
        reply.status == 404
            && ["error", "code"]
                .iter()
                .any(|name| reply.text(name).as_deref() == Some("not_found"))
            && (0..GATEWAYS).any(is_struck)
    }

    /// Sends a step of a login over a connection of its own.
    pub(crate) async fn flows(
        &self,
        gateway: usize,
        what: &'static str,
        request: &RequestBuilder,
    ) -> Option<Reply> {
        self.asks(gateway, Kind::Flow, what, request).await
    }

    async fn asks(
        &self,
        gateway: usize,
        kind: Kind,
        what: &'static str,
        request: &RequestBuilder,
    ) -> Option<Reply> {
        let mut connection = self.connection(gateway);
        let bytes = request.to_bytes();
        self.shoot(&mut connection, kind, what, None, &bytes).await
    }
}

fn codes(reply: Reply) -> Option<Login> {
    Some(Login {
        device_code: reply.text("device_code")?,
        user_code: reply.text("user_code")?,
    })
}
