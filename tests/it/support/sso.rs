//! A company's side of a sign-in: the enterprise service and its identity provider.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Behaviour, Gateway, GatewayBuilder, Login, RequestBuilder, Response, SECRET_KEY, Stage,
    Upstream, request, unix_now,
};

/// The one kid of the default key set.
pub(crate) const SHARED_KID: &str = "dify-shared-v1";

/// What the gateway shows the enterprise service.
pub(crate) const ENTERPRISE_SECRET: &str = "es-test-5b1f0c9a7d2e4863";

/// Where the identity provider's page is.
pub(crate) const IDP_PAGE: &str = "https://idp.partner.example/login?request=1";

const DEVICE: &str = "/openapi/v1/oauth/device";

/// A compact JWS under a kid, as the enterprise service signs it.
pub(crate) fn jws(kid: &str, secret: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "HS256", "kid": kid, "typ": "JWT"});
    let message = format!("{}.{}", part(&header), part(claims));
    let mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let signature = mac.chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The claims of a compact JWS, unverified.
pub(crate) fn claims_of(jws: &str) -> Value {
    let payload = jws.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The claims of an assertion about a person, for a login.
pub(crate) fn assertion_claims(user_code: &str, email: &str) -> Value {
    json!({
        "email": email,
        "issuer": "https://idp.partner.example",
        "user_code": user_code,
        "nonce": Uuid::new_v4().simple().to_string(),
        "aud": "api.device_flow.external_subject_assertion",
        "iat": unix_now() - 1,
        "exp": unix_now() + 299,
    })
}

/// An assertion about a person, for a login, under the shared key.
pub(crate) fn assertion(user_code: &str, email: &str) -> String {
    jws(SHARED_KID, SECRET_KEY, &assertion_claims(user_code, email))
}

/// The enterprise service on a socket of its own, with a licence that holds.
pub(crate) async fn enterprise() -> Upstream {
    let service = Upstream::start().await;
    licence(&service, "active");
    let page = json!({"url": IDP_PAGE});
    service.on("/device-flow/sso-initiate", Behaviour::Json(200, page));
    service
}

/// Changes what the service says of its licence.
pub(crate) fn licence(service: &Upstream, status: &str) {
    let info = json!({"License": {"status": status}});
    service.on("/info", Behaviour::Json(200, info));
}

/// Tells a gateway of the service.
pub(crate) fn with_enterprise(gateway: GatewayBuilder, service: &Upstream) -> GatewayBuilder {
    gateway
        .set("enterprise.enabled", "true")
        .set(
            "enterprise.api_url",
            &format!("\"http://{}\"", service.addr()),
        )
        .set("enterprise.secret_key", &format!("\"{ENTERPRISE_SECRET}\""))
        .set("dify.console_api_url", "\"https://console.example\"")
        .set("dify.console_web_url", "\"https://console.example\"")
        // So that the console's cookies go by their plain names.
        .set("dify.cookie_domain", "\"console.example\"")
}

/// The usual cast and an enterprise service.
pub(crate) async fn enterprise_stage(
    configure: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
) -> (Stage, Upstream) {
    let service = enterprise().await;
    let stage = Stage::with(|gateway| configure(with_enterprise(gateway, &service))).await;
    is_licensed(&stage.gateway).await;
    (stage, service)
}

/// Waits until a gateway has heard of the licence: until then the branch does not exist.
pub(crate) async fn is_licensed(gateway: &Gateway) {
    let heard = |line: &Value| line["message"] == "the enterprise licence is heard of";
    gateway.wait_for_log(heard).await;
}

/// Brings an assertion back to the gateway.
pub(crate) fn completes(assertion: &str) -> RequestBuilder {
    request(
        "GET",
        &format!("{DEVICE}/sso-complete?sso_assertion={assertion}"),
    )
}

/// A browser that holds a grant.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// The cookie's value.
    pub(crate) cookie: String,
    /// The CSRF token that the page reads beside it.
    pub(crate) csrf: String,
    /// The login that it is for.
    pub(crate) user_code: String,
}

impl Grant {
    /// Signs a person in for a login; panics where the gateway refuses.
    pub(crate) async fn of(gateway: &Gateway, login: &Login, email: &str) -> Self {
        let completed = completes(&assertion(&login.user_code, email));
        Self::from(&completed.send(gateway.addr()).await, &login.user_code)
    }

    /// Takes the grant that an answer sets.
    pub(crate) fn from(response: &Response, user_code: &str) -> Self {
        assert_eq!(response.status, 302, "{response:?}");
        let set = response.header("set-cookie").unwrap();
        let (pair, _) = set.split_once(';').unwrap();
        let cookie = pair.strip_prefix("device_approval_grant=").unwrap();
        let csrf = claims_of(cookie)["csrf_token"].as_str().unwrap().to_owned();
        Self {
            cookie: cookie.to_owned(),
            csrf,
            user_code: user_code.to_owned(),
        }
    }

    /// What the page asks for first.
    pub(crate) fn context(&self) -> RequestBuilder {
        let context = request("GET", &format!("{DEVICE}/approval-context"));
        context.header("Cookie", &self.cookies())
    }

    /// What the page sends to approve.
    pub(crate) fn approves(&self) -> RequestBuilder {
        self.posts(Some(&self.csrf), &json!({"user_code": self.user_code}))
    }

    /// What another page might send.
    pub(crate) fn posts(&self, csrf: Option<&str>, body: &Value) -> RequestBuilder {
        let post = request("POST", &format!("{DEVICE}/approve-external"));
        let post = post.header("Cookie", &self.cookies()).json(body);
        match csrf {
            Some(csrf) => post.header("X-CSRF-Token", csrf),
            None => post,
        }
    }

    fn cookies(&self) -> String {
        format!("locale=en-US; device_approval_grant={}", self.cookie)
    }
}
