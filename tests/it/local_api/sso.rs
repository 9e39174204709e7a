//! The SSO branch, with a stand-in for the enterprise service on a socket of its own.

use serde_json::json;

use super::{device, document::Document, elsewhere, large};
use crate::support::{
    Behaviour, Gateway, Grant, Login, RequestBuilder, Stage, assertion, completes,
    enterprise_stage, is_licensed, request, with_enterprise,
};

const EVE: &str = "eve@partner.example";

fn initiates(user_code: &str) -> RequestBuilder {
    let path = device("sso-initiate");
    request("GET", &format!("{path}?user_code={user_code}"))
}

/// What the page asks for the holder of a grant.
fn asks(grant: &Grant) -> RequestBuilder {
    let cookie = format!("device_approval_grant={}", grant.cookie);
    request("GET", &device("request")).header("Cookie", &cookie)
}

/// What there is while the branch exists.
pub(super) async fn answers(document: &mut Document) {
    let (stage, service) = enterprise_stage(|gateway| gateway).await;
    let gateway = &stage.gateway;
    let login = Login::begin(gateway, "eve-laptop").await;
    let initiate = device("sso-initiate");
    let begin = initiates(&login.user_code);
    document.expect(gateway, &initiate, &begin, 302).await;
    let page = elsewhere(initiates(&login.user_code));
    document.expect(gateway, &initiate, &page, 403).await;
    for user_code in ["", "ABCD-3456"] {
        let begin = initiates(user_code);
        document.expect(gateway, &initiate, &begin, 400).await;
    }
    let failure = Behaviour::Json(500, json!({}));
    service.on("/device-flow/sso-initiate", failure);
    document.expect(gateway, &initiate, &begin, 502).await;

    let complete = device("sso-complete");
    for (ask, status) in [
        (
            completes(&assertion(&login.user_code, "ada@example.com")),
            302,
        ),
        (completes(&assertion(&login.user_code, EVE)), 302),
        (request("GET", &complete), 400),
        (completes("x"), 400),
        (completes(&assertion("ABCD-3456", EVE)), 409),
    ] {
        document.expect(gateway, &complete, &ask, status).await;
    }

    let (context, inspect) = (device("approval-context"), device("request"));
    let grant = Grant::of(gateway, &login, EVE).await;
    for (path, ask) in [(&context, grant.context()), (&inspect, asks(&grant))] {
        document.expect(gateway, path, &ask, 200).await;
        let nobody = request("GET", path);
        document.expect(gateway, path, &nobody, 401).await;
    }
    for path in [&initiate, &complete, &context] {
        let other = request("POST", path);
        document.expect(gateway, path, &other, 405).await;
    }
    approvals(document, &stage, &login, &grant).await;
    // Decided: there is nothing to tell any more.
    document.expect(gateway, &inspect, &asks(&grant), 200).await;
}

async fn approvals(document: &mut Document, stage: &Stage, login: &Login, grant: &Grant) {
    let gateway = &stage.gateway;
    let path = device("approve-external");
    let csrf = Some(grant.csrf.as_str());
    for (ask, status) in [
        (grant.posts(csrf, &json!({})), 400),
        (grant.posts(csrf, &json!({"user_code": "ABCD-3456"})), 400),
        (request("POST", &path), 401),
        (grant.posts(None, &json!({})), 403),
        (request("GET", &path), 405),
        (large(request("POST", &path)), 413),
        (grant.approves(), 200),
        (grant.approves(), 409),
    ] {
        document.expect(gateway, &path, &ask, status).await;
    }
    let state = format!("device_code:{}", login.device_code);
    assert!(stage.redis.del(&state).await);
    document
        .expect(gateway, &path, &grant.approves(), 404)
        .await;
}

/// What there is without the branch.
pub(super) async fn absence(document: &mut Document, gateway: &Gateway) {
    for (endpoint, method) in [
        ("sso-initiate", "GET"),
        ("sso-complete", "GET"),
        ("approval-context", "GET"),
        ("approve-external", "POST"),
    ] {
        let path = device(endpoint);
        let ask = request(method, &path);
        document.expect(gateway, &path, &ask, 404).await;
    }
}

/// Answers to everybody who has had enough.
pub(super) async fn limits(document: &mut Document) {
    let (stage, _service) = enterprise_stage(|gateway| {
        gateway
            .set("rate_limits.sso_initiate", "\"1/1h\"")
            .set("rate_limits.approve_external", "\"1/1h\"")
    })
    .await;
    let gateway = &stage.gateway;
    let login = Login::begin(gateway, "eve-laptop").await;
    let grant = Grant::of(gateway, &login, EVE).await;
    for (endpoint, ask) in [
        ("sso-initiate", initiates(&login.user_code)),
        ("approve-external", grant.approves()),
    ] {
        ask.send(gateway.addr()).await;
        document.expect(gateway, &device(endpoint), &ask, 429).await;
    }
}

/// Answers while there is no store, or tokens are switched off.
pub(super) async fn outages(document: &mut Document) {
    let (stage, service) = enterprise_stage(|gateway| gateway.set("tokens.enabled", "false")).await;
    let context = device("approval-context");
    let ask = request("GET", &context);
    document.expect(&stage.gateway, &context, &ask, 503).await;

    let (whole, _service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&whole.gateway, "eve-laptop").await;
    let grant = Grant::of(&whole.gateway, &login, EVE).await;
    let gateway = with_enterprise(Gateway::builder(), &service).start().await;
    is_licensed(&gateway).await;
    for (endpoint, ask) in [
        ("sso-initiate", initiates(&login.user_code)),
        ("sso-complete", completes(&assertion(&login.user_code, EVE))),
        ("approve-external", grant.approves()),
        ("request", asks(&grant)),
    ] {
        document
            .expect(&gateway, &device(endpoint), &ask, 503)
            .await;
    }
}
