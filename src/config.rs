//! Configuration: environment, file, Dify's own variables and defaults become one [`Config`].
//!
//! [`load`] parses into types that cannot be wrong and reports every problem at once; it
//! reads no ambient state but the files a secret refers to. Adding a key takes a row in
//! `keys.rs`, a field with its doc, and a block in `config.toml.example`.

mod device;
mod dify;
mod environment;
mod forward;
mod keys;
mod layers;
mod listen;
mod log;
mod origins;
mod parse;
mod postgres;
mod problem;
mod reader;
mod redis;
mod routes;
mod secrets;
mod server;
mod spelling;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod traces;
mod units;
mod upstream;
mod value;

pub use self::device::{DeviceFlowConfig, DevicePageConfig, EnterpriseConfig};
pub use self::dify::{DifyConfig, Edition, SHARED_KID};
pub use self::environment::Environment;
pub use self::forward::{ForwardAuthorization, ForwardConfig, ForwardIdentity};
pub use self::keys::key_paths;
pub use self::listen::ListenAddress;
pub use self::log::{AccessLog, AuditStream, LogConfig, LogFormat, LogLevel};
pub use self::origins::Origins;
pub use self::postgres::{PostgresConfig, PostgresTarget, PostgresTls, SslMode};
pub use self::problem::{Invalid, Problem};
pub use self::redis::{NodeAddress, RedisConfig, RedisTarget};
pub use self::routes::{RoutePolicy, RouteRule, RouteUpstream};
pub use self::server::{AdminConfig, ServerConfig, TlsConfig, TlsFile};
pub use self::spelling::Spelling;
pub use self::tokens::{Coherence, RateLimit, RateLimitsConfig, TokenCacheConfig, TokensConfig};
pub use self::traces::{CollectorConfig, TracingConfig};
pub use self::upstream::{Endpoint, UpstreamConfig};

use self::reader::Reader;

/// Everything an operator can decide; one field per table of the file.
///
/// `Debug` is safe to log: secrets redact themselves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The public listeners.
    pub server: ServerConfig,
    /// The private listener for health, readiness and metrics.
    pub admin: AdminConfig,
    /// Where requests go.
    pub upstream: UpstreamConfig,
    /// What is shared with Dify itself: keys, URLs, edition.
    pub dify: DifyConfig,
    /// Dify's database.
    pub postgres: PostgresConfig,
    /// Dify's Redis.
    pub redis: RedisConfig,
    /// The local cache of token checks.
    pub token_cache: TokenCacheConfig,
    /// The life of tokens.
    pub tokens: TokensConfig,
    /// The device sign-in.
    pub device_flow: DeviceFlowConfig,
    /// The page where a user types the code.
    pub device_page: DevicePageConfig,
    /// The enterprise service.
    pub enterprise: EnterpriseConfig,
    /// How often one caller may do what.
    pub rate_limits: RateLimitsConfig,
    /// What the upstream is told about the caller.
    pub forward: ForwardConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Which requests are traced, and where the spans go.
    pub tracing: TracingConfig,
    /// Own routing rules in file order; the first match wins.
    pub routes: Vec<RouteRule>,
}

/// A valid configuration and what its operator should hear about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration to run with.
    pub config: Config,
    /// Values that were adjusted, one sentence each.
    pub warnings: Vec<String>,
    /// How every key was spelt.
    pub spelling: Spelling,
    /// Where every key was set.
    pub origins: Origins,
}

/// Merges the layers and parses the result.
///
/// `file` is the name to show in messages and the TOML text; `None` runs from the
/// environment alone.
///
/// # Errors
///
/// Returns every problem found, across all layers. Only a TOML syntax error stands alone,
/// because nothing after it can be trusted.
pub fn load(file: Option<(&str, &str)>, env: &Environment) -> Result<Loaded, Invalid> {
    let (layers, problems) = layers::merge(file, env)?;
    let spelling = Spelling::of(&layers, env);
    let origins = Origins::of(&layers);
    let mut reader = Reader::new(layers, env, problems);

    let config = read(&mut reader);
    let (problems, warnings) = reader.finish();
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded {
            config,
            warnings,
            spelling,
            origins,
        }),
        _ => Err(Invalid { problems }),
    }
}

/// Reads every table before giving up on any, so that all problems are collected.
fn read(reader: &mut Reader<'_>) -> Option<Config> {
    let upstream = UpstreamConfig::read(reader);
    let dify = DifyConfig::read(reader);
    let postgres = PostgresConfig::read(reader);
    let redis = RedisConfig::read(reader);
    let server = ServerConfig::read(reader);
    let admin = AdminConfig::read(reader);
    let token_cache = TokenCacheConfig::read(reader);
    let tokens = TokensConfig::read(reader);
    let device_flow = DeviceFlowConfig::read(reader);
    let device_page = DevicePageConfig::read(reader);
    let enterprise = EnterpriseConfig::read(reader);
    let rate_limits = RateLimitsConfig::read(reader);
    let forward = ForwardConfig::read(reader);
    let log = LogConfig::read(reader);
    let tracing = TracingConfig::read(reader);
    let routes = routes::read(reader);
    Some(Config {
        server,
        admin,
        upstream: upstream?,
        dify: dify?,
        postgres: postgres?,
        redis: redis?,
        token_cache,
        tokens,
        device_flow,
        device_page,
        enterprise,
        rate_limits,
        forward,
        log,
        tracing,
        routes,
    })
}
