//! Who approves a login, and what the device gets for it.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{check::entry::Subject, console::ConsoleSession, mint::Minted};

/// Who approves a login.
#[derive(Clone, Copy, Debug)]
pub(super) enum Approver<'a> {
    /// Somebody at Dify's console.
    Account(&'a ConsoleSession),
    /// Somebody whom an identity provider has verified.
    External {
        /// Their e-mail.
        email: &'a str,
        /// Their identity provider.
        issuer: &'a str,
    },
}

impl Approver<'_> {
    /// Returns whom the token will speak for.
    pub(super) fn subject(&self) -> Subject {
        match self {
            Self::Account(person) => Subject::Account {
                id: person.account,
                email: person.email.as_str().into(),
            },
            Self::External { email, issuer } => Subject::ExternalSso {
                email: (*email).into(),
                issuer: (*issuer).into(),
            },
        }
    }

    /// Returns the workspace they are in, where they have an account.
    pub(super) fn tenant(&self) -> Option<Uuid> {
        match self {
            Self::Account(person) => Some(person.tenant),
            Self::External { .. } => None,
        }
    }

    /// Returns what the device will get, in Dify's order.
    pub(super) fn poll_payload(&self, minted: &Minted) -> Map<String, Value> {
        let mut payload = Map::new();
        let mut put = |name: &str, value: Value| {
            payload.insert(name.to_owned(), value);
        };
        put("token", json!(minted.token.expose()));
        put("expires_at", json!(minted.expires_at.to_iso8601()));
        put("subject_type", json!(self.subject().kind().subject_type()));
        match self {
            Self::Account(person) => {
                let workspaces: Vec<Value> = person
                    .workspaces
                    .iter()
                    .map(|one| json!({"id": one.id, "name": one.name, "role": one.role}))
                    .collect();
                put(
                    "account",
                    json!({"id": person.account, "email": person.email, "name": person.name}),
                );
                put("workspaces", Value::Array(workspaces));
                put("default_workspace_id", json!(person.tenant));
            }
            Self::External { email, issuer } => {
                put("subject_email", json!(email));
                put("subject_issuer", json!(issuer));
                put("account", Value::Null);
                put("workspaces", json!([]));
                put("default_workspace_id", Value::Null);
            }
        }
        put("token_id", json!(minted.id));
        payload
    }
}
