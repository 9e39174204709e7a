//! The one route table.

use http::Method;

use super::{
    path::{CanonicalPath, NotCanonical},
    pattern::Pattern,
    rule::{BearerRule, Class, LocalEndpoint, Upstream},
};
use crate::{
    config::{Problem, RoutePolicy, RouteRule},
    token::TokenKind,
};

const BOTH: &[TokenKind] = &[TokenKind::Account, TokenKind::ExternalSso];
const ACCOUNT: &[TokenKind] = &[TokenKind::Account];
const EXTERNAL: &[TokenKind] = &[TokenKind::ExternalSso];

/// The base path of the device flow.
const DEVICE: &str = "/openapi/v1/oauth/device/";

/// Where the page at `/device` has its style and script: below a path that is the gateway's own
/// whatever Dify's web front end comes to serve, and that a proxy in front sends here already.
pub const PAGE_ASSETS: &str = "/openapi/v1/oauth/device/assets/";

/// The endpoints below [`DEVICE`], and whether the first generation of the API had them below
/// `/v1/oauth/device/`, below `/console/api/oauth/device/` or elsewhere.
const DEVICE_ENDPOINTS: [(&str, LocalEndpoint, Alias); 10] = [
    ("code", LocalEndpoint::DeviceCode, Alias::V1),
    ("token", LocalEndpoint::DeviceToken, Alias::V1),
    ("approve", LocalEndpoint::DeviceApprove, Alias::Console),
    ("deny", LocalEndpoint::DeviceDeny, Alias::Console),
    (
        "approve-external",
        LocalEndpoint::ApproveExternal,
        Alias::V1,
    ),
    ("lookup", LocalEndpoint::DeviceLookup, Alias::V1),
    ("sso-initiate", LocalEndpoint::SsoInitiate, Alias::V1),
    ("sso-complete", LocalEndpoint::SsoComplete, Alias::Elsewhere),
    (
        "approval-context",
        LocalEndpoint::ApprovalContext,
        Alias::V1,
    ),
    ("request", LocalEndpoint::DeviceRequest, Alias::None),
];

/// The two generations of the API. A sign-in by SSO stays in the one that it began in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Today's, below `/openapi/v1`.
    OpenApi,
    /// The first, below `/v1`.
    First,
}

impl Generation {
    /// Returns the generation that a path belongs to.
    pub fn of(path: &str) -> Self {
        if path.starts_with("/v1/") {
            Self::First
        } else {
            Self::OpenApi
        }
    }

    /// Returns the base path of the device flow, which the grant cookie is for.
    pub const fn device_base(self) -> &'static str {
        match self {
            Self::OpenApi => "/openapi/v1/oauth/device",
            Self::First => "/v1/oauth/device",
        }
    }

    /// Returns where a browser comes back to from its identity provider.
    pub const fn sso_complete(self) -> &'static str {
        match self {
            Self::OpenApi => "/openapi/v1/oauth/device/sso-complete",
            Self::First => "/v1/device/sso-complete",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alias {
    V1,
    Console,
    Elsewhere,
    /// Younger than the first generation.
    None,
}

/// What the configuration says about the surfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surface {
    /// Whether the paths of the first generation are served.
    pub legacy_paths: bool,
    /// Whether the enterprise branch exists at all.
    pub enterprise: bool,
    /// Whether the gateway serves the page at `/device`.
    pub device_page: bool,
}

