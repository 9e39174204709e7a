//! Dify's own tables: accounts and workspaces. Read, never written.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Params, PostgresLink, decode};
use crate::store::{Directory, Person, StoreError, Workspace};

const IS_SET_UP: &str = "SELECT 1 FROM dify_setups LIMIT 1";

const PERSON: &str = "SELECT email, name, status FROM accounts WHERE id = $1";

/// `$1` as it is and `$2` in lower case: the database lowers ASCII alone under some collations.
const HAS_ACTIVE_ACCOUNT: &str = "\
SELECT 1 FROM accounts WHERE lower(email) IN (lower($1), $2) AND status = 'active' LIMIT 1";

/// In the order of the join's id, whose smallest Dify takes where none is current.
const WORKSPACES: &str = "\
SELECT t.id, t.name, j.role, j.current \
FROM tenant_account_joins j JOIN tenants t ON t.id = j.tenant_id \
WHERE j.account_id = $1 AND t.status = 'normal' ORDER BY j.id";

/// [`Directory`] in Dify's database.
#[derive(Debug)]
pub struct PgDirectory {
    link: Arc<PostgresLink>,
}

impl PgDirectory {
    /// Builds the directory on a pool.
    pub const fn new(link: Arc<PostgresLink>) -> Self {
        Self { link }
    }
}

#[async_trait]
impl Directory for PgDirectory {
    async fn is_set_up(&self) -> Result<bool, StoreError> {
        Ok(!self.link.read(IS_SET_UP, &[]).await?.is_empty())
    }

    async fn person(&self, id: Uuid) -> Result<Option<Person>, StoreError> {
        let rows = self.link.read(PERSON, &[(&id, Type::UUID)]).await?;
        let person = rows.first().map(|row| {
            Ok(Person {
                email: row.try_get(0)?,
                name: row.try_get(1)?,
                status: row.try_get(2)?,
            })
        });
        person.transpose().map_err(decode)
    }

    async fn has_active_account(&self, email: &str) -> Result<bool, StoreError> {
        let lower = email.to_lowercase();
        let params: &Params<'_> = &[(&email, Type::VARCHAR), (&lower, Type::VARCHAR)];
        let rows = self.link.read(HAS_ACTIVE_ACCOUNT, params).await?;
        Ok(!rows.is_empty())
    }

    async fn workspaces(&self, id: Uuid) -> Result<Vec<Workspace>, StoreError> {
        let rows = self.link.read(WORKSPACES, &[(&id, Type::UUID)]).await?;
        let workspaces = rows.iter().map(|row| {
            Ok(Workspace {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                role: row.try_get(2)?,
                current: row.try_get(3)?,
            })
        });
        workspaces.collect::<Result<_, _>>().map_err(decode)
    }
}
