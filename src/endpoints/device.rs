//! `…/oauth/device/{code,token,lookup,approve,deny}`.

use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use super::{Endpoints, LocalRequest};
use crate::{
    clock::Timestamp,
    console::{ConsoleSession, NoSession, Presented},
    device::{LOGIN_LIFE, Lookup, NoTokenYet, NotBegun, NotDecided, POLL_INTERVAL},
    http::{
        FlowError, Malformed, Rejection, Reply,
        body::{Accepts, Fault, Members, NotText, is_form},
        cookies::cookie,
        origin::Origin,
    },
    rate_limit::{Caller, Limit, Standing},
};

/// RFC 8628 section 3.4.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Longest client id, in characters: the column's width.
const MAX_CLIENT_ID: usize = 64;

/// Longest device label, in characters: the column's width.
const MAX_DEVICE_LABEL: usize = 255;

/// Longest device code that is looked at; ours have 35 characters.
const MAX_DEVICE_CODE: usize = 128;

/// Longest user code that is looked at; ours have 9 characters, and people add spaces.
pub(super) const MAX_USER_CODE: usize = 64;

impl Endpoints {
    pub(super) async fn code(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        self.require_flow()?;
        let standing = self.admit_address(Limit::DeviceCode, request).await?;
        let mut faults = Vec::new();
        let members = oauth_members(request)?;
        let client_id = members.text("client_id", MAX_CLIENT_ID, &mut faults);
        let device_label = if is_form(request.headers) && !members.has("device_label") {
            // A stock client knows no labels (RFC 8628 section 3.1); its id has to do.
            client_id.clone()
        } else {
            members.text("device_label", MAX_DEVICE_LABEL, &mut faults)
        };
        if !faults.is_empty() {
            return Err(Rejection::OAuthRequest(faults));
        }
        let from = request.client.to_string();
        let begun = self.device.begin(&client_id, &device_label, &from).await;
        let begun = begun.map_err(|error| match error {
            NotBegun::UnsupportedClient => Rejection::Flow(FlowError::UnsupportedClient),
            NotBegun::Exhausted => Rejection::Flow(FlowError::UserCodeExhausted),
            NotBegun::Unavailable(_) => Rejection::StoreUnavailable,
        })?;
        let user_code = begun.user_code.to_text();
        let verification_uri = self.verification_uri(request)?;
        let mut body = json!({
            "device_code": begun.device_code.as_str(),
            "user_code": user_code,
            "verification_uri": verification_uri,
            "expires_in": LOGIN_LIFE.as_secs(),
            "interval": POLL_INTERVAL.as_secs(),
        });
        if self.settings.verification_uri_complete {
            body["verification_uri_complete"] =
                format!("{verification_uri}?user_code={user_code}").into();
        }
        Ok(Reply::json(StatusCode::OK, &body).with_standing(&standing))
    }

    pub(super) async fn token(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        self.require_flow()?;
        let mut faults = Vec::new();
        let members = oauth_members(request)?;
        // Dify's own client sends none, and says the same by the path.
        match members.optional_text("grant_type") {
            Ok(Some(GRANT_TYPE)) => {}
            Ok(Some(_)) => return Err(Rejection::Flow(FlowError::UnsupportedGrantType)),
            Err(NotText) => faults.push(Fault::not_text("grant_type")),
            Ok(None) if is_form(request.headers) => {
                faults.push(Fault::new(
                    "grant_type",
                    "missing",
                    "grant_type is required",
                ));
            }
            Ok(None) => {}
        }
        let device_code = members.text("device_code", MAX_DEVICE_CODE, &mut faults);
        let client_id = members.text("client_id", MAX_CLIENT_ID, &mut faults);
        if !faults.is_empty() {
            return Err(Rejection::OAuthRequest(faults));
        }
        let from = request.client.to_string();
        let polled = self.device.poll(&device_code, &client_id, &from).await;
        let payload = polled.map_err(|error| match error {
            NoTokenYet::SlowDown => Rejection::Flow(FlowError::SlowDown),
            NoTokenYet::Pending => Rejection::Flow(FlowError::AuthorizationPending),
            NoTokenYet::Denied => Rejection::Flow(FlowError::AccessDenied),
            NoTokenYet::Expired => Rejection::Flow(FlowError::ExpiredToken),
            NoTokenYet::OtherClient => Rejection::Flow(FlowError::InvalidGrant),
            NoTokenYet::Unavailable(_) => Rejection::StoreUnavailable,
        })?;
        Ok(Reply::json(
            StatusCode::OK,
            &with_oauth_members(payload, self.device.clock.now()),
        ))
    }

    pub(super) async fn lookup(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        self.require_flow()?;
        let standing = self.admit_address(Limit::Lookup, request).await?;
        let found = match typed_code(request) {
            Some(typed) => self.device.look_up(&typed).await,
            None => Ok(Lookup::default()),
        };
        let found = found.map_err(|_| Rejection::StoreUnavailable)?;
        let body = json!({
            "valid": found.valid,
            "expires_in_remaining": found.remaining.as_secs(),
            "client_id": found.client_id,
        });
        Ok(Reply::json(StatusCode::OK, &body).with_standing(&standing))
    }

    pub(super) async fn approve(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        let (person, user_code, standing) = self.decision(request).await?;
        let decided = self.device.approve(&user_code, &person).await;
        decided.map_err(|error| not_decided(&error))?;
        Ok(status("approved").with_standing(&standing))
    }