/// What to do with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'t> {
    /// The gateway answers by itself.
    Local(LocalEndpoint),
    /// OPTIONS on a local endpoint.
    LocalOptions(LocalEndpoint),
    /// A local endpoint, but not by this method.
    MethodNotAllowed(LocalEndpoint),
    /// A token is checked, then the request goes on.
    Bearer(&'t BearerRule),
    /// OPTIONS on a bearer row: it goes on unchecked, since a preflight carries no token, and is
    /// otherwise treated as what was checked.
    BearerOptions(&'t BearerRule),
    /// The request goes on unchecked.
    Pass {
        /// Where to.
        upstream: &'t Upstream,
        /// Whether a user-level token is refused here all the same.
        refuse_user_level: bool,
    },
    /// 404; never forwarded.
    Deny,
}

/// The rules, in the order in which they are tried.
#[derive(Debug)]
pub struct RouteTable {
    surface: Surface,
    configured: Vec<Rule>,
    built_in: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    /// Empty: any. GET brings HEAD along.
    methods: Vec<Method>,
    class: Class,
}

impl Rule {
    fn matches(&self, path: &str, method: &Method) -> bool {
        self.pattern.matches(path) && self.is_for(method)
    }

    /// HEAD is GET without the body, and runs the same code behind us: a rule about reading is about
    /// both.
    fn is_for(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || *method == Method::HEAD && self.methods.contains(&Method::GET)
    }
}

impl RouteTable {
    /// Builds the table.
    ///
    /// # Errors
    ///
    /// Every rule of the configuration that would open what is guarded and does not say
    /// `unsafe = true`.
    pub fn new(rules: &[RouteRule], surface: Surface) -> Result<Self, Vec<Problem>> {
        let built_in = built_in(surface);
        let mut problems = Vec::new();
        let mut configured = Vec::with_capacity(rules.len());
        for rule in rules {
            let parsed = Rule {
                pattern: Pattern::parse(&rule.pattern),
                methods: rule.methods.clone(),
                class: class_of(rule),
            };
            if !rule.allow_unsafe
                && let Some(opened) = opened_by(&parsed, &built_in)
            {
                problems.push(Problem {
                    key: "routes.policy".to_owned(),
                    origin: Some(format!("line {}", rule.line)),
                    got: Some(format!("{:?} for {}", rule.policy, rule.pattern)),
                    need: format!(
                        "a policy at least as strict as the built-in one of {}",
                        opened.root()
                    ),
                    remedy: Some(
                        "narrow `match`, or say `unsafe = true` if that is what you want"
                            .to_owned(),
                    ),
                });
            }
            configured.push(parsed);
        }
        if problems.is_empty() {
            Ok(Self {
                surface,
                configured,
                built_in,
            })
        } else {
            Err(problems)
        }
    }

    /// Decides about a request.
    ///
    /// # Errors
    ///
    /// [`NotCanonical::Ambiguous`] when a `;` parameter or a second layer of encoding would lead
    /// to another decision.
    pub fn decide(
        &self,
        path: &CanonicalPath<'_>,
        method: &Method,
    ) -> Result<Decision<'_>, NotCanonical> {
        let decision = self.decide_str(path.as_str(), method);
        if let Some(stripped) = path.without_parameters()
            && (self.is_guarded(path.as_str(), method)
                || self.is_guarded(stripped.as_str(), method))
        {
            return Err(NotCanonical::Ambiguous);
        }
        match path.second_reading() {
            Some(Ok(second))
                if self.decide_str(second.as_str(), method) != decision
                    || self.class(second.as_str(), method) != self.class(path.as_str(), method) =>
            {
                Err(NotCanonical::Ambiguous)
            }
            Some(Err(_)) => Err(NotCanonical::Ambiguous),
            _ => Ok(decision),
        }
    }

    /// Tells whether the path is in a row that is not open to everybody, even where `method` is
    /// let through unchecked.
    fn is_guarded(&self, path: &str, method: &Method) -> bool {
        self.local(path).is_some()
            || matches!(
                self.class(path, method),
                Some(Class::Bearer(_) | Class::Deny)
            )
    }

    fn class(&self, path: &str, method: &Method) -> Option<&Class> {
        self.configured
            .iter()
            .chain(&self.built_in)
            .find(|rule| rule.matches(path, method))
            .map(|rule| &rule.class)
    }

    fn decide_str(&self, path: &str, method: &Method) -> Decision<'_> {
        if let Some(local) = self.local(path) {
            return match local {
                _ if *method == Method::OPTIONS => Decision::LocalOptions(local),
                _ if local.serves(method) => Decision::Local(local),
                _ => Decision::MethodNotAllowed(local),
            };
        }
        match self.class(path, method) {
            Some(Class::Bearer(rule)) if *method == Method::OPTIONS => {
                Decision::BearerOptions(rule)
            }
            Some(Class::Bearer(rule)) => Decision::Bearer(rule),
            Some(Class::Pass(upstream)) => Decision::Pass {
                upstream,
                refuse_user_level: path.starts_with("/v1/"),
            },
            Some(Class::Deny) => Decision::Deny,
            None => Decision::Pass {
                upstream: &Upstream::Api,
                refuse_user_level: path.starts_with("/v1/"),
            },
        }
    }

    fn local(&self, path: &str) -> Option<LocalEndpoint> {
        let device = |rest: &str, family: Option<Alias>| {
            DEVICE_ENDPOINTS
                .iter()
                .find(|(name, _, alias)| *name == rest && family.is_none_or(|f| f == *alias))
                .map(|(_, endpoint, _)| *endpoint)
        };
        if let Some(rest) = path.strip_prefix("/openapi/v1/") {
            return match rest {
                "account" => Some(LocalEndpoint::Account),
                "account/sessions" => Some(LocalEndpoint::Sessions),
                _ => match rest.strip_prefix("account/sessions/") {
                    Some("self") => Some(LocalEndpoint::RevokeSelf),
                    // What is not an id is answered here too: it is nobody's session.
                    Some(id) if !id.is_empty() && !id.contains('/') => {
                        Some(LocalEndpoint::RevokeSession)
                    }
                    _ => path
                        .strip_prefix(DEVICE)
                        .and_then(|rest| device(rest, None))
                        .or_else(|| self.page_asset(path)),
                },
            };
        }
        if path == "/device" && self.surface.device_page {
            return Some(LocalEndpoint::DevicePage);
        }
        if !self.surface.legacy_paths {
            return None;
        }
        match path {
            "/v1/me" => Some(LocalEndpoint::Account),
            "/v1/oauth/authorizations/self" => Some(LocalEndpoint::RevokeSelf),
            "/v1/device/sso-complete" => Some(LocalEndpoint::SsoComplete),
            _ => path
                .strip_prefix("/v1/oauth/device/")
                .and_then(|rest| device(rest, Some(Alias::V1)))
                .or_else(|| {
                    path.strip_prefix("/console/api/oauth/device/")
                        .and_then(|rest| device(rest, Some(Alias::Console)))
                }),
        }
    }

    fn page_asset(&self, path: &str) -> Option<LocalEndpoint> {
        let name = path.strip_prefix(PAGE_ASSETS)?;
        let served = self.surface.device_page && !name.is_empty() && !name.contains('/');
        served.then_some(LocalEndpoint::DevicePageAsset)
    }
}

