//! `docs/openapi.json` against the running gateway: what is answered is described, member by member,
//! and what is described is answered.

mod document;
mod page;
mod sso;
mod table;

use serde_json::json;

use self::document::Document;
use crate::support::{
    Browser, Gateway, Login, RequestBuilder, Stage, assert_eventually, enterprise_stage, request,
};

const DEVICE: &str = "/openapi/v1/oauth/device";
const ACCOUNT: &str = "/openapi/v1/account";
const SESSIONS: &str = "/openapi/v1/account/sessions";
const SESSION: &str = "/openapi/v1/account/sessions/{id}";

/// More than a local endpoint reads.
fn large(builder: RequestBuilder) -> RequestBuilder {
    builder.json(&json!({"user_code": "x".repeat(17 * 1024)}))
}

/// As a page of another site has a browser ask.
fn elsewhere(builder: RequestBuilder) -> RequestBuilder {
    builder.header("Sec-Fetch-Site", "cross-site")
}

fn device(endpoint: &str) -> String {
    format!("{DEVICE}/{endpoint}")
}

/// Answers of the device's side.
async fn devices(document: &mut Document, stage: &Stage, browser: &Browser) {
    let gateway = &stage.gateway;
    let (code, token) = (device("code"), device("token"));
    let begin = |body: serde_json::Value| request("POST", &code).json(&body);
    let good = json!({"client_id": "difyctl", "device_label": "x"});
    document
        .expect(gateway, &code, &begin(good.clone()), 200)
        .await;
    let page = elsewhere(begin(good));
    document.expect(gateway, &code, &page, 403).await;
    let stranger = json!({"client_id": "stranger", "device_label": "x"});
    document.expect(gateway, &code, &begin(stranger), 400).await;
    for endpoint in [&code, &token] {
        let nothing = request("POST", endpoint);
        document.expect(gateway, endpoint, &nothing, 400).await;
        document
            .expect(gateway, endpoint, &large(nothing), 413)
            .await;
        let other = request("GET", endpoint);
        document.expect(gateway, endpoint, &other, 405).await;
    }
    let login = Login::begin(gateway, "ada-laptop").await;
    for _ in ["authorization_pending", "slow_down"] {
        document.expect(gateway, &token, &login.poll(), 400).await;
    }
    let login = Login::begin(gateway, "ada-laptop").await;
    let approved = browser.approves(gateway, &login.user_code).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    document.expect(gateway, &token, &login.poll(), 200).await;
    let lookup = device("lookup");
    for user_code in [login.user_code.as_str(), "nonsense"] {
        let ask = request("GET", &format!("{lookup}?user_code={user_code}"));
        document.expect(gateway, &lookup, &ask, 200).await;
        document
            .expect(gateway, &lookup, &elsewhere(ask), 403)
            .await;
    }
    let other = request("POST", &lookup);
    document.expect(gateway, &lookup, &other, 405).await;
}

/// Answers to the person who wants to know what a decision is about.
async fn inspection(document: &mut Document, stage: &Stage, browser: &Browser) {
    let gateway = &stage.gateway;
    let path = device("request");
    let login = Login::begin(gateway, "ada-laptop").await;
    for user_code in [login.user_code.as_str(), "nonsense"] {
        let ask = browser.asks_about(user_code);
        document.expect(gateway, &path, &ask, 200).await;
        document.expect(gateway, &path, &elsewhere(ask), 403).await;
    }
    for (ask, status) in [(request("GET", &path), 401), (request("POST", &path), 405)] {
        document.expect(gateway, &path, &ask, status).await;
    }
    let database = &stage.database;
    let newcomer = database.account("new@example.com", "New").await;
    database.set_account_status(newcomer, "uninitialized").await;
    let ask = Browser::of(newcomer).asks_about(&login.user_code);
    document.expect(gateway, &path, &ask, 400).await;
}

