//! The one table of every key: path, Dify's variable, default, and when a change has effect.
//!
//! Unknown-key detection, `DIFYGATE__…` names, Dify's variables and the completeness test
//! of the example all run from it.

mod spelling;

pub(crate) use self::spelling::{closest, distance};

use self::Form::{Routes, Secret, SecretTable, Value};
use self::InForce::{Live, Now};
use super::routes::ROUTE_KEYS;

/// When a changed key has effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InForce {
    /// The running gateway follows it, and follows a change at the next `SIGHUP`.
    Live,
    /// The running gateway follows what it was at the start.
    Now,
}

/// The shape of a key's value, as far as the layers need to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A string, number, boolean or list.
    Value,
    /// A secret in one of its three forms; its value never appears in a message.
    Secret,
    /// A free-form table from name to secret.
    SecretTable,
    /// The array of tables `[[routes]]`; in the file only.
    Routes,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Dotted path as in the file.
    pub(crate) path: &'static str,
    /// Dify's own variable for the same thing.
    pub(crate) dify: Option<&'static str>,
    /// Default as an environment variable would spell it; `None`: required, or unset.
    pub(crate) default: Option<&'static str>,
    /// When a change has effect.
    pub(crate) in_force: InForce,
    /// The shape of its value.
    pub(crate) form: Form,
}

impl Key {
    /// Returns the name of the overriding variable, such as `DIFYGATE__SERVER__TLS__CERT`.
    pub(crate) fn variable(&self) -> String {
        format!(
            "{VARIABLE_PREFIX}{}",
            self.path.to_ascii_uppercase().replace('.', "__")
        )
    }

    const fn dify(self, variable: &'static str) -> Self {
        Self {
            dify: Some(variable),
            ..self
        }
    }

    const fn secret(self) -> Self {
        Self {
            form: Secret,
            ..self
        }
    }
}

/// What every overriding environment variable begins with.
pub(crate) const VARIABLE_PREFIX: &str = "DIFYGATE__";

/// Iterates over the path of every key, those of a `[[routes]]` block as `routes.match` etc.
pub fn key_paths() -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter(|key| key.form != Routes)
        .map(|key| key.path)
        .chain(ROUTE_KEYS.iter().copied())
}

/// Finds the row of a path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

const fn key(path: &'static str, default: &'static str, in_force: InForce) -> Key {
    Key {
        default: Some(default),
        ..unset(path, in_force)
    }
}

const fn unset(path: &'static str, in_force: InForce) -> Key {
    Key {
        path,
        dify: None,
        default: None,
        in_force,
        form: Value,
    }
}