/// The rows of `contract/surfaces.md` that are not local, in its order.
fn built_in(surface: Surface) -> Vec<Rule> {
    let any = |pattern, class| Rule {
        pattern,
        methods: Vec::new(),
        class,
    };
    let get = |path: &str, class| Rule {
        pattern: Pattern::Exact(path.to_owned()),
        methods: vec![Method::GET],
        class,
    };
    let at_and_below = |path: &str| Pattern::AtAndBelow(path.to_owned());
    let bearer = |accept| {
        Class::Bearer(BearerRule {
            accept,
            scope: None,
            upstream: Upstream::Api,
        })
    };
    let external_apps = if surface.enterprise {
        bearer(EXTERNAL)
    } else {
        Class::Deny
    };
    vec![
        // Unknown endpoints of the device flow are nobody's.
        any(Pattern::Below(DEVICE.to_owned()), Class::Deny),
        get("/openapi/v1/_health", Class::Pass(Upstream::Api)),
        get("/openapi/v1/_version", Class::Pass(Upstream::Api)),
        any(
            at_and_below("/openapi/v1/permitted-external-apps"),
            external_apps,
        ),
        any(at_and_below("/openapi/v1/apps"), bearer(ACCOUNT)),
        any(at_and_below("/openapi/v1/workspaces"), bearer(ACCOUNT)),
        any(Pattern::Below("/openapi/v1/".to_owned()), bearer(BOTH)),
        any(at_and_below("/inner/api"), Class::Deny),
        get("/device", Class::Pass(Upstream::Web)),
    ]
}

fn class_of(rule: &RouteRule) -> Class {
    let upstream = Upstream::from(&rule.upstream);
    match rule.policy {
        RoutePolicy::Deny => Class::Deny,
        RoutePolicy::Pass => Class::Pass(upstream),
        RoutePolicy::Bearer => Class::Bearer(BearerRule {
            accept: match (
                rule.accept.contains(&TokenKind::Account),
                rule.accept.contains(&TokenKind::ExternalSso),
            ) {
                (true, false) => ACCOUNT,
                (false, true) => EXTERNAL,
                _ => BOTH,
            },
            scope: rule.scope,
            upstream,
        }),
    }
}

/// Returns the first built-in row that `rule` would open.
fn opened_by<'t>(rule: &Rule, built_in: &'t [Rule]) -> Option<&'t Pattern> {
    built_in
        .iter()
        .filter(|row| row.pattern.overlaps(&rule.pattern))
        .find(|row| weaker(&rule.class, &row.class))
        .map(|row| &row.pattern)
}

fn weaker(rule: &Class, row: &Class) -> bool {
    match (rule, row) {
        (_, Class::Pass(_)) | (Class::Deny, _) => false,
        (Class::Pass(_) | Class::Bearer(_), Class::Deny) | (Class::Pass(_), Class::Bearer(_)) => {
            true
        }
        (Class::Bearer(rule), Class::Bearer(row)) => {
            rule.accept.iter().any(|kind| !row.accept.contains(kind))
        }
    }
}

mod shown;
#[cfg(test)]
mod tests;