/// Answers of the person's side.
async fn decisions(document: &mut Document, stage: &Stage, browser: &Browser) {
    let gateway = &stage.gateway;
    for endpoint in ["approve", "deny"] {
        let path = device(endpoint);
        let login = Login::begin(gateway, endpoint).await;
        let decide = browser.posts(&path, &login.user_code);
        document.expect(gateway, &path, &decide, 200).await;
        document.expect(gateway, &path, &decide, 409).await;
        let unknown = browser.posts(&path, "ABCD-3456");
        document.expect(gateway, &path, &unknown, 404).await;
        let empty = browser.posts(&path, "");
        document.expect(gateway, &path, &empty, 400).await;
        let nobody = request("POST", &path).json(&json!({"user_code": "ABCD-3456"}));
        document.expect(gateway, &path, &nobody, 401).await;
        document
            .expect(gateway, &path, &large(request("POST", &path)), 413)
            .await;
        document
            .expect(gateway, &path, &request("GET", &path), 405)
            .await;
    }
}

/// Answers to a token.
async fn accounts(document: &mut Document, stage: &Stage) {
    let gateway = &stage.gateway;
    let own = format!("{SESSIONS}/self");
    let nobodys = format!("{SESSIONS}/{}", uuid::Uuid::new_v4());
    let rows = [
        ("GET", ACCOUNT, ACCOUNT),
        ("GET", SESSIONS, SESSIONS),
        ("DELETE", own.as_str(), own.as_str()),
        ("DELETE", SESSION, nobodys.as_str()),
    ];
    for (method, template, path) in rows {
        document
            .expect(gateway, template, &request(method, path), 401)
            .await;
        document
            .expect(gateway, template, &request("PUT", path), 405)
            .await;
    }
    let account = |method, path: &str| request(method, path).bearer(&stage.account.token);
    let external = |method, path: &str| request(method, path).bearer(&stage.external.token);
    for path in [ACCOUNT, SESSIONS] {
        document
            .expect(gateway, path, &account("GET", path), 200)
            .await;
        document
            .expect(gateway, path, &external("GET", path), 200)
            .await;
    }
    let out_of_range = account("GET", &format!("{SESSIONS}?page=0&colour=blue"));
    document.expect(gateway, SESSIONS, &out_of_range, 422).await;
    document
        .expect(gateway, SESSION, &account("DELETE", &nobodys), 404)
        .await;
    document
        .expect(gateway, &own, &account("DELETE", &own), 200)
        .await;
    let last = format!("{SESSIONS}/{}", stage.external.id);
    document
        .expect(gateway, SESSION, &external("DELETE", &last), 200)
        .await;
}

/// Answers to everybody who has had enough.
async fn limits(document: &mut Document) {
    let stage = Stage::with(|gateway| {
        ["device_code", "lookup", "approve", "account"]
            .iter()
            .fold(gateway, |gateway, limit| {
                gateway.set(&format!("rate_limits.{limit}"), "\"1/1h\"")
            })
            // Enough to meet the limit of the account first.
            .set("rate_limits.bearer", "\"2/1h\"")
    })
    .await;
    stage.database.dify_setup().await;
    // Whether a person approves or denies is one limit, of one account; so each has its own.
    let denier = stage.database.account("eve@example.com", "Eve").await;
    let (approver, denier) = (Browser::of(stage.account_id), Browser::of(denier));
    let own = format!("{SESSIONS}/self");
    let id = format!("{SESSIONS}/{}", stage.external.id);
    let bearer = |method, path: &str| request(method, path).bearer(&stage.account.token);
    let rows = [
        (device("code"), request("POST", &device("code"))),
        (device("lookup"), request("GET", &device("lookup"))),
        (
            device("approve"),
            approver.posts(&device("approve"), "ABCD-3456"),
        ),
        (device("deny"), denier.posts(&device("deny"), "ABCD-3456")),
        (device("request"), approver.asks_about("ABCD-3456")),
        (
            ACCOUNT.to_owned(),
            request("GET", ACCOUNT).bearer(&stage.account.token),
        ),
        (SESSIONS.to_owned(), bearer("GET", SESSIONS)),
        (own.clone(), bearer("DELETE", &own)),
        (SESSION.to_owned(), bearer("DELETE", &id)),
    ];
    for (template, ask) in rows {
        ask.send(stage.gateway.addr()).await;
        document.expect(&stage.gateway, &template, &ask, 429).await;
    }
}

