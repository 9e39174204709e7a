//! What stands under `device_code:{…}`: one login from its beginning to its end.
//!
//! Dify's own process builds an object from exactly these members, so that one more would break
//! it; every member is always there.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::code::UserCode;
use crate::{clock::Timestamp, dify_json};

/// A login, as both sides keep it.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowState {
    /// The code that the person types.
    pub user_code: UserCode,
    /// The OAuth client.
    pub client_id: String,
    /// What the device calls itself.
    pub device_label: String,
    /// Since when, as the writer wrote it.
    pub created_at: String,
    /// From where.
    pub created_ip: String,
    /// What has been decided.
    pub status: FlowStatus,
}

/// What has been decided about a login.
#[derive(Clone, PartialEq)]
pub enum FlowStatus {
    /// Nothing yet.
    Pending,
    /// A token was made; the next poll takes it.
    Approved(Box<Approval>),
    /// There will be no token.
    Denied,
}

impl std::fmt::Debug for FlowStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pending => "Pending",
            Self::Approved(_) => "Approved(…)",
            Self::Denied => "Denied",
        })
    }
}

/// What an approval leaves for the poll. Holds a plaintext token: never printed.
#[derive(Clone, PartialEq)]
pub struct Approval {
    /// Who approved.
    pub subject_email: String,
    /// The account, for account tokens.
    pub account_id: Option<Uuid>,
    /// The issuer.
    pub subject_issuer: Option<String>,
    /// The token's row.
    pub token_id: Uuid,
    /// What the poll answers, token included.
    pub poll_payload: Map<String, Value>,
}

impl std::fmt::Debug for Approval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Approval")
            .field("token_id", &self.token_id)
            .finish_non_exhaustive()
    }
}

impl Approval {
    /// Returns the plaintext token, which both members of the state hold.
    fn token(&self) -> Option<&str> {
        self.poll_payload.get("token")?.as_str()
    }
}

/// The members in Dify's order.
#[derive(Serialize, Deserialize)]
struct Wire {
    user_code: String,
    client_id: String,
    device_label: String,
    status: String,
    subject_email: Option<String>,
    account_id: Option<String>,
    subject_issuer: Option<String>,
    minted_token: Option<String>,
    token_id: Option<String>,
    #[serde(default)]
    created_at: Option<String>,
    #[serde(default)]
    created_ip: Option<String>,
    #[serde(default)]
    last_poll_at: Option<String>,
    poll_payload: Option<Map<String, Value>>,
}

impl FlowState {
    /// Begins a login.
    pub fn begin(
        user_code: UserCode,
        client_id: String,
        device_label: String,
        created_ip: String,
        now: Timestamp,
    ) -> Self {
        Self {
            user_code,
            client_id,
            device_label,
            created_at: now.to_iso8601(),
            created_ip,
            status: FlowStatus::Pending,
        }
    }

    /// Reads what either side wrote; `None` for what contradicts itself.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        // serde_json would take an array for a struct as well; Dify never writes one.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let wire: Wire = serde_json::from_slice(bytes).ok()?;
        let status = match wire.status.as_str() {
            "pending" => FlowStatus::Pending,
            "denied" => FlowStatus::Denied,
            "approved" => FlowStatus::Approved(Box::new(Approval {
                subject_email: wire.subject_email?,
                account_id: match wire.account_id {
                    Some(id) => Some(Uuid::parse_str(&id).ok()?),
                    None => None,
                },
                subject_issuer: wire.subject_issuer,
                token_id: Uuid::parse_str(&wire.token_id?).ok()?,
                poll_payload: wire
                    .poll_payload
                    .filter(|payload| payload.get("token").is_some_and(Value::is_string))?,
            })),
            _ => return None,
        };
        Some(Self {
            user_code: UserCode::parse(&wire.user_code)?,
            client_id: wire.client_id,
            device_label: wire.device_label,
            created_at: wire.created_at.unwrap_or_default(),
            created_ip: wire.created_ip.unwrap_or_default(),
            status,
        })
    }

    /// Writes the state as Dify does.
    pub fn to_bytes(&self) -> Vec<u8> {
        let approval = match &self.status {
            FlowStatus::Approved(approval) => Some(approval),
            FlowStatus::Pending | FlowStatus::Denied => None,
        };
        dify_json::to_vec(&Wire {
            user_code: self.user_code.to_text(),
            client_id: self.client_id.clone(),
            device_label: self.device_label.clone(),
            status: match self.status {
                FlowStatus::Pending => "pending",
                FlowStatus::Approved(_) => "approved",
                FlowStatus::Denied => "denied",
            }
            .to_owned(),
            subject_email: approval.map(|a| a.subject_email.clone()),
            account_id: approval.and_then(|a| a.account_id).map(|id| id.to_string()),
            subject_issuer: approval.and_then(|a| a.subject_issuer.clone()),
            minted_token: approval.and_then(|a| a.token()).map(str::to_owned),
            token_id: approval.map(|a| a.token_id.to_string()),
            created_at: Some(self.created_at.clone()),
            created_ip: Some(self.created_ip.clone()),
            last_poll_at: Some(String::new()),
            poll_payload: approval.map(|a| a.poll_payload.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let all: Value =
            serde_json::from_str(include_str!("../../tests/it/fixtures/redis_values.json"))
                .unwrap();
        all[name].as_str().unwrap().as_bytes().to_vec()
    }

    #[test]
    fn what_dify_writes_is_read_and_written_back_byte_for_byte() {
        for name in [
            "device_code_pending",
            "device_code_denied",
            "device_code_approved",
        ] {
            let bytes = fixture(name);
            let state = FlowState::parse(&bytes).unwrap();
            assert_eq!(
                String::from_utf8(state.to_bytes()).unwrap(),
                String::from_utf8(bytes).unwrap()
            );
        }
    }

    #[test]
    fn what_contradicts_itself_is_nothing() {
        let approved = String::from_utf8(fixture("device_code_approved")).unwrap();
        for (from, to) in [
            ("\"approved\"", "\"consumed\""),
            ("\"token_id\": \"0196", "\"token_id\": \"x196"),
            ("\"ABCD-3456\"", "\"nonsense\""),
            ("\"poll_payload\": {\"token\"", "\"poll_payload\": {\"tok\""),
        ] {
            let broken = approved.replace(from, to);
            assert_ne!(broken, approved);
            assert_eq!(FlowState::parse(broken.as_bytes()), None, "{to}");
        }
        let members: Map<String, Value> = serde_json::from_str(&approved).unwrap();
        let array = Value::Array(members.into_iter().map(|(_, value)| value).collect());
        let array = array.to_string();
        for bytes in [&b""[..], b"null", b"[]", b"{}", b"\xff", array.as_bytes()] {
            assert_eq!(FlowState::parse(bytes), None);
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let state = FlowState::parse(&fixture("device_code_approved")).unwrap();
        assert!(!format!("{state:?}").contains("dfoa_"));
    }
}
