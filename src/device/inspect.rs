//! Looking at a login without changing it: what anybody may know of a user code, and what the
//! person who is to decide must know (RFC 8628 section 5.4).

use std::{net::IpAddr, time::Duration};

use super::{DeviceFlow, FlowState, FlowStatus, UserCode};
use crate::{
    clock::Timestamp,
    store::{FlowValue, StoreError},
};

/// What anybody may know about a user code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Whether it can be decided.
    pub valid: bool,
    /// For how long.
    pub remaining: Duration,
    /// Whose login it is.
    pub client_id: Option<String>,
}

/// What a person must know to decide: who asks, from where, since when.
///
/// Label and address are what the device said and where it was seen; neither proves anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingLogin {
    /// What the device calls itself.
    pub device_label: String,
    /// The address that the code was asked from; `None` where nobody noted it.
    pub created_ip: Option<IpAddr>,
    /// When; `None` where nobody noted it.
    pub created_at: Option<Timestamp>,
}

/// A look at one user code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What anybody may know.
    pub lookup: Lookup,
    /// The rest, while there is something to decide.
    pub pending: Option<PendingLogin>,
}

impl DeviceFlow {
    /// Tells what anybody may know about a user code.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn look_up(&self, user_code: &str) -> Result<Lookup, StoreError> {
        Ok(self.inspect(user_code).await?.lookup)
    }

    /// Tells what the person who is to decide about a login must know.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn inspect(&self, user_code: &str) -> Result<Inspection, StoreError> {
        let found = self.find(user_code).await?;
        Ok(found.map_or_else(Inspection::default, |(_, value, state)| {
            Inspection::of(&value, state)
        }))
    }

    /// The same for a code that nobody can have guessed: it was signed.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    pub async fn inspect_signed(&self, user_code: &UserCode) -> Result<Inspection, StoreError> {
        let found = self.find_code(user_code).await?;
        Ok(found.map_or_else(Inspection::default, |(_, value, state)| {
            Inspection::of(&value, state)
        }))
    }
}

impl Inspection {
    fn of(value: &FlowValue, state: FlowState) -> Self {
        let pending = state.status == FlowStatus::Pending;
        Self {
            lookup: Lookup {
                valid: pending,
                remaining: if pending {
                    value.remaining
                } else {
                    Duration::ZERO
                },
                client_id: Some(state.client_id),
            },
            pending: pending.then(|| PendingLogin {
                device_label: state.device_label,
                created_ip: state.created_ip.parse().ok(),
                created_at: Timestamp::parse_iso8601(&state.created_at),
            }),
        }
    }
}
