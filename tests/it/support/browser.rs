//! A person at Dify's console, and a device that wants to log in.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Gateway, RedisSpace, RequestBuilder, Response, SECRET_KEY, request};

const DEVICE: &str = "/openapi/v1/oauth/device";

/// Whole seconds since the epoch.
pub(crate) fn unix_now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    elapsed.as_secs() as i64
}

/// A JWT as Dify signs it.
pub(crate) fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!(
        "{}.{}",
        part(&json!({"alg": "HS256", "typ": "JWT"})),
        part(claims)
    );
    let mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET_KEY.as_bytes()).unwrap();
    let signature = mac.chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A browser that is logged in to Dify's console.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    pub(crate) access: String,
    pub(crate) csrf: String,
}

impl Browser {
    /// Logged in to an account, as Dify's own login leaves it.
    pub(crate) fn of(account: Uuid) -> Self {
        // Longer than any run, a soak's included.
        let exp = unix_now() + 86_400;
        Self {
            access: jwt(&json!({
                "user_id": account,
                "exp": exp,
                "iss": "SELF_HOSTED",
                "sub": "Console API Passport",
            })),
            csrf: jwt(&json!({"exp": exp, "sub": account})),
        }
    }

    /// What Dify's page sends for a decision.
    pub(crate) fn posts(&self, path: &str, user_code: &str) -> RequestBuilder {
        self.sends("POST", path)
            .json(&json!({"user_code": user_code}))
    }

    /// What the gateway's page asks about a code.
    pub(crate) fn asks_about(&self, user_code: &str) -> RequestBuilder {
        self.sends("GET", &format!("{DEVICE}/request?user_code={user_code}"))
    }

    fn sends(&self, method: &str, path: &str) -> RequestBuilder {
        let cookies = format!(
            "locale=en-US; access_token={}; csrf_token={}",
            self.access, self.csrf
        );
        request(method, path)
            .header("Cookie", &cookies)
            .header("X-CSRF-Token", &self.csrf)
    }

    /// Approves a login.
    pub(crate) async fn approves(&self, gateway: &Gateway, user_code: &str) -> Response {
        let approve = self.posts(&format!("{DEVICE}/approve"), user_code);
        approve.send(gateway.addr()).await
    }

    /// Denies a login.
    pub(crate) async fn denies(&self, gateway: &Gateway, user_code: &str) -> Response {
        let deny = self.posts(&format!("{DEVICE}/deny"), user_code);
        deny.send(gateway.addr()).await
    }
}

/// A login that a device has begun.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) device_code: String,
    pub(crate) user_code: String,
}

impl Login {
    /// Begins a login as `difyctl` does on a host.
    pub(crate) async fn begin(gateway: &Gateway, host: &str) -> Self {
        let begun = Self::try_begin(gateway, host).await;
        begun.unwrap_or_else(|response| panic!("{response:?}"))
    }

    /// Like [`Login::begin`], for a gateway that may refuse.
    pub(crate) async fn try_begin(gateway: &Gateway, host: &str) -> Result<Self, Response> {
        let body = json!({
            "client_id": "difyctl",
            "device_label": format!("difyctl on {host}"),
        });
        let code = request("POST", &format!("{DEVICE}/code")).json(&body);
        let response = code.send(gateway.addr()).await;
        if response.status != 200 {
            return Err(response);
        }
        let body = response.json();
        Ok(Self {
            device_code: body["device_code"].as_str().unwrap().to_owned(),
            user_code: body["user_code"].as_str().unwrap().to_owned(),
        })
    }

    /// The request of a poll.
    pub(crate) fn poll(&self) -> RequestBuilder {
        request("POST", &format!("{DEVICE}/token")).json(&json!({
            "client_id": "difyctl",
            "device_code": self.device_code,
        }))
    }

    /// Polls.
    pub(crate) async fn polls(&self, gateway: &Gateway) -> Response {
        self.poll().send(gateway.addr()).await
    }

    /// Lets the five seconds between two polls pass, by forgetting when the last one was.
    pub(crate) async fn wait(&self, redis: &RedisSpace) {
        let key = format!("device_code:{}:last_poll", self.device_code);
        redis.del(&key).await;
    }

    /// The state that stands in Redis.
    pub(crate) async fn state(&self, redis: &RedisSpace) -> Option<Value> {
        let state = redis
            .get(&format!("device_code:{}", self.device_code))
            .await?;
        Some(serde_json::from_str(&state).unwrap())
    }
}
