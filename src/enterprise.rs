//! Dify's enterprise service, over HTTP (`contract/sso.md`).
//!
//! Connections are kept and reused. A request is sent again only where nothing of it was sent:
//! where no connection could be made, or where a kept one had ended before the first byte.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request,
    header::{self, InvalidHeaderValue},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::Deserialize;
use url::Url;

use crate::{
    jws::{Jws, SsoState},
    licence::LicenceStatus,
    secret::Secret,
    sso::{EnterpriseError, EnterpriseService},
    tls::ClientTls,
};

/// The header with which a caller shows that it is Dify, or its gateway.
const SECRET_KEY: HeaderName = HeaderName::from_static("enterprise-api-secret-key");

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for a whole answer, connecting included: Dify's own default. A browser waits
/// behind it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection is kept; the licence is asked for more often.
const IDLE: Duration = Duration::from_secs(30);

/// Most bytes of an answer that are read; a URL or a licence takes a few hundred.
const MAX_ANSWER: usize = 64 * 1024;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTarget {
    /// The secret has characters that no header can carry.
    #[error("enterprise.secret_key cannot stand in a header")]
    Secret(#[from] InvalidHeaderValue),
    /// The trust store of the system cannot be read or used.
    #[error("no authority to trust: {0}")]
    Roots(String),
}

/// Why a call failed. None of them quotes the request or the answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("the connection failed")]
    Connection(#[source] hyper_util::client::legacy::Error),
    #[error("the answer broke off or is too large")]
    Body,
    #[error("the answer is {0}")]
    Status(http::StatusCode),
    #[error("the answer is not what was asked for")]
    Answer,
    #[error("the request cannot be built")]
    Request(#[from] http::Error),
}

/// The client of the enterprise service.
pub struct EnterpriseClient {
    base: String,
    secret_key: Option<HeaderValue>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// `POST /device-flow/sso-initiate`'s answer.
#[derive(Deserialize)]
struct Initiated {
    url: Option<String>,
}

/// The part of `GET /info`'s answer that is about the licence.
#[derive(Deserialize)]
struct Info {
    #[serde(rename = "License")]
    license: License,
}

#[derive(Deserialize)]
struct License {
    status: String,
}

impl EnterpriseClient {
    /// Prepares a client; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`InvalidTarget`].
    pub fn new(api_url: &Url, secret_key: Option<&Secret>) -> Result<Self, InvalidTarget> {
        let secret_key = secret_key
            .map(|secret| HeaderValue::from_str(secret.expose()))
            .transpose()?
            .map(|mut value| {
                // Libraries leave it out of what they print, and HTTP/2 out of its tables.
                value.set_sensitive(true);
                value
            });
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(api_url.scheme())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            // On a kept connection that had ended: nothing had been sent.
            .retry_canceled_requests(true)
            .build(connector);
        Ok(Self {
            base: api_url.as_str().trim_end_matches('/').to_owned(),
            secret_key,
            client,
        })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Bytes, CallError> {
        let exchange = async {
            let send = || -> Result<_, http::Error> {
                let mut request = Request::builder()
                    .method(method.clone())
                    .uri(format!("{}{path}", self.base))
                    .header(header::ACCEPT, "application/json");
                if let Some(secret_key) = &self.secret_key {
                    request = request.header(SECRET_KEY, secret_key);
                }
                if body.is_some() {
                    request = request.header(header::CONTENT_TYPE, "application/json");
                }
                let body = Full::from(body.clone().unwrap_or_default());
                Ok(self.client.request(request.body(body)?))
            };
            let answered = match send()?.await {
                Err(error) if error.is_connect() => send()?.await,
                answered => answered,
            };
            let answer = answered.map_err(CallError::Connection)?;
            if !answer.status().is_success() {
                return Err(CallError::Status(answer.status()));
            }
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            Ok(body.map_err(|_| CallError::Body)?.to_bytes())
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .unwrap_or(Err(CallError::TimedOut))
    }
}

#[async_trait]
impl EnterpriseService for EnterpriseClient {
    async fn initiate(&self, state: &Jws<SsoState>) -> Result<Option<Url>, EnterpriseError> {
        let body = serde_json::json!({"signed_state": state.expose()}).to_string();
        let path = "/device-flow/sso-initiate";
        let answer = self.call(Method::POST, path, Some(body.into_bytes()));
        let answer = answer.await.map_err(EnterpriseError::new)?;
        let initiated: Initiated =
            serde_json::from_slice(&answer).map_err(|_| EnterpriseError::new(CallError::Answer))?;
        // A browser is sent there: nothing but a web page will do.
        let url = initiated.url.and_then(|url| Url::parse(&url).ok());
        Ok(url.filter(|url| matches!(url.scheme(), "http" | "https")))
    }

    async fn licence(&self) -> Result<LicenceStatus, EnterpriseError> {
        let answer = self.call(Method::GET, "/info", None).await;
        let answer = answer.map_err(EnterpriseError::new)?;
        let info: Info =
            serde_json::from_slice(&answer).map_err(|_| EnterpriseError::new(CallError::Answer))?;
        Ok(LicenceStatus::parse(&info.license.status))
    }
}

impl fmt::Debug for EnterpriseClient {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterpriseClient")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// Trusts whom the system trusts, like the connections to the upstream: an operator's own
/// authority is installed once.
fn tls(scheme: &str) -> Result<rustls::ClientConfig, InvalidTarget> {
    ClientTls::default()
        .config_for(scheme)
        .map_err(|error| InvalidTarget::Roots(error.to_string()))
}
