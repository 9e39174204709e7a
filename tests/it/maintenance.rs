//! `difygate migrate` and `difygate prune`, on a real Postgres.

use std::process::{Command, Output, Stdio};

use crate::support::{Database, Gateway};

/// Runs a job on a database; what it printed, and its exit code.
async fn runs(job: &'static str, database: &Database) -> (String, i32) {
    let toml = Gateway::builder().database(database).to_toml();
    let run = move || -> Output {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, toml).unwrap();
        Command::new(env!("CARGO_BIN_EXE_difygate"))
            .args([job, "--config"])
            .arg(&path)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (said, output.status.code().unwrap())
}

/// Rows of a device, revoked and expired so many days ago, or not at all.
async fn seed(database: &Database, rows: &[(&str, Option<i32>, i32, i32)]) {
    let client = database.client().await;
    let sql = "INSERT INTO oauth_access_tokens (id, subject_email, subject_issuer, client_id, \
               device_label, prefix, revoked_at, expires_at) \
               SELECT gen_random_uuid(), 'ada@example.com', 'dify:account', 'difyctl', \
               $1 || n::text, 'dfoa_', now() - make_interval(days => $2), \
               now() - make_interval(days => $3) FROM generate_series(1, $4) AS n";
    for (label, revoked, expired, count) in rows {
        client
            .execute(sql, &[label, revoked, expired, count])
            .await
            .unwrap();
    }
}

async fn labels(database: &Database) -> Vec<String> {
    let sql =
        "SELECT DISTINCT rtrim(device_label, '0123456789') FROM oauth_access_tokens ORDER BY 1";
    let client = database.client().await;
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_deletes_what_has_long_been_dead_in_batches_and_nothing_else() {
    let database = Database::create().await;
    seed(
        &database,
        &[
            ("revoked long ago", Some(31), 40, 1_100),
            ("revoked lately", Some(29), 40, 1),
            ("revoked long before its end", Some(31), -10, 1),
            ("expired long ago", None, 31, 1),
            ("expired lately", None, 29, 1),
            ("live", None, -10, 1),
        ],
    )
    .await;

    let (said, code) = runs("prune", &database).await;

    assert_eq!(code, 0, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "deleted 500 rows so far",
            "deleted 1000 rows so far",
            "deleted 1102 rows so far",
            "deleted 1102 rows that were dead for more than 30 days",
        ]
    );
    assert_eq!(
        labels(&database).await,
        ["expired lately", "live", "revoked lately"]
    );
    let (said, code) = runs("prune", &database).await;
    assert_eq!(code, 0);
    assert_eq!(
        said,
        "deleted 0 rows that were dead for more than 30 days\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_prunes_at_a_time() {
    let database = Database::create().await;
    seed(&database, &[("revoked long ago", Some(31), 40, 3)]).await;
    let other = database.client().await;
    let lock = "SELECT pg_advisory_lock(7235426947958928485)";
    other.batch_execute(lock).await.unwrap();

    let (said, code) = runs("prune", &database).await;

    assert_eq!(code, 0);
    assert!(said.contains("another process is pruning"), "{said}");
    assert_eq!(labels(&database).await.len(), 1);
    drop(other);
    crate::support::assert_eventually!(
        runs("prune", &database)
            .await
            .0
            .contains("deleted 3 rows that"),
        "the lock goes with its holder"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_is_created_as_dify_creates_it() {
    let (ours, difys) = (Database::create().await, Database::create().await);
    let client = ours.client().await;
    client
        .batch_execute("DROP TABLE oauth_access_tokens")
        .await
        .unwrap();

    let (said, code) = runs("migrate", &ours).await;

    assert_eq!(code, 0, "{said}");
    assert!(
        said.starts_with("created the table oauth_access_tokens"),
        "{said}"
    );
    for sql in [
        "SELECT column_name || ' ' || data_type || ' ' || is_nullable || ' ' || \
         coalesce(character_maximum_length::text, '') || ' ' || coalesce(column_default, '') \
         FROM information_schema.columns WHERE table_name = 'oauth_access_tokens' ORDER BY 1",
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'oauth_access_tokens' ORDER BY 1",
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE conrelid = 'oauth_access_tokens'::regclass ORDER BY 1",
    ] {
        let mut shapes = Vec::new();
        for database in [&ours, &difys] {
            let rows = database.client().await.query(sql, &[]).await.unwrap();
            shapes.push(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>());
        }
        assert_eq!(shapes[0], shapes[1]);
    }
    let (said, code) = runs("migrate", &ours).await;
    assert_eq!((code, said.contains("created")), (0, false), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_verified_and_only_plain_indexes_are_added() {
    let database = Database::create().await;
    let client = database.client().await;
    let (said, code) = runs("migrate", &database).await;
    assert_eq!((code, said.contains("created")), (0, false), "{said}");

    let drop = "DROP INDEX idx_oauth_account; DROP INDEX uq_oauth_active_per_device";
    client.batch_execute(drop).await.unwrap();
    let (said, code) = runs("migrate", &database).await;

    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("created the index idx_oauth_account\n"),
        "{said}"
    );
    let error = said
        .lines()
        .find(|line| line.starts_with("error: "))
        .unwrap();
    let statement = error.split_once("; ").unwrap().1;
    assert!(statement.starts_with("CREATE UNIQUE INDEX uq_oauth_active_per_device"));
    client.batch_execute(statement).await.unwrap();
    let (said, code) = runs("migrate", &database).await;
    assert_eq!((code, said.contains("created")), (0, false), "{said}");

    let change = "ALTER TABLE oauth_access_tokens DROP COLUMN last_used_at, ALTER prefix TYPE text";
    client.batch_execute(change).await.unwrap();
    let (said, code) = runs("migrate", &database).await;
    assert_eq!((code, said.matches("error: ").count()), (1, 2), "{said}");
}
