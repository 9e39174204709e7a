//! `[device_flow]`, `[device_page]` and `[enterprise]`: signing in from a device.

use url::Url;

use super::parse::{boolean, http_url, list, word};
use super::reader::Reader;
use crate::secret::Secret;

/// The device sign-in (RFC 8628).
#[derive(Debug, Clone)]
pub struct DeviceFlowConfig {
    /// Whether the endpoints exist; off: they are 404.
    pub enabled: bool,
    /// Whether the paths of the first generation (`/v1/…`) are aliases of today's.
    pub legacy_paths: bool,
    /// Clients that may ask for a code.
    pub known_client_ids: Vec<String>,
    /// Whether the answer carries a URL with the code filled in.
    pub verification_uri_complete: bool,
}

/// The page where a user types the code.
#[derive(Debug, Clone)]
pub struct DevicePageConfig {
    /// Whether the gateway serves it; off: `/device` goes to the web upstream.
    pub enabled: bool,
}

/// Dify's enterprise service.
#[derive(Debug, Clone)]
pub struct EnterpriseConfig {
    /// Whether there is one; off: its paths are 404.
    pub enabled: bool,
    /// Its API; `None`: its paths are 404 all the same.
    pub api_url: Option<Url>,
    /// The secret its API expects.
    pub secret_key: Option<Secret>,
}

impl DeviceFlowConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            enabled: reader.value("device_flow.enabled", boolean),
            legacy_paths: reader.value("device_flow.legacy_paths", boolean),
            known_client_ids: reader.value("device_flow.known_client_ids", list(word)),
            verification_uri_complete: reader
                .value("device_flow.verification_uri_complete", boolean),
        }
    }
}

impl DevicePageConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            enabled: reader.value("device_page.enabled", boolean),
        }
    }
}

impl EnterpriseConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            enabled: reader.value("enterprise.enabled", boolean),
            api_url: reader.optional("enterprise.api_url", http_url),
            secret_key: reader.secret("enterprise.secret_key"),
        }
    }
}
