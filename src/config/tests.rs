//! Whole loads: layers, origins, messages.

mod postgres;
mod redis;
mod secrets;

use std::time::Duration;

use super::*;

const REQUIRED: &str = "\
upstream.url = 'http://127.0.0.1:5001'
dify.secret_key = 'hunter2'
postgres.host = 'db'
redis.host = 'cache'
";

fn env(pairs: &[(&str, &str)]) -> Environment {
    Environment::from_pairs(pairs.iter().copied())
}

fn load_with(more: &str, pairs: &[(&str, &str)]) -> Result<Loaded, Invalid> {
    let text = format!("{REQUIRED}{more}");
    load(Some(("config.toml", &text)), &env(pairs))
}

fn loaded(more: &str, pairs: &[(&str, &str)]) -> Loaded {
    load_with(more, pairs).unwrap()
}

fn refused(more: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let invalid = load_with(more, pairs).unwrap_err();
    invalid.problems.iter().map(ToString::to_string).collect()
}

/// The proxy's address is compared as what it is.
#[test]
fn a_block_of_mapped_addresses_is_one_of_ipv4() {
    let toml = "server.trusted_proxies = ['::ffff:10.1.2.3/104', '::ffff:10.0.0.1', '::/0']";
    let trusted = loaded(toml, &[]).config.server.trusted_proxies;
    let trusted: Vec<String> = trusted.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["10.0.0.0/8", "10.0.0.1/32", "::/0"]);
}

#[test]
fn variable_beats_file_beats_dify_beats_default() {
    let level = |more: &str, pairs: &[(&str, &str)]| loaded(more, pairs).config.log.level;
    let (dify, own) = (("LOG_LEVEL", "WARNING"), ("DIFYGATE__LOG__LEVEL", "trace"));

    assert_eq!(level("", &[]), LogLevel::Info);
    assert_eq!(level("", &[dify]), LogLevel::Warn);
    assert_eq!(level("log.level = 'debug'", &[dify]), LogLevel::Debug);
    assert_eq!(level("log.level = 'debug'", &[dify, own]), LogLevel::Trace);
}

#[test]
fn variables_carry_lists_booleans_numbers_and_nested_keys() {
    let config = loaded(
        "",
        &[
            ("DIFYGATE__SERVER__LISTEN", "127.0.0.1:1, [::1]:2"),
            ("DIFYGATE__SERVER__TRUSTED_PROXIES", "10.1.2.3/8,::1"),
            ("DIFYGATE__SERVER__THREADS", "3"),
            ("DIFYGATE__SERVER__TLS__CERT", "/c"),
            ("DIFYGATE__SERVER__TLS__KEY", "/k"),
            ("DIFYGATE__TOKENS__ENABLED", "Off"),
            ("DIFYGATE__DEVICE_FLOW__KNOWN_CLIENT_IDS", ""),
            ("DIFYGATE_CONFIG", "not a key"),
        ],
    )
    .config;

    let listen: Vec<String> = config
        .server
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(listen, ["127.0.0.1:1", "[::1]:2"]);
    let trusted: Vec<String> = config
        .server
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(trusted, ["10.0.0.0/8", "::1/128"]);
    assert_eq!(config.server.threads.get(), 3);
    assert!(config.server.tls.is_some());
    assert!(!config.tokens.enabled);
    assert!(config.device_flow.known_client_ids.is_empty());
}

#[test]
fn every_problem_is_reported_at_once_with_its_origin() {
    let text = "\
[server]
listen = [
  '0.0.0.0:8080',
  'nonsense',
]
threads = '4'
lissten = 1

[sever]
x = 1

[redis]
timeout = 100
host = 'cache'
";
    let env = env(&[
        ("DIFYGATE__LOG__FORMAT", "xml"),
        ("DIFYGATE__LOG__FROMAT", "json"),
        ("DB_PORT", "none"),
        ("DB_HOST", "db"),
    ]);
    let invalid = load(Some(("my.toml", text)), &env).unwrap_err();

    let seen: Vec<(&str, &str)> = invalid
        .problems
        .iter()
        .map(|p| (p.key.as_str(), p.origin.as_deref().unwrap_or("")))
        .collect();
    assert_eq!(
        seen,
        [
            ("server.lissten", "my.toml:7"),
            ("sever", "my.toml:9"),
            ("log.fromat", "DIFYGATE__LOG__FROMAT"),
            ("upstream.url", ""),
            ("dify.secret_key", ""),
            ("postgres.port", "DB_PORT"),
            ("redis.timeout", "my.toml:13"),
            ("server.listen", "my.toml:4"),
            ("server.threads", "my.toml:6"),
            ("log.format", "DIFYGATE__LOG__FORMAT"),
        ]
    );
    let shown = invalid.to_string();
    assert!(shown.contains("did you mean listen?"), "{shown}");
    assert!(
        shown.contains("did you mean DIFYGATE__LOG__FORMAT?"),
        "{shown}"
    );
    assert!(shown.contains("hand over Dify's SECRET_KEY"), "{shown}");
    assert_eq!(shown.lines().count(), 11);
}

