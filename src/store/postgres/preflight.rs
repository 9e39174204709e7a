//! Whether Dify's tables are there and what the gateway's role may do with them.

use tokio_postgres::types::Type;

use super::{PostgresLink, grants::NEEDED};
use crate::store::StoreError;

/// `to_regclass` is NULL for a table that is not there; asking about its rights would be an
/// error.
const EXAMINE: &str = "\
SELECT to_regclass($1) IS NOT NULL, \
       CASE WHEN to_regclass($1) IS NOT NULL THEN has_table_privilege(to_regclass($1), $2) END, \
       current_user::text";

/// Something that is not as the gateway needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is no such table.
    Table(&'static str),
    /// The role may not do this.
    Right {
        /// The table.
        table: &'static str,
        /// The right.
        right: &'static str,
        /// The role that lacks it.
        role: String,
    },
}

impl PostgresLink {
    /// Looks for everything that is missing.
    ///
    /// # Errors
    ///
    /// When Postgres cannot say.
    pub async fn missing(&self) -> Result<Vec<Missing>, StoreError> {
        let mut missing = Vec::new();
        for (table, rights) in NEEDED {
            for right in rights {
                let rows = self
                    .read(EXAMINE, &[(&table, Type::TEXT), (right, Type::TEXT)])
                    .await?;
                let Some(row) = rows.first() else { continue };
                if !row.get::<_, bool>(0) {
                    missing.push(Missing::Table(table));
                    break;
                }
                if row.get::<_, Option<bool>>(1) != Some(true) {
                    missing.push(Missing::Right {
                        table,
                        right,
                        role: row.get(2),
                    });
                }
            }
        }
        Ok(missing)
    }
}
