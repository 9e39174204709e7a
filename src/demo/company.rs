//! A stand-in for a company: Dify's enterprise service and an identity provider, in one.
//!
//! It speaks as the real ones do, over a socket of its own and with signed envelopes; only the
//! sign-in itself is make-believe: whoever types an e-mail is believed.

use std::{collections::BTreeMap, convert::Infallible, io, net::SocketAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::{
    app,
    clock::Clock,
    config::SHARED_KID,
    entropy::{Entropy, OsEntropy},
    jws::{Jws, KeySet, SsoState, SubjectAssertion},
    secret::Secret,
};

/// Whom the form suggests: nobody with a Dify account.
const SUGGESTED: &str = "eve@partner.example";

/// Most bytes of a request's body; a state takes a few hundred.
const BODY_LIMIT: usize = 16 * 1024;

/// What the stand-in knows.
struct Company {
    address: SocketAddr,
    keys: KeySet,
    api_secret: String,
    clock: Arc<dyn Clock>,
}

/// `POST /device-flow/sso-initiate`'s body.
#[derive(Deserialize)]
struct Initiate {
    signed_state: String,
}

/// Starts the stand-in on a free port; it runs until the process ends.
pub(super) async fn start(secret_key: &str, api_secret: &str) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let secret = Secret::new(secret_key.to_owned());
    let company = Arc::new(Company {
        address,
        keys: KeySet::new(
            &BTreeMap::from([(SHARED_KID.to_owned(), secret)]),
            SHARED_KID,
        )?,
        api_secret: api_secret.to_owned(),
        clock: app::system_clock(),
    });
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let company = Arc::clone(&company);
            let answer = service_fn(move |request| {
                let company = Arc::clone(&company);
                async move { Ok::<_, Infallible>(company.answer(request).await) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
        }
    });
    Ok(address)
}

/// Returns `address`, with a free port in place of port 0: the company has to be told where people
/// come back to before the gateway listens.
pub(super) fn settled(address: SocketAddr) -> io::Result<SocketAddr> {
    if address.port() > 0 {
        return Ok(address);
    }
    std::net::TcpListener::bind(address)?.local_addr()
}

impl Company {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = match (&method, path.as_str()) {
            (&Method::GET, "/info") if self.is_authorized(&request) => {
                Some(json(&serde_json::json!({"License": {"status": "active"}})))
            }
            (&Method::POST, "/device-flow/sso-initiate") if self.is_authorized(&request) => {
                self.initiate(request).await
            }
            (&Method::GET, "/login") => self.login_page(&request),
            (&Method::GET, "/signed-in") => self.signed_in(&request),
            _ => None,
        };
        answer.unwrap_or_else(|| {
            let mut refused = Response::new(Full::from("this leads nowhere\n"));
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            refused
        })
    }

    fn is_authorized(&self, request: &Request<Incoming>) -> bool {
        let shown = request.headers().get("enterprise-api-secret-key");
        shown.is_some_and(|shown| shown.as_bytes() == self.api_secret.as_bytes())
    }

    /// The enterprise service: names the identity provider's page. The state travels along, so that
    /// nothing has to be remembered.
    async fn initiate(&self, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let body = Limited::new(request.into_body(), BODY_LIMIT)
            .collect()
            .await;
        let initiate: Initiate = serde_json::from_slice(&body.ok()?.to_bytes()).ok()?;
        self.state(&initiate.signed_state)?;
        let page = format!(
            "http://{}/login?state={}",
            self.address, initiate.signed_state
        );
        Some(json(&serde_json::json!({"url": page})))
    }

    /// The identity provider: asks who somebody is.
    fn login_page(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let state = parameter(request, "state")?;
        self.state(&state)?;
        // What has been verified is base64url and dots: it needs no escaping.
        let page = format!(
            "<!doctype html><title>Partner Inc.</title><h1>Partner Inc.</h1>\
             <p>A stand-in for your identity provider: whoever you say you are is believed.\
             <form action=/signed-in><input type=hidden name=state value={state}>\
             <label>E-mail <input name=email type=email required value={SUGGESTED}></label> \
             <button>Sign in</button></form>\n"
        );
        let mut response = Response::new(Full::from(page));
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
        Some(response)
    }

    /// The enterprise service again: asserts who has signed in, to where the state says.
    fn signed_in(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let state = self.state(&parameter(request, "state")?)?;
        let mut nonce = [0; 16];
        OsEntropy.fill(&mut nonce);
        let assertion = SubjectAssertion {
            email: parameter(request, "email")?,
            issuer: format!("http://{}", self.address),
            user_code: state.user_code,
            nonce: URL_SAFE_NO_PAD.encode(nonce),
        };
        let assertion = self.keys.sign(&assertion, self.clock.now()).ok()?;
        let back = format!(
            "{}?sso_assertion={}",
            state.idp_callback_url,
            assertion.expose()
        );
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::FOUND;
        let back = HeaderValue::from_str(&back).ok()?;
        response.headers_mut().insert(header::LOCATION, back);
        Some(response)
    }

    fn state(&self, state: &str) -> Option<SsoState> {
        let state = Jws::presented(state);
        let verified = self.keys.verify(&state, self.clock.now());
        Some(verified.ok()?.claims)
    }
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(value.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn parameter(request: &Request<Incoming>, name: &str) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
