//! A stand-in for Dify's console: a sign-in page with one person, and what the page at `/device`
//! asks the console.

use http::{Method, Request, Response, StatusCode, header};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stand_in::{Body, whole};
use crate::{
    clock::{Clock, SystemClock},
    http::cookies::cookie,
    jws::ConsoleKey,
    secret::Secret,
};

/// Life of a session, in seconds: Dify's own default.
const SESSION_LIFE: i64 = 3_600;

const ACCESS_COOKIE: &str = "access_token";
const CSRF_COOKIE: &str = "csrf_token";

/// The one person of the demo.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    pub(super) account: Uuid,
    pub(super) name: &'static str,
    pub(super) email: &'static str,
    pub(super) workspace: &'static str,
}

/// The console's stand-in.
pub(super) struct Console {
    resident: Resident,
    /// Whether people without an account may sign in with their company's identity provider.
    sso: bool,
    clock: SystemClock,
    key: ConsoleKey,
    signing: EncodingKey,
}

impl Console {
    /// Builds one that shares `secret` with the gateway, as Dify does.
    pub(super) fn new(secret: &str, resident: Resident, sso: bool) -> Self {
        Self {
            resident,
            sso,
            clock: SystemClock::start(),
            key: ConsoleKey::new(&Secret::new(secret.to_owned())),
            signing: EncodingKey::from_secret(secret.as_bytes()),
        }
    }

    /// Answers what is the console's; `None` for the rest.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let Resident {
            account,
            name,
            email,
            workspace,
        } = &self.resident;
        let whoever = |body: Value| match self.is_signed_in(request) {
            true => json_answer(StatusCode::OK, &body),
            false => unauthorized(),
        };
        Some(match (request.method(), request.uri().path()) {
            (&Method::GET, "/signin") => page(&format!(
                "<form method=post><p>This is a stand-in for Dify's sign-in page.</p>\
                 <button>Sign in as {name}</button></form>"
            )),
            (&Method::POST, "/signin") => self.sign_in(request)?,
            (&Method::GET, "/console/api/account/profile") => {
                whoever(json!({"id": account, "name": name, "email": email}))
            }
            (&Method::POST, "/console/api/workspaces/current") => {
                whoever(json!({"name": workspace, "role": "owner"}))
            }
            (&Method::POST, "/console/api/refresh-token") => unauthorized(),
            (&Method::GET, "/console/api/system-features") => {
                let protocol = if self.sso { "oidc" } else { "" };
                let auth = json!({
                    "enabled": self.sso,
                    "allow_sso": self.sso,
                    "sso_config": {"protocol": protocol},
                });
                json_answer(StatusCode::OK, &json!({"webapp_auth": auth}))
            }
            _ => return None,
        })
    }

    fn is_signed_in<B>(&self, request: &Request<B>) -> bool {
        cookie(request.headers(), ACCESS_COOKIE)
            .and_then(|token| self.key.verify(token, self.clock.now()))
            .is_some()
    }

    /// Sets the cookies that Dify's sign-in sets (`contract/console-session.md`), and goes where
    /// the query says, if that is a path of this site.
    fn sign_in<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let account = self.resident.account;
        let exp = self.clock.now().unix_seconds() + SESSION_LIFE;
        let access = self.sign(&json!({
            "user_id": account, "exp": exp, "iss": "SELF_HOSTED", "sub": "Console API Passport",
        }))?;
        let csrf = self.sign(&json!({"exp": exp, "sub": account}))?;
        let query = request.uri().query().unwrap_or_default();
        let target = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "redirect_url")
            .map(|(_, target)| target.into_owned())
            .filter(|target| target.starts_with('/') && !target[1..].starts_with(['/', '\\']));
        Response::builder()
            .status(StatusCode::SEE_OTHER)
            .header(header::LOCATION, target.as_deref().unwrap_or("/device"))
            .header(
                header::SET_COOKIE,
                format!("{ACCESS_COOKIE}={access}; Path=/; HttpOnly; SameSite=Lax"),
            )
            .header(
                header::SET_COOKIE,
                format!("{CSRF_COOKIE}={csrf}; Path=/; SameSite=Lax"),
            )
            .body(whole(""))
            .ok()
    }

    fn sign(&self, claims: &Value) -> Option<String> {
        jsonwebtoken::encode(&Header::default(), claims, &self.signing).ok()
    }
}

fn unauthorized() -> Response<Body> {
    let body = json!({"code": "unauthorized", "message": "Unauthorized.", "status": 401});
    json_answer(StatusCode::UNAUTHORIZED, &body)
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Body> {
    answer(status, "application/json", body.to_string())
}

fn page(body: &str) -> Response<Body> {
    let style = "body{font:1rem/1.5 system-ui;margin:20vh auto;max-width:20rem;text-align:center}\
                 button{font:inherit;padding:.5rem 1rem}";
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content='width=device-width'><meta name=color-scheme content='light dark'>\
         <title>Sign in</title><style>{style}</style><main><h1>Sign in</h1>{body}</main></html>"
    );
    answer(StatusCode::OK, "text/html; charset=utf-8", page)
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