/// Every key in the order of the example.
#[rustfmt::skip] // One row per key reads as the table it is.
pub(crate) const KEYS: &[Key] = &[
    key("server.listen", "0.0.0.0:8080", Now),
    key("server.socket_mode", "660", Now),
    key("server.upgrade_socket", "/run/difygate/upgrade.sock", Now),
    unset("server.threads", Now), // Default: the CPUs of the machine.
    key("server.trusted_proxies", "", Now),
    key("server.proxy_protocol", "false", Now),
    key("server.cors_allow_origins", "", Now).dify("OPENAPI_CORS_ALLOW_ORIGINS"),
    key("server.request_header_timeout", "10s", Now),
    key("server.min_body_rate", "240B", Now),
    key("server.idle_timeout", "75s", Now),
    key("server.shutdown_grace", "25s", Now),
    key("server.max_header_bytes", "64KiB", Now),
    key("server.max_connections", "10000", Now),
    key("server.max_extra_streams", "2500", Now),
    unset("server.tls.cert", Live),
    unset("server.tls.key", Live),
    unset("server.tls.client_ca", Live),
    key("admin.listen", "127.0.0.1:9090", Now),
    key("admin.names", "", Now),
    unset("upstream.url", Now),
    unset("upstream.web_url", Now),
    unset("upstream.ca", Now),
    key("upstream.connect_timeout", "2s", Now),
    key("upstream.read_timeout", "600s", Now),
    key("upstream.keepalive", "256", Now),
    key("upstream.idle_timeout", "1s", Now),
    unset("dify.secret_key", Live).dify("SECRET_KEY").secret(),
    Key { form: SecretTable, ..unset("dify.keys", Live) },
    unset("dify.active_kid", Live),
    unset("dify.console_web_url", Now).dify("CONSOLE_WEB_URL"),
    unset("dify.console_api_url", Now).dify("CONSOLE_API_URL"),
    key("dify.cookie_domain", "", Now).dify("COOKIE_DOMAIN"),
    key("dify.edition", "SELF_HOSTED", Now).dify("EDITION"),
    unset("postgres.url", Now).secret(),
    unset("postgres.host", Now).dify("DB_HOST"),
    key("postgres.port", "5432", Now).dify("DB_PORT"),
    key("postgres.user", "postgres", Now).dify("DB_USERNAME"),
    key("postgres.password", "", Now).dify("DB_PASSWORD").secret(),
    key("postgres.database", "dify", Now).dify("DB_DATABASE"),
    unset("postgres.parameters", Now).dify("DB_EXTRAS"),
    key("postgres.pool_size", "16", Now),
    key("postgres.timeout", "2s", Now),
    unset("redis.url", Now).secret(),
    unset("redis.host", Now).dify("REDIS_HOST"),
    key("redis.port", "6379", Now).dify("REDIS_PORT"),
    unset("redis.username", Now).dify("REDIS_USERNAME"),
    unset("redis.password", Now).dify("REDIS_PASSWORD").secret(),
    key("redis.db", "0", Now).dify("REDIS_DB"),
    key("redis.tls", "false", Now).dify("REDIS_USE_SSL"),
    unset("redis.tls_ca", Now).dify("REDIS_SSL_CA_CERTS"),
    unset("redis.tls_cert", Now).dify("REDIS_SSL_CERTFILE"),
    unset("redis.tls_key", Now).dify("REDIS_SSL_KEYFILE"),
    key("redis.key_prefix", "", Now).dify("REDIS_KEY_PREFIX"),
    key("redis.timeout", "100ms", Now),
    key("redis.sentinels", "", Now).dify("REDIS_SENTINELS"),
    unset("redis.service_name", Now).dify("REDIS_SENTINEL_SERVICE_NAME"),
    unset("redis.sentinel_username", Now).dify("REDIS_SENTINEL_USERNAME"),
    unset("redis.sentinel_password", Now).dify("REDIS_SENTINEL_PASSWORD").secret(),
    key("redis.cluster_nodes", "", Now).dify("REDIS_CLUSTERS"),
    key("token_cache.capacity", "100000", Now),
    key("token_cache.positive_ttl", "60s", Now),
    key("token_cache.negative_ttl", "10s", Now),
    key("token_cache.coherence", "tracking", Now),
    key("token_cache.untracked_ttl", "1s", Now),
    key("tokens.enabled", "true", Now).dify("ENABLE_OAUTH_BEARER"),
    key("tokens.ttl_days", "14", Now).dify("OAUTH_TTL_DAYS"),
    key("tokens.prune", "true", Now).dify("ENABLE_CLEAN_OAUTH_ACCESS_TOKENS_TASK"),
    key("tokens.retention_days", "30", Now).dify("OAUTH_ACCESS_TOKEN_RETENTION_DAYS"),
    key("device_flow.enabled", "true", Now),
    key("device_flow.legacy_paths", "true", Live),
    key("device_flow.known_client_ids", "difyctl", Live).dify("OPENAPI_KNOWN_CLIENT_IDS"),
    key("device_flow.verification_uri_complete", "false", Now),
    key("device_page.enabled", "true", Live),
    key("enterprise.enabled", "false", Now).dify("ENTERPRISE_ENABLED"),
    unset("enterprise.api_url", Now).dify("ENTERPRISE_API_URL"),
    unset("enterprise.secret_key", Now).dify("ENTERPRISE_API_SECRET_KEY").secret(),
    key("rate_limits.device_code", "60/1h", Live),
    key("rate_limits.lookup", "60/5m", Live),
    key("rate_limits.sso_initiate", "60/1h", Live),
    key("rate_limits.approve", "10/1h", Live),
    key("rate_limits.approve_external", "10/1h", Live),
    key("rate_limits.account", "60/1m", Live),
    key("rate_limits.bearer", "0", Live),
    key("forward.authorization", "keep", Now),
    key("forward.identity", "none", Now),
    key("log.level", "info", Live).dify("LOG_LEVEL"),
    key("log.format", "json", Now),
    key("log.access", "errors", Now),
    key("log.audit", "log", Now),
    key("tracing.enabled", "false", Now).dify("ENABLE_OTEL"),
    key("tracing.endpoint", "http://localhost:4318", Now).dify("OTLP_BASE_ENDPOINT"),
    unset("tracing.traces_endpoint", Now).dify("OTLP_TRACE_ENDPOINT"),
    key("tracing.protocol", "http/protobuf", Now).dify("OTEL_EXPORTER_OTLP_PROTOCOL"),
    unset("tracing.api_key", Now).dify("OTLP_API_KEY").secret(),
    Key { form: SecretTable, ..unset("tracing.headers", Now) }.dify("OTEL_EXPORTER_OTLP_HEADERS"),
    key("tracing.sample_ratio", "0.1", Now).dify("OTEL_SAMPLING_RATE"),
    key("tracing.trust_proxies", "false", Now),
    key("tracing.service_name", "difygate", Now).dify("OTEL_SERVICE_NAME"),
    key("tracing.queue_size", "2048", Now).dify("OTEL_MAX_QUEUE_SIZE"),
    key("tracing.interval", "5s", Now),
    key("tracing.timeout", "10s", Now),
    Key { form: Routes, ..unset("routes", Live) },
];

/// Lists the top-level names of the file in table order.
pub(crate) fn sections() -> Vec<&'static str> {
    let mut names: Vec<_> = KEYS
        .iter()
        .filter_map(|key| key.path.split('.').next())
        .collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_nest_with_double_underscores() {
        let key = find("server.tls.client_ca").unwrap();

        assert_eq!(key.variable(), "DIFYGATE__SERVER__TLS__CLIENT_CA");
    }

    #[test]
    fn no_two_rows_share_a_path_a_variable_or_a_dify_name() {
        let unique = |names: Vec<String>| {
            let mut sorted = names.clone();
            sorted.sort();
            sorted.dedup();
            sorted.len() == names.len()
        };

        assert!(unique(KEYS.iter().map(|k| k.path.to_owned()).collect()));
        assert!(unique(KEYS.iter().map(Key::variable).collect()));
        assert!(unique(
            KEYS.iter().filter_map(|k| k.dify).map(Into::into).collect()
        ));
    }
}
