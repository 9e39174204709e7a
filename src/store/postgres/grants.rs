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
    let quote = dollar_quote(&name);
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
            "DO {quote} BEGIN EXECUTE format('GRANT {right}) || {to}; END {quote};"
        );
    }
    for (table, rights) in NEEDED {
        let _ = writeln!(sql, "GRANT {} ON {table} TO {name};", rights.join(", "));
    }
    sql
}

/// Returns quotes that do not stand in the text that they are put around (PostgreSQL's manual, 4.1.2.4:
/// within them nothing can be escaped).
fn dollar_quote(text: &str) -> String {
    let mut tag = "difygate".to_owned();
    while text.contains(&format!("${tag}$")) {
        tag.push('_');
    }
    format!("${tag}$")
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

    #[test]
    fn no_name_ends_the_body_that_it_stands_in() {
        for role in ["x$difygate$; DROP", "$difygate$$difygate_$", "$difygate"] {
            let sql = grants(role);
            let bodies: Vec<&str> = sql.lines().filter(|it| it.starts_with("DO ")).collect();
            assert_eq!(bodies.len(), 2);
            for body in bodies {
                let quote = body.split(' ').nth(1).unwrap();
                let parts: Vec<&str> = body.split(quote).collect();
                assert_eq!((parts.len(), parts[2]), (3, ";"), "{body}");
                assert!(parts[1].contains(role), "{body}");
            }
        }
    }
}