#[test]
fn a_syntax_error_stands_alone_with_its_line() {
    let text = "[server]\n\nlisten = hunter2\n";
    let env = env(&[("DIFYGATE__NO__SUCH", "1")]);
    let invalid = load(Some(("config.toml", text)), &env).unwrap_err();

    assert_eq!(invalid.problems.len(), 1);
    let shown = invalid.to_string();
    assert!(shown.contains("config.toml:3"), "{shown}");
    // A secret that lacks its quotes is a syntax error too.
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_section_that_is_not_a_table_is_refused() {
    let problems = refused("log = 'debug'", &[]);

    assert_eq!(
        problems,
        ["log  config.toml:5  got a string, need a table [log]"]
    );
}

#[test]
fn types_are_strict_in_the_file() {
    let more = "tokens.enabled = 'true'\nserver.listen = ':80'\nredis.db = 1.5\nadmin.listen = 1";

    assert_eq!(refused(more, &[]).len(), 4);
}

#[test]
fn ranges_are_enforced_and_named() {
    let problems = refused(
        "server.threads = 0\ntoken_cache.positive_ttl = '61s'\ntoken_cache.negative_ttl = '1500ms'\n\
         server.max_header_bytes = '2MiB'\npostgres.timeout = '0s'\nrate_limits.lookup = '0'",
        &[],
    );

    assert_eq!(problems.len(), 6, "{problems:#?}");
    assert!(problems.iter().any(|p| p.contains("from 1s to 1m")));
    assert!(problems.iter().any(|p| p.contains("from 1KiB to 1MiB")));
}

#[test]
fn an_env_file_of_dify_is_enough_with_the_upstream() {
    let env = env(&[
        ("DIFYGATE__UPSTREAM__URL", "http://api:5001"),
        ("CONSOLE_API_URL", ""),
        ("CONSOLE_WEB_URL", "https://console.example"),
        ("COOKIE_DOMAIN", ""),
        ("DB_DATABASE", "dify"),
        ("DB_HOST", "db_postgres"),
        ("DB_PASSWORD", "hunter2"),
        ("DB_PORT", "5432"),
        ("DB_USERNAME", "postgres"),
        ("EDITION", "SELF_HOSTED"),
        ("LOG_LEVEL", "INFO"),
        ("OPENAPI_CORS_ALLOW_ORIGINS", "https://console.example"),
        ("OAUTH_TTL_DAYS", "400"),
        ("OPENAPI_KNOWN_CLIENT_IDS", "difyctl,other"),
        ("REDIS_CLUSTERS", ""),
        ("REDIS_DB", "0"),
        ("REDIS_HOST", "redis"),
        ("REDIS_PASSWORD", "hunter2"),
        ("REDIS_PORT", "6379"),
        ("REDIS_SENTINELS", ""),
        ("REDIS_USERNAME", ""),
        ("SECRET_KEY", "hunter2"),
    ]);
    let loaded = load(None, &env).unwrap();

    assert!(matches!(
        &loaded.config.postgres.target,
        PostgresTarget::Parts { host, port: 5432, .. } if host == "db_postgres"
    ));
    assert!(matches!(
        &loaded.config.redis.target,
        RedisTarget::Parts {
            username: None,
            password: Some(_),
            ..
        }
    ));
    assert_eq!(loaded.config.tokens.ttl_days, 365);
    assert_eq!(
        loaded.warnings,
        ["tokens.ttl_days (OAUTH_TTL_DAYS): 400 days is outside 1 to 365, using 365"]
    );
}

#[test]
fn limits_are_counts_per_window_and_the_bearer_one_can_be_off() {
    let more = "rate_limits.bearer = '5/10s'";
    let limits = loaded(more, &[]).config.rate_limits;
    let ten_seconds = Duration::from_secs(10);

    assert_eq!(
        limits.bearer,
        Some(RateLimit {
            count: 5,
            window: ten_seconds
        })
    );
    assert_eq!(loaded("", &[]).config.rate_limits.bearer, None);
}
