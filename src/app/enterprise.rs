//! Wires what talks to Dify's enterprise service.

use std::sync::Arc;

use crate::{
    clock::Clock,
    config::{EnterpriseConfig, Problem},
    enterprise::{EnterpriseClient, InvalidTarget},
    health::Health,
    licence::Licence,
    sso::EnterpriseService,
};

/// The enterprise service, where there is one.
#[derive(Clone, Debug)]
pub(super) struct Enterprise {
    pub(super) client: Arc<dyn EnterpriseService>,
    pub(super) licence: Arc<Licence>,
}

impl Enterprise {
    /// Builds the client; `None` where the service is switched off, or where nobody said where it
    /// is, which a warning says then.
    ///
    /// # Errors
    ///
    /// What makes the service impossible to talk to.
    pub(super) fn from_config(
        config: &EnterpriseConfig,
        clock: &Arc<dyn Clock>,
        health: &Health,
    ) -> Result<Option<Self>, Problem> {
        if !config.enabled {
            return Ok(None);
        }
        if config.api_url.is_none() {
            tracing::warn!("enterprise.api_url is not set: signing in by SSO stays 404");
            return Ok(None);
        }
        if config.secret_key.is_none() {
            tracing::warn!("enterprise.secret_key is not set: the service will refuse us");
        }
        let client = check(config)?.map(|client| {
            let client: Arc<dyn EnterpriseService> = Arc::new(client);
            let health = health.with_enterprise();
            let licence = Licence::new(Arc::clone(&client), Arc::clone(clock), health);
            Self { client, licence }
        });
        Ok(client)
    }
}

/// Builds the client, where there is a service to talk to.
///
/// # Errors
///
/// What makes the service impossible to talk to.
pub(super) fn check(config: &EnterpriseConfig) -> Result<Option<EnterpriseClient>, Problem> {
    let api_url = config.api_url.as_ref().filter(|_| config.enabled);
    api_url
        .map(|api_url| EnterpriseClient::new(api_url, config.secret_key.as_ref()))
        .transpose()
        .map_err(|error| problem(&error))
}

fn problem(error: &InvalidTarget) -> Problem {
    let (key, need) = match error {
        InvalidTarget::Secret(_) => ("enterprise.secret_key", "visible ASCII characters"),
        InvalidTarget::Roots(_) => (
            "enterprise.api_url",
            "a trust store for https (SSL_CERT_FILE names one)",
        ),
    };
    Problem {
        key: key.to_owned(),
        origin: None,
        // The error names no part of the secret.
        got: Some(error.to_string()),
        need: need.to_owned(),
        remedy: None,
    }
}
