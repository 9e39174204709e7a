//! What the gateway's role has to be allowed, and nothing more.

use std::fmt::Write as _;

/// Every table that the gateway touches, with the rights it needs (`contract/storage.md`).
pub(super) const NEEDED: [(&str, &[&str]); 5] = [
    (
        "oauth_access_tokens",
        &["SELECT", "INSERT", "UPDATE", "DELETE"],
    ),
    ("accounts", &["SELECT"]),
    ("tenants", &["SELECT"]),
    ("tenant_account_joins", &["SELECT"]),
    ("dify_setups", &["SELECT"]),
];

/// Returns the statements that give a role what the gateway needs, for the owner of Dify's tables to
/// run in Dify's database.
pub fn grants(role: &str) -> String {
    let name = identifier(role);
    let mut sql =
        "-- What difygate needs in Dify's database. Run it there as the tables' owner; the role\n\
                   -- has to exist: CREATE ROLE ... LOGIN PASSWORD '...';\n"
            .to_owned();
    // Everybody may do these two unless somebody has taken it away; neither name is known here.
    for right in [
        "CONNECT ON DATABASE %I', current_database()",
        "USAGE ON SCHEMA %I', current_schema()",
    ] {
        let to = literal(&format!(" TO {name}"));
        let _ = writeln!(
            sql,
            "DO $difygate$ BEGIN EXECUTE format('GRANT {right}) || {to}; END $difygate$;"
        );
    }
    for (table, rights) in NEEDED {
        let _ = writeln!(sql, "GRANT {} ON {table} TO {name};", rights.join(", "));
    }
    sql
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_of_any_name_is_one_identifier() {
        let sql = grants("o'brien\"; DROP");

        assert!(sql.contains("GRANT SELECT ON tenants TO \"o'brien\"\"; DROP\";\n"));
        assert!(sql.contains("current_database()) || ' TO \"o''brien\"\"; DROP\"'; END"));
    }
}
