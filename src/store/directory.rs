//! People and workspaces, as the domain needs them.

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;

/// A person with a Dify account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Their e-mail.
    pub email: String,
    /// Their name.
    pub name: String,
    /// `accounts.status`, as it stands.
    pub status: String,
}

/// A workspace that a person is a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// The workspace.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The person's role in it.
    pub role: String,
    /// Whether Dify's console has it open.
    pub current: bool,
}

/// People and workspaces: Dify's own tables, read and never written.
#[async_trait]
pub trait Directory: Send + Sync + fmt::Debug {
    /// Tells whether Dify has been set up.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    async fn is_set_up(&self) -> Result<bool, StoreError>;

    /// Finds the account `id`, whatever its status.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    async fn person(&self, id: Uuid) -> Result<Option<Person>, StoreError>;

    /// Tells whether an active account has this e-mail, in whatever case it is spelt.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    async fn has_active_account(&self, email: &str) -> Result<bool, StoreError>;

    /// Lists the workspaces of the account `id`, the oldest membership first.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    async fn workspaces(&self, id: Uuid) -> Result<Vec<Workspace>, StoreError>;
}
