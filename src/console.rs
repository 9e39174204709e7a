//! A person who is logged in to Dify's console, recognised by the same cookies
//! (`contract/console-session.md`).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::Value;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::{
    clock::Clock,
    config::Edition,
    current::Current,
    jws::Keys,
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
    keys: Arc<Current<Keys>>,
    edition: Edition,
    /// Whether Dify had been set up when somebody looked last.
    was_set_up: AtomicBool,
}

impl Console {
    /// Builds the recogniser.
    pub fn new(
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        keys: Arc<Current<Keys>>,
        edition: Edition,
    ) -> Self {
        Self {
            directory,
            clock,
            keys,
            edition,
            was_set_up: AtomicBool::new(false),
        }
    }

    /// Recognises a session together with its CSRF token.
    ///
    /// # Errors
    ///
    /// [`NoSession`], in the order in which Dify answers.
    pub async fn session(&self, presented: Presented<'_>) -> Result<ConsoleSession, NoSession> {
        let account = self.account_of(presented.access_token);
        if self.edition == Edition::SelfHosted && !self.is_set_up(account.is_some()).await? {
            return Err(NoSession::NotSetUp);
        }
        let account = account.ok_or(NoSession::Unauthorized)?;
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

    /// Tells whether Dify has been set up. Who shows no session gets a no either way: once it is
    /// known that there is one to have, they cannot make anybody ask Postgres.
    async fn is_set_up(&self, with_session: bool) -> Result<bool, StoreError> {
        if !with_session && self.was_set_up.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let is_set_up = self.directory.is_set_up().await?;
        self.was_set_up.store(is_set_up, Ordering::Relaxed);
        Ok(is_set_up)
    }

    fn account_of(&self, token: Option<&str>) -> Option<Uuid> {
        let keys = self.keys.get();
        let claims = keys.console.verify(token?, self.clock.now())?;
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
        let keys = self.keys.get();
        let claims = keys
            .console
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        clock::{ManualClock, Timestamp},
        jws::{ConsoleKey, KeySet},
        secret::Secret,
        store::embedded::EmbeddedDirectory,
    };

    const VECTORS: &str = include_str!("../tests/it/fixtures/jws_vectors.json");

    fn console(secret: &str, now: Timestamp) -> Console {
        let secret = Secret::new(secret.to_owned());
        let keys = Keys {
            console: ConsoleKey::new(&secret),
            envelopes: KeySet::new(&BTreeMap::from([("a".to_owned(), secret)]), "a").unwrap(),
        };
        Console::new(
            Arc::new(EmbeddedDirectory::default()),
            Arc::new(ManualClock::at(now)),
            Current::new(keys),
            Edition::Cloud,
        )
    }

    #[test]
    fn every_console_vector_gets_the_verdict_it_names() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let secret = vectors["keys"]["dify-shared-v1"].as_str().unwrap();
        let all = vectors["console"].as_array().unwrap();
        assert!(all.len() >= 8);
        for vector in all {
            let now = Timestamp::from_unix_seconds(vector["now"].as_i64().unwrap());
            let console = console(secret, now);
            let token = vector["token"].as_str().unwrap();
            let account = vector["account_id"]
                .as_str()
                .map(|id| Uuid::parse_str(id).unwrap());
            let accepted = match vector["kind"].as_str().unwrap() {
                "access" => {
                    let found = console.account_of(Some(token));
                    found.is_some() && found == account
                }
                _ => {
                    let presented = Presented {
                        access_token: None,
                        csrf_cookie: Some(token),
                        csrf_header: Some(token),
                    };
                    console.check_csrf(presented, account.unwrap()).is_ok()
                }
            };
            assert_eq!(accepted, vector["expect"] == "ok", "{}", vector["name"]);
        }
    }
}
