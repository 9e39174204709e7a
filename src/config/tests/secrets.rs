//! Secrets, and what is chosen by them: key set and addresses.

use std::fs;

use super::*;

#[test]
fn secrets_come_as_text_from_a_variable_or_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, "from-file\r\n").unwrap();
    let file = format!("dify.keys = {{ a = {{ file = '{}' }} }}", path.display());
    let key = |more: &str| loaded(more, &[("KEY", "from-env")]).config.dify.keys["a"].clone();

    assert_eq!(key("dify.keys.a = 'text'").expose(), "text");
    assert_eq!(
        key("dify.keys = { a = { env = 'KEY' } }").expose(),
        "from-env"
    );
    assert_eq!(key(&file).expose(), "from-file");
}

#[test]
fn a_secret_that_cannot_be_had_is_named_but_never_shown() {
    let more = "redis.password = { env = 'NO_SUCH' }\n\
                postgres.password = { file = '/no/such/file' }\n\
                postgres.url = ['hunter3']\n\
                enterprise.secret_key = { text = 'hunter3' }\n\
                upstream.web_url = 'http://me:hunter3@host'";
    let shown = refused(more, &[]).join("\n");

    assert!(shown.contains("\"NO_SUCH\", which is not set"), "{shown}");
    assert!(!shown.contains("hunter3"), "{shown}");

    let shown = refused("postgres.password = { file = '/no/such/file' }", &[]).join("\n");
    assert!(shown.contains("/no/such/file"), "{shown}");

    // Where a parameter of its own was meant.
    for query in [
        "sslmode=require;password=hunter3",
        "sslmode=require password=hunter3",
        "sslmode=hunter3",
        "sslmode=verify-full&sslrootcert=/ca.pem;password=hunter3",
        "sslmode=verify-full&sslcert=/a password=hunter3&sslkey=/b",
        "hunter3",
        "password hunter3=1",
    ] {
        let url = format!("postgres://dify@db/dify?{query}");
        let own = load_with("", &[("DIFYGATE__POSTGRES__URL", &url)]);
        let parameters = load_with("", &[("DIFYGATE__POSTGRES__PARAMETERS", query)]);
        let difys = load_with("", &[("DB_EXTRAS", query)]);
        for outcome in [own, parameters, difys] {
            let shown = match outcome {
                Ok(loaded) => loaded.warnings.join("\n"),
                Err(invalid) => invalid.to_string(),
            };
            assert!(!shown.contains("hunter3"), "{query}: {shown}");
        }
    }
    let raw = (
        "DIFYGATE__POSTGRES__URL",
        "postgres://u:p@ss?sslmode=hunter3@h/d",
    );
    let shown = refused("", &[raw]).join("\n");
    assert!(!shown.contains("hunter3"), "{shown}");
    let allow = refused("postgres.parameters = 'sslmode=allow'", &[]).join("\n");
    assert!(allow.contains("got sslmode=allow"), "{allow}");
}

#[test]
fn debug_of_everything_hides_secrets() {
    let env = env(&[("DIFYGATE__REDIS__PASSWORD", "hunter3")]);
    let loaded = load(Some(("config.toml", REQUIRED)), &env).unwrap();
    let shown = format!("{loaded:?} {env:?}");

    assert_eq!(loaded.config.dify.secret_key.expose(), "hunter2");
    assert!(!shown.contains("hunter"), "{shown}");
}

#[test]
fn url_and_parts_of_one_layer_contradict_and_a_higher_layer_wins() {
    let own = ("DIFYGATE__POSTGRES__URL", "postgres://u:p@h/d");
    let is_url = |more: &str, pairs: &[(&str, &str)]| {
        matches!(
            loaded(more, pairs).config.postgres.target,
            PostgresTarget::Url(_)
        )
    };
    assert!(is_url("", &[own]));
    assert!(!is_url("", &[]));

    let both = refused("postgres.url = 'postgres://u:p@h/d'", &[]);
    assert_eq!(
        both,
        [
            "postgres.host  config.toml:3  got it beside postgres.url (config.toml:5), \
          need either postgres.url or its parts; remove one of the two"
        ]
    );
    // A password over a URL would silently not be used.
    assert_eq!(
        refused("", &[own, ("DIFYGATE__POSTGRES__PASSWORD", "p")]).len(),
        1
    );
    assert_eq!(
        refused("", &[("DIFYGATE__REDIS__URL", "http://x")]).len(),
        1
    );
}

#[test]
fn the_key_set_is_the_shared_secret_unless_given() {
    let dify = loaded("", &[]).config.dify;
    assert_eq!(dify.active_kid, SHARED_KID);
    assert_eq!(dify.keys[SHARED_KID].expose(), "hunter2");

    let two = ("DIFYGATE__DIFY__KEYS", "{ a = 'x', 'b-1' = 'y' }");
    let dify = loaded("dify.active_kid = 'b-1'", &[two]).config.dify;
    assert_eq!((dify.active_kid.as_str(), dify.keys.len()), ("b-1", 2));

    assert_eq!(refused("dify.active_kid = 'c'", &[two]).len(), 1);
    assert_eq!(refused("dify.active_kid = 'c'", &[]).len(), 1);
    assert_eq!(refused("", &[two]).len(), 1, "two kids, none active");
    assert_eq!(refused("dify.keys = {}", &[]).len(), 1);
    assert_eq!(refused("dify.keys = { a = '' }", &[]).len(), 1);
    assert_eq!(refused("", &[("DIFYGATE__DIFY__KEYS", "hunter3")]).len(), 1);
}
