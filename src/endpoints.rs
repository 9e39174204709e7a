//! The endpoints that the gateway serves by itself: HTTP in, domain calls, HTTP out.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method, header};

use crate::{
    activity::Activity,
    check::TokenChecker,
    config::Config,
    console::Console,
    device::DeviceFlow,
    http::{Rejection, Reply, cors::CorsPolicy, fetch_metadata, origin::Origin},
    mint::Mint,
    rate_limit::{Caller, Limit, NotAdmitted, RateLimiter, Standing, bearer::BearerLimiter},
    route::{Generation, LocalEndpoint},
    sso::Sso,
    store::Directory,
};

pub(crate) mod account;
pub(crate) mod device;
mod inspect;
mod page;
mod sso;

pub use page::DevicePage;

/// A request for a local endpoint, read whole.
pub struct LocalRequest<'a> {
    /// The query, without its question mark; empty for none.
    pub query: &'a str,
    /// Which generation of the API the path belongs to.
    pub generation: Generation,
    /// The last segment of the path.
    pub segment: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body; at most [`crate::http::body::MAX_BODY`].
    pub body: &'a [u8],
    /// Who asks, by what may be believed.
    pub client: IpAddr,
    /// `http` or `https`, by what may be believed.
    pub scheme: &'static str,
}

impl std::fmt::Debug for LocalRequest<'_> {
    /// Leaves out whatever may hold a code, a cookie or a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalRequest")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// The endpoints' settings.
#[derive(Clone, Debug)]
pub struct Settings {
    tokens_enabled: bool,
    flow_enabled: bool,
    console_web_url: Option<String>,
    console_origin: Option<Origin>,
    console_api_url: Option<String>,
    secure_cookies: bool,
    verification_uri_complete: bool,
    access_cookie: &'static str,
    csrf_cookie: &'static str,
    cors: CorsPolicy,
}

impl Settings {
    /// Takes what is needed from the configuration.
    pub fn from_config(config: &Config) -> Self {
        let dify = &config.dify;
        let https = |url: &Option<url::Url>| url.as_ref().is_some_and(|u| u.scheme() == "https");
        // As Dify does: the strictest kind of cookie where nothing forbids it.
        let secure_cookies = https(&dify.console_web_url) && https(&dify.console_api_url);
        let host_cookies = secure_cookies && dify.cookie_domain.is_empty();
        let base = |url: &Option<url::Url>| {
            let url = url.as_ref()?.as_str();
            Some(url.trim_end_matches('/').to_owned())
        };
        let (access_cookie, csrf_cookie) = if host_cookies {
            ("__Host-access_token", "__Host-csrf_token")
        } else {
            ("access_token", "csrf_token")
        };
        Self {
            tokens_enabled: config.tokens.enabled,
            flow_enabled: config.device_flow.enabled,
            console_web_url: base(&dify.console_web_url),
            console_api_url: base(&dify.console_api_url),
            secure_cookies,
            console_origin: dify.console_web_url.as_ref().and_then(Origin::of_url),
            verification_uri_complete: config.device_flow.verification_uri_complete,
            access_cookie,
            csrf_cookie,
            cors: CorsPolicy::new(config.server.cors_allow_origins.clone()),
        }
    }
}

/// The endpoints' collaborators.
#[derive(Debug)]
pub struct Endpoints {
    /// Settings.
    pub settings: Settings,
    /// The device flow.
    pub device: Arc<DeviceFlow>,
    /// The enterprise branch, where there is one.
    pub sso: Option<Sso>,
    /// Console sessions.
    pub console: Console,
    /// Limits.
    pub limiter: RateLimiter,
    /// Sessions and revocation.
    pub mint: Arc<Mint>,
    /// People.
    pub directory: Arc<dyn Directory>,
    /// Tokens.
    pub checker: Arc<TokenChecker>,
    /// How often one of them may ask.
    pub bearer_limit: Arc<BearerLimiter>,
    /// When they were last used.
    pub activity: Arc<Activity>,
    /// The page where people decide.
    pub page: DevicePage,
}