/// Answers while there is no store.
async fn outages(document: &mut Document, stage: &Stage, browser: &Browser) {
    let gateway = Gateway::builder().start().await;
    let good = json!({"client_id": "difyctl", "device_label": "x"});
    let login = Login {
        device_code: format!("dc_{}", "x".repeat(32)),
        user_code: "ABCD-3456".to_owned(),
    };
    let own = format!("{SESSIONS}/self");
    let id = format!("{SESSIONS}/{}", stage.external.id);
    let bearer = |method, path: &str| request(method, path).bearer(&stage.external.token);
    let rows = [
        (device("code"), request("POST", &device("code")).json(&good)),
        (device("token"), login.poll()),
        (device("lookup"), request("GET", &device("lookup"))),
        (
            device("approve"),
            browser.posts(&device("approve"), &login.user_code),
        ),
        (
            device("deny"),
            browser.posts(&device("deny"), &login.user_code),
        ),
        (device("request"), browser.asks_about(&login.user_code)),
        (ACCOUNT.to_owned(), bearer("GET", ACCOUNT)),
        (SESSIONS.to_owned(), bearer("GET", SESSIONS)),
        (own.clone(), bearer("DELETE", &own)),
        (SESSION.to_owned(), bearer("DELETE", &id)),
    ];
    for (template, ask) in rows {
        document.expect(&gateway, &template, &ask, 503).await;
    }
    document
        .expect_of_admin(&gateway, "/readyz", &request("GET", "/readyz"), 503)
        .await;
}

async fn admin(document: &mut Document, gateway: &Gateway) {
    assert_eventually!(
        request("GET", "/readyz")
            .send(gateway.admin_addr())
            .await
            .status
            == 200,
        "the gateway is ready"
    );
    for path in ["/", "/status.json", "/livez", "/readyz", "/metrics"] {
        let ask = |method| request(method, path).header("Host", "localhost");
        for (ask, status) in [(ask("GET"), 200), (ask("POST"), 405)] {
            document.expect_of_admin(gateway, path, &ask, status).await;
        }
    }
    for path in ["/", "/status.json"] {
        let rebound = request("GET", path).header("Host", "rebound.example");
        document.expect_of_admin(gateway, path, &rebound, 421).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_the_gateway_agree() {
    let stage = Stage::with(|gateway| gateway.set("rate_limits.approve", "\"1000/1h\"")).await;
    stage.database.dify_setup().await;
    let browser = Browser::of(stage.account_id);
    let mut document = Document::read();

    devices(&mut document, &stage, &browser).await;
    inspection(&mut document, &stage, &browser).await;
    decisions(&mut document, &stage, &browser).await;
    outages(&mut document, &stage, &browser).await;
    limits(&mut document).await;
    admin(&mut document, &stage.gateway).await;
    page::answers(&mut document, &stage.gateway).await;
    sso::answers(&mut document).await;
    sso::absence(&mut document, &stage.gateway).await;
    sso::limits(&mut document).await;
    sso::outages(&mut document).await;
    accounts(&mut document, &stage).await;

    assert_eq!(document.never_answered(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_the_same_endpoint() {
    // What does not exist at this moment has no methods either.
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let document = Document::read();
    let aliases = document.aliases();
    assert_eq!(aliases.len(), 11);

    for (path, alias) in aliases {
        let options = async |path: &str| {
            let answer = request("OPTIONS", path).send(stage.gateway.addr()).await;
            let allow = answer.header("allow").map(ToOwned::to_owned);
            (
                answer.status,
                allow.expect("a local endpoint says what it allows"),
            )
        };
        assert_eq!(options(&alias).await, options(&path).await, "{alias}");
    }
}
