//! `difygate migrate`: the token table and its indexes, created or verified.

use super::{PostgresLink, decode};
use crate::store::StoreError;

/// The table as Dify creates it, with its unique constraint on `token_hash`.
const TABLE: &str = "\
CREATE TABLE oauth_access_tokens (\
    id uuid PRIMARY KEY, \
    subject_email varchar(255) NOT NULL, \
    subject_issuer varchar(255), \
    account_id uuid REFERENCES accounts (id) ON DELETE SET NULL, \
    client_id varchar(64) NOT NULL, \
    device_label varchar(255) NOT NULL, \
    prefix varchar(8) NOT NULL, \
    token_hash varchar(64) UNIQUE, \
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, \
    last_used_at timestamptz, \
    expires_at timestamptz NOT NULL, \
    revoked_at timestamptz);";

/// Columns and their types, as Postgres itself spells them.
const COLUMNS: [(&str, &str); 12] = [
    ("id", "uuid"),
    ("subject_email", "character varying(255)"),
    ("subject_issuer", "character varying(255)"),
    ("account_id", "uuid"),
    ("client_id", "character varying(64)"),
    ("device_label", "character varying(255)"),
    ("prefix", "character varying(8)"),
    ("token_hash", "character varying(64)"),
    ("created_at", "timestamp with time zone"),
    ("last_used_at", "timestamp with time zone"),
    ("expires_at", "timestamp with time zone"),
    ("revoked_at", "timestamp with time zone"),
];

/// An index that has to be there, under whatever name.
struct Index {
    name: &'static str,
    columns: &'static str,
    /// As `pg_get_expr` spells it.
    predicate: &'static str,
    unique: bool,
}

const INDEXES: [Index; 6] = [
    Index {
        name: "oauth_access_tokens_token_hash_key",
        columns: "token_hash",
        predicate: "",
        unique: true,
    },
    Index {
        name: "uq_oauth_active_per_device",
        columns: "subject_email, subject_issuer, client_id, device_label",
        predicate: "(revoked_at IS NULL)",
        unique: true,
    },
    Index {
        name: "idx_oauth_subject_email",
        columns: "subject_email",
        predicate: "(revoked_at IS NULL)",
        unique: false,
    },
    Index {
        name: "idx_oauth_account",
        columns: "account_id",
        predicate: "((revoked_at IS NULL) AND (account_id IS NOT NULL))",
        unique: false,
    },
    Index {
        name: "idx_oauth_client",
        columns: "subject_email, client_id",
        predicate: "(revoked_at IS NULL)",
        unique: false,
    },
    Index {
        name: "idx_oauth_token_hash",
        columns: "token_hash",
        predicate: "(revoked_at IS NULL)",
        unique: false,
    },
];

const IS_THERE: &str = "SELECT to_regclass('oauth_access_tokens') IS NOT NULL";

const FOUND_COLUMNS: &str = "\
SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
WHERE attrelid = to_regclass('oauth_access_tokens') AND attnum > 0 AND NOT attisdropped";

/// Columns, predicate and uniqueness of every index that can be used.
const FOUND_INDEXES: &str = "\
SELECT (SELECT string_agg(a.attname, ', ' ORDER BY k.place) \
        FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place) \
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum), \
       coalesce(pg_get_expr(i.indpred, i.indrelid), ''), i.indisunique \
FROM pg_index i WHERE i.indrelid = to_regclass('oauth_access_tokens') AND i.indisvalid";

/// What became of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// What was done or found to be right, one sentence each.
    pub done: Vec<String>,
    /// What is wrong and has to be put right by a person, one sentence each.
    pub wrong: Vec<String>,
}

impl Index {
    fn statement(&self) -> String {
        let Self {
            name,
            columns,
            predicate,
            unique,
        } = self;
        let unique = if *unique { "UNIQUE " } else { "" };
        let filter = if predicate.is_empty() {
            String::new()
        } else {
            format!(" WHERE {predicate}")
        };
        format!("CREATE {unique}INDEX {name} ON oauth_access_tokens ({columns}){filter};")
    }
}

impl PostgresLink {
    /// Creates the token table with its indexes where it is missing, verifies it where it is
    /// there, adds missing indexes that are not unique, and changes nothing else.
    ///
    /// # Errors
    ///
    /// When Postgres cannot say whether it was done.
    pub async fn migrate(&self) -> Result<Migration, StoreError> {
        let there = self.read(IS_THERE, &[]).await?;
        let there = there.first().is_some_and(|row| row.get(0));
        if there {
            return self.verify().await;
        }
        // One statement and so one transaction: there is never a table without its indexes.
        let indexes = INDEXES
            .iter()
            .filter(|index| index.columns != "token_hash" || !index.unique);
        let statements: String = indexes.map(Index::statement).collect();
        self.run(&format!("DO $$ BEGIN {TABLE} {statements} END $$"), &[])
            .await?;
        Ok(Migration {
            done: vec![format!(
                "created the table oauth_access_tokens with {} indexes",
                INDEXES.len()
            )],
            wrong: Vec::new(),
        })
    }

    async fn verify(&self) -> Result<Migration, StoreError> {
        let mut migration = Migration::default();
        let mut columns = Vec::new();
        for row in self.read(FOUND_COLUMNS, &[]).await? {
            let column: (String, String) = (
                row.try_get(0).map_err(decode)?,
                row.try_get(1).map_err(decode)?,
            );
            columns.push(column);
        }
        for (name, kind) in COLUMNS {
            match columns.iter().find(|(found, _)| found == name) {
                Some((_, found)) if found == kind => {}
                Some((_, found)) => migration.wrong.push(format!(
                    "the column {name} of oauth_access_tokens is {found}, not {kind}"
                )),
                None => migration.wrong.push(format!(
                    "oauth_access_tokens has no column {name}; ALTER TABLE oauth_access_tokens ADD COLUMN {name} {kind};"
                )),
            }
        }
        if migration.wrong.is_empty() {
            migration
                .done
                .push("the table oauth_access_tokens is there, with all its columns".to_owned());
            self.verify_indexes(&mut migration).await?;
        }
        Ok(migration)
    }

    async fn verify_indexes(&self, migration: &mut Migration) -> Result<(), StoreError> {
        let mut found = Vec::new();
        for row in self.read(FOUND_INDEXES, &[]).await? {
            let index: (Option<String>, String, bool) = (
                row.try_get(0).map_err(decode)?,
                row.try_get(1).map_err(decode)?,
                row.try_get(2).map_err(decode)?,
            );
            found.push(index);
        }
        for index in &INDEXES {
            let is_there = found.iter().any(|(columns, predicate, unique)| {
                columns.as_deref() == Some(index.columns)
                    && predicate == index.predicate
                    && (*unique || !index.unique)
            });
            let statement = index.statement();
            if is_there {
                migration
                    .done
                    .push(format!("the index {} is there", index.name));
            } else if index.unique {
                // It may fail on the rows that are there, and which of them should go is not ours
                // to say.
                migration
                    .wrong
                    .push(format!("a unique index is missing; {statement}"));
            } else {
                self.run(&statement, &[]).await?;
                migration
                    .done
                    .push(format!("created the index {}", index.name));
            }
        }
        Ok(())
    }
}