impl Endpoints {
    /// Answers a request.
    ///
    /// # Errors
    ///
    /// [`Rejection`], for every answer that is no success.
    pub async fn answer(
        &self,
        endpoint: LocalEndpoint,
        request: &LocalRequest<'_>,
    ) -> Result<Reply, Rejection> {
        match endpoint {
            LocalEndpoint::DeviceCode => self.code(request).await,
            LocalEndpoint::DeviceToken => self.token(request).await,
            LocalEndpoint::DeviceLookup => self.lookup(request).await,
            LocalEndpoint::DeviceApprove => self.approve(request).await,
            LocalEndpoint::DeviceDeny => self.deny(request).await,
            LocalEndpoint::DeviceRequest => self.request(request).await,
            LocalEndpoint::DevicePage => Ok(self.page.document(request)),
            LocalEndpoint::DevicePageAsset => self.page.asset(request),
            LocalEndpoint::Account => self.account(request).await,
            LocalEndpoint::Sessions => self.sessions(request).await,
            LocalEndpoint::RevokeSelf => self.revoke_self(request).await,
            LocalEndpoint::RevokeSession => self.revoke_session(request).await,
            LocalEndpoint::SsoInitiate => self.sso_initiate(request).await,
            LocalEndpoint::SsoComplete => self.sso_complete(request).await,
            LocalEndpoint::ApprovalContext => self.approval_context(request),
            LocalEndpoint::ApproveExternal => self.approve_external(request).await,
        }
    }

    /// Tells whether the endpoint exists at this moment. Asked before anything else, a request's
    /// body included: what does not exist reads nothing and counts nothing.
    pub fn serves(&self, endpoint: LocalEndpoint) -> bool {
        match endpoint {
            LocalEndpoint::SsoInitiate
            | LocalEndpoint::SsoComplete
            | LocalEndpoint::ApprovalContext
            | LocalEndpoint::ApproveExternal => self.sso().is_ok(),
            LocalEndpoint::DeviceCode
            | LocalEndpoint::DeviceToken
            | LocalEndpoint::DeviceApprove
            | LocalEndpoint::DeviceDeny
            | LocalEndpoint::DeviceLookup
            | LocalEndpoint::DeviceRequest
            | LocalEndpoint::DevicePage
            | LocalEndpoint::DevicePageAsset
            | LocalEndpoint::Account
            | LocalEndpoint::Sessions
            | LocalEndpoint::RevokeSelf
            | LocalEndpoint::RevokeSession => true,
        }
    }

    /// Counts a request against a limit.
    async fn admit(&self, limit: Limit, caller: Caller<'_>) -> Result<Standing, Rejection> {
        self.limiter
            .admit(limit, caller)
            .await
            .map_err(|error| match error {
                NotAdmitted::Limited(standing) => Rejection::Limited(standing),
                NotAdmitted::Unavailable(_) => Rejection::StoreUnavailable,
            })
    }

    /// Counts a request against a limit of its address, unless a page of another site makes a
    /// browser send it: otherwise any page could use up the limits of whoever visits it, and of
    /// everybody behind the same address.
    async fn admit_address(
        &self,
        limit: Limit,
        request: &LocalRequest<'_>,
    ) -> Result<Standing, Rejection> {
        if fetch_metadata::is_from_another_site(request.headers)
            && !(limit == Limit::SsoInitiate
                && fetch_metadata::is_visit(&Method::GET, request.headers))
            && !self.is_known_page(request)
        {
            return Err(Rejection::CrossSite);
        }
        self.admit(limit, Caller::Address(request.client)).await
    }

    /// Tells whether a request comes from a page of the console's, or one that may ask by the
    /// configuration.
    fn is_known_page(&self, request: &LocalRequest<'_>) -> bool {
        request.headers.contains_key(header::ORIGIN)
            && (self.settings.cors.allows(request.headers) || self.check_origin(request).is_ok())
    }

    /// Refuses everything of the device flow while tokens are switched off.
    fn require_enabled(&self) -> Result<(), Rejection> {
        if self.settings.tokens_enabled {
            Ok(())
        } else {
            Err(Rejection::BearerDisabled)
        }
    }
}
