//! What a rule says about the requests it matches.

use crate::{
    config::{Endpoint, RouteUpstream},
    token::{Scope, TokenKind},
};

/// What is done with a request that no local endpoint takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A token is checked, then the request goes on.
    Bearer(BearerRule),
    /// The request goes on unchecked.
    Pass(Upstream),
    /// 404; never forwarded.
    Deny,
}

/// Which tokens a bearer rule lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerRule {
    /// Accepted kinds; never empty.
    pub accept: &'static [TokenKind],
    /// A scope that the token must have as well.
    pub scope: Option<Scope>,
    /// Where the request goes on to.
    pub upstream: Upstream,
}

/// Where a request goes on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Dify's API: `upstream.url`.
    Api,
    /// Dify's web front end: `upstream.web_url`, or the API where there is none.
    Web,
    /// Somewhere else, named by a rule of the configuration.
    Other(Endpoint),
}

impl From<&RouteUpstream> for Upstream {
    fn from(upstream: &RouteUpstream) -> Self {
        match upstream {
            RouteUpstream::Api => Self::Api,
            RouteUpstream::Web => Self::Web,
            RouteUpstream::Url(endpoint) => Self::Other(endpoint.clone()),
        }
    }
}

/// An endpoint that the gateway serves by itself. An alias is the same endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalEndpoint {
    /// `POST …/device/code`
    DeviceCode,
    /// `POST …/device/token`
    DeviceToken,
    /// `POST …/device/approve`
    DeviceApprove,
    /// `POST …/device/deny`
    DeviceDeny,
    /// `POST …/device/approve-external`
    ApproveExternal,
    /// `GET …/device/lookup`
    DeviceLookup,
    /// `GET …/device/sso-initiate`
    SsoInitiate,
    /// `GET …/device/sso-complete`
    SsoComplete,
    /// `GET …/device/approval-context`
    ApprovalContext,
    /// `GET …/device/request`
    DeviceRequest,
    /// `GET /device`
    DevicePage,
    /// `GET …/device/assets/{name}`
    DevicePageAsset,
    /// `GET …/account`
    Account,
    /// `GET …/account/sessions`
    Sessions,
    /// `DELETE …/account/sessions/self`
    RevokeSelf,
    /// `DELETE …/account/sessions/{id}`
    RevokeSession,
}

impl LocalEndpoint {
    /// Returns the endpoint's one method; GET brings HEAD along, and every endpoint has OPTIONS.
    pub const fn method(self) -> http::Method {
        match self {
            Self::DeviceCode
            | Self::DeviceToken
            | Self::DeviceApprove
            | Self::DeviceDeny
            | Self::ApproveExternal => http::Method::POST,
            Self::DeviceLookup
            | Self::SsoInitiate
            | Self::SsoComplete
            | Self::ApprovalContext
            | Self::DeviceRequest
            | Self::DevicePage
            | Self::DevicePageAsset
            | Self::Account
            | Self::Sessions => http::Method::GET,
            Self::RevokeSelf | Self::RevokeSession => http::Method::DELETE,
        }
    }

    /// Returns the value of `Allow` (RFC 9110 section 10.2.1).
    pub const fn allow(self) -> &'static str {
        match self {
            Self::DeviceCode
            | Self::DeviceToken
            | Self::DeviceApprove
            | Self::DeviceDeny
            | Self::ApproveExternal => "OPTIONS, POST",
            Self::DeviceLookup
            | Self::SsoInitiate
            | Self::SsoComplete
            | Self::ApprovalContext
            | Self::DeviceRequest
            | Self::DevicePage
            | Self::DevicePageAsset
            | Self::Account
            | Self::Sessions => "GET, HEAD, OPTIONS",
            Self::RevokeSelf | Self::RevokeSession => "DELETE, OPTIONS",
        }
    }

    /// Tells whether pages of other origins may ask: where a bearer token decides, or nothing does.
    /// What cookies decide about is for pages of the same origin.
    pub const fn is_for_other_origins(self) -> bool {
        matches!(
            self,
            Self::DeviceCode
                | Self::DeviceToken
                | Self::DeviceLookup
                | Self::Account
                | Self::Sessions
                | Self::RevokeSelf
                | Self::RevokeSession
        )
    }

    /// Tells whether `method` is one that the endpoint answers.
    pub fn serves(self, method: &http::Method) -> bool {
        *method == self.method()
            || *method == http::Method::HEAD && self.method() == http::Method::GET
    }
}
