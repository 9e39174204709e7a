//! People and workspaces, in memory.

use std::{collections::HashMap, sync::Mutex};

use async_trait::async_trait;
use uuid::Uuid;

use super::lock;
use crate::store::{Directory, Person, StoreError, Workspace};

/// People in memory. There is always a Dify that has been set up.
#[derive(Debug, Default)]
pub struct EmbeddedDirectory(Mutex<HashMap<Uuid, (Person, Vec<Workspace>)>>);

impl EmbeddedDirectory {
    /// Adds a person, or replaces one.
    pub fn insert(&self, id: Uuid, person: Person, workspaces: Vec<Workspace>) {
        lock(&self.0).insert(id, (person, workspaces));
    }
}

#[async_trait]
impl Directory for EmbeddedDirectory {
    async fn is_set_up(&self) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn person(&self, id: Uuid) -> Result<Option<Person>, StoreError> {
        Ok(lock(&self.0).get(&id).map(|(person, _)| person.clone()))
    }

    async fn has_active_account(&self, email: &str) -> Result<bool, StoreError> {
        let email = email.to_lowercase();
        let people = lock(&self.0);
        let mut people = people.values().map(|(person, _)| person);
        Ok(people.any(|one| one.status == "active" && one.email.to_lowercase() == email))
    }

    async fn workspaces(&self, id: Uuid) -> Result<Vec<Workspace>, StoreError> {
        let people = lock(&self.0);
        let found = people.get(&id).map(|(_, workspaces)| workspaces.clone());
        Ok(found.unwrap_or_default())
    }
}