    pub(super) async fn deny(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        let (person, user_code, standing) = self.decision(request).await?;
        let decided = self.device.deny(&user_code, &person).await;
        decided.map_err(|error| not_decided(&error))?;
        Ok(status("denied").with_standing(&standing))
    }

    /// What approving and denying have in common, in the order of `contract/device-flow.md`.
    async fn decision(
        &self,
        request: &LocalRequest<'_>,
    ) -> Result<(ConsoleSession, String, Standing), Rejection> {
        let person = self.person(request).await?;
        self.require_flow()?;
        let standing = self
            .admit(Limit::Approve, Caller::Account(person.account))
            .await?;
        let mut faults = Vec::new();
        let members = Members::parse(request.headers, request.body, Accepts::Json)
            .map_err(|fault| Rejection::Body(vec![fault]))?;
        let user_code = members.text("user_code", MAX_USER_CODE, &mut faults);
        if !faults.is_empty() {
            return Err(Rejection::Body(faults));
        }
        Ok((person, user_code, standing))
    }

    /// Recognises the person at the console, by cookies, CSRF token and origin
    /// (`contract/console-session.md`).
    pub(super) async fn person(
        &self,
        request: &LocalRequest<'_>,
    ) -> Result<ConsoleSession, Rejection> {
        self.check_origin(request)?;
        let presented = Presented {
            access_token: cookie(request.headers, self.settings.access_cookie),
            csrf_cookie: cookie(request.headers, self.settings.csrf_cookie),
            csrf_header: one(request, "x-csrf-token"),
        };
        let person = self.console.session(presented).await;
        person.map_err(|error| match error {
            NoSession::Unauthorized => Rejection::NoConsoleSession,
            NoSession::NotSetUp => Rejection::NotSetUp,
            NoSession::NotInitialized => Rejection::AccountNotInitialized,
            NoSession::Csrf => Rejection::Csrf,
            NoSession::Unavailable(_) => Rejection::StoreUnavailable,
        })
    }

    /// A browser that says where a request comes from must name the console, or us. Whatever is
    /// there but cannot be read names a stranger.
    pub(super) fn check_origin(&self, request: &LocalRequest<'_>) -> Result<(), Rejection> {
        let origin = if request.headers.contains_key(header::ORIGIN) {
            one(request, "origin").and_then(Origin::parse)
        } else if request.headers.contains_key(header::REFERER) {
            one(request, "referer").and_then(Origin::of_page)
        } else {
            return Ok(());
        };
        let origin = origin.ok_or(Rejection::Csrf)?;
        let own = one(request, "host").and_then(|host| Origin::of_host(request.scheme, host));
        if self.settings.console_origin.as_ref() == Some(&origin) || own.as_ref() == Some(&origin) {
            Ok(())
        } else {
            Err(Rejection::Csrf)
        }
    }

    pub(super) fn require_flow(&self) -> Result<(), Rejection> {
        if !self.settings.flow_enabled {
            return Err(Rejection::NotFound);
        }
        self.require_enabled()
    }

    fn verification_uri(&self, request: &LocalRequest<'_>) -> Result<String, Rejection> {
        if let Some(console) = &self.settings.console_web_url {
            return Ok(format!("{console}/device"));
        }
        let host = one(request, "host").ok_or(Rejection::Malformed(Malformed::NoHost))?;
        Ok(format!("{}://{host}/device", request.scheme))
    }
}

fn oauth_members(request: &LocalRequest<'_>) -> Result<Members, Rejection> {
    Members::parse(request.headers, request.body, Accepts::JsonOrForm)
        .map_err(|fault| Rejection::OAuthRequest(vec![fault]))
}

/// The members that RFC 6749 section 5.1 wants, beside Dify's own; not in the stored payload.
fn with_oauth_members(mut payload: Map<String, Value>, now: Timestamp) -> Map<String, Value> {
    let expires_in = payload
        .get("expires_at")
        .and_then(Value::as_str)
        .and_then(Timestamp::parse_iso8601)
        .map(|at| now.until(at).as_secs());
    if let Some(token) = payload.get("token").cloned() {
        payload.insert("access_token".to_owned(), token);
        payload.insert("token_type".to_owned(), "Bearer".into());
    }
    if let Some(expires_in) = expires_in {
        payload.insert("expires_in".to_owned(), expires_in.into());
    }
    payload
}

fn not_decided(error: &NotDecided) -> Rejection {
    match error {
        NotDecided::Unknown => Rejection::Flow(FlowError::ExpiredOrUnknown),
        NotDecided::Resolved => Rejection::Flow(FlowError::AlreadyResolved),
        NotDecided::InProgress => Rejection::Flow(FlowError::ApproveInProgress),
        NotDecided::Lost => Rejection::Flow(FlowError::StateLost),
        NotDecided::Policy => Rejection::Flow(FlowError::MintPolicyViolation),
        NotDecided::Unavailable(_) => Rejection::StoreUnavailable,
    }
}

pub(super) fn status(word: &str) -> Reply {
    Reply::json(StatusCode::OK, &json!({ "status": word }))
}

/// Returns the one value of a header.
pub(super) fn one<'a>(request: &LocalRequest<'a>, name: &str) -> Option<&'a str> {
    let mut values = request.headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Returns what was typed as a user code; nothing for what is too long to be looked at.
pub(super) fn typed_code(request: &LocalRequest<'_>) -> Option<String> {
    let typed = query_value(request.query, "user_code")?;
    (1..=MAX_USER_CODE)
        .contains(&typed.chars().count())
        .then_some(typed)
}

/// Returns the first value of a parameter.
pub fn query_value(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
