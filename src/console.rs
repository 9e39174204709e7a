//! A person who is logged in to Dify's console, recognised by the same cookies
//! (`contract/console-session.md`).

use std::sync::Arc;

use serde_json::Value;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::{
    clock::Clock,
    config::Edition,
    jws::ConsoleKey,
    store::{Directory, StoreError, Workspace},
};

/// What a browser sends along; only the cookies count, never `Authorization`.
#[derive(Clone, Copy, Default)]
pub struct Presented<'a> {
    /// The access-token cookie.
    pub access_token: Option<&'a str>,
    /// The CSRF cookie.
    pub csrf_cookie: Option<&'a str>,
    /// The `X-CSRF-Token` header.
    pub csrf_header: Option<&'a str>,
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented(…)")
    }
}

/// A session that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSession {
    /// The person.
    pub account: Uuid,
    /// Their e-mail.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Their workspaces; at least one.
    pub workspaces: Vec<Workspace>,
    /// The workspace that the session is in.
    pub tenant: Uuid,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum NoSession {
    /// No cookie, a bad one, or nobody's.
    #[error("no console session")]
    Unauthorized,
    /// Dify has not been set up.
    #[error("dify has not been set up")]
    NotSetUp,
    /// The account has not been initialised.
    #[error("the account has not been initialised")]
    NotInitialized,
    /// The CSRF token is missing or is not the session's.
    #[error("the CSRF token is missing or invalid")]
    Csrf,
    /// Nobody can say.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// Recognises console sessions.
#[derive(Debug)]
pub struct Console {
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    key: ConsoleKey,
    edition: Edition,
}

impl Console {
    /// Builds the recogniser.
    pub fn new(
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        key: ConsoleKey,
        edition: Edition,
    ) -> Self {
        Self {
            directory,
            clock,
            key,
            edition,
        }
    }

    /// Recognises a session together with its CSRF token.
    ///
    /// # Errors
    ///
    /// [`NoSession`], in the order in which Dify answers.
    pub async fn session(&self, presented: Presented<'_>) -> Result<ConsoleSession, NoSession> {
        if self.edition == Edition::SelfHosted && !self.directory.is_set_up().await? {
            return Err(NoSession::NotSetUp);
        }
        let account = self
            .account_of(presented.access_token)
            .ok_or(NoSession::Unauthorized)?;
        self.check_csrf(presented, account)?;
        let person = self
            .directory
            .person(account)
            .await?
            .ok_or(NoSession::Unauthorized)?;
        match person.status.as_str() {
            "uninitialized" => return Err(NoSession::NotInitialized),
            "banned" | "closed" => return Err(NoSession::Unauthorized),
            _ => {}
        }
        let workspaces = self.directory.workspaces(account).await?;
        let tenant = workspaces
            .iter()
            .find(|workspace| workspace.current)
            .or_else(|| workspaces.first())
            .map(|workspace| workspace.id)
            .ok_or(NoSession::Unauthorized)?;
        Ok(ConsoleSession {
            account,
            email: person.email,
            name: person.name,
            workspaces,
            tenant,
        })
    }

    fn account_of(&self, token: Option<&str>) -> Option<Uuid> {
        let claims = self.key.verify(token?, self.clock.now())?;
        if claims.get("token_source").is_some_and(is_truthy) {
            return None;
        }
        Uuid::parse_str(claims.get("user_id")?.as_str()?).ok()
    }

    /// Double submit (OWASP): the header repeats the cookie, and the cookie is this session's.
    fn check_csrf(&self, presented: Presented<'_>, account: Uuid) -> Result<(), NoSession> {
        let (Some(cookie), Some(header)) = (presented.csrf_cookie, presented.csrf_header) else {
            return Err(NoSession::Csrf);
        };
        let same = bool::from(cookie.as_bytes().ct_eq(header.as_bytes()));
        if header.trim().is_empty() || !same {
            return Err(NoSession::Csrf);
        }
        let claims = self
            .key
            .verify(cookie, self.clock.now())
            .ok_or(NoSession::Csrf)?;
        let subject = claims.get("sub").and_then(Value::as_str);
        if subject.and_then(|sub| Uuid::parse_str(sub).ok()) == Some(account) {
            Ok(())
        } else {
            Err(NoSession::Csrf)
        }
    }
}

/// Python's idea of truth.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}
