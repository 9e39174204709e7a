//! Paths: what Werkzeug routes to a guarded endpoint was judged as guarded, however it was spelled.

use std::net::SocketAddr;

use difygate::route::CanonicalPath;

use super::{open, targets::Targets};
use crate::support::{Database, Gateway, Matched, NewToken, RawClient, RedisSpace, Response, Wsgi};

/// How many targets are tried.
const TARGETS: usize = 3_000;

/// Connections that are kept for the next request.
struct Caller {
    addr: SocketAddr,
    client: Option<RawClient>,
}

impl Caller {
    const fn to(addr: SocketAddr) -> Self {
        Self { addr, client: None }
    }

    /// Sends one request as it is; anew where the connection has ended in between.
    async fn call(&mut self, request: &[u8]) -> Response {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => RawClient::connect(self.addr).await,
        };
        client.send(request).await;
        let response = client.read_response().await;
        let closes = response
            .header("connection")
            .is_some_and(|said| said.contains("close"));
        if !closes && response.status != 400 && response.version == "HTTP/1.1" {
            self.client = Some(client);
        }
        response
    }
}

fn bytes(method: &str, target: &[u8], token: Option<&str>) -> Vec<u8> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let token = token.unwrap_or_default();
    let rest = format!(" HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 0\r\n{token}\r\n");
    [method.as_bytes(), b" ", target, rest.as_bytes()].concat()
}

/// Parts of the guarded endpoints that no token opens.
const KEPT: [&str; 4] = [
    "/inner/",
    "/account",
    "/oauth/device",
    "/permitted-external-apps",
];

fn is_kept(endpoint: &str) -> bool {
    KEPT.iter().any(|part| endpoint.contains(part))
}

/// Whether a method may get to an endpoint without a token: OPTIONS may to those that want one.
fn may_pass(method: &str, endpoint: &str) -> bool {
    !endpoint.starts_with("guarded ") || (method == "OPTIONS" && !is_kept(endpoint))
}

/// Collapses slashes, as Werkzeug does when it matches.
fn collapsed(path: &str) -> String {
    let mut collapsed = String::new();
    for character in path.chars() {
        if character != '/' || !collapsed.ends_with('/') {
            collapsed.push(character);
        }
    }
    collapsed
}

/// What the guard let through is the path that it judged.
fn assert_as_judged(target: &[u8], matched: &Matched) {
    let shown = target.escape_ascii();
    let judged = CanonicalPath::parse(target);
    let judged = judged.unwrap_or_else(|reason| panic!("{shown} went through: {reason}"));
    assert_eq!(collapsed(&matched.path), judged.as_str(), "{shown}");
    // PEP 3333: bytes, each as the character of its number.
    let sent: String = target.iter().copied().map(char::from).collect();
    let raw = matched.environ.get("RAW_URI");
    assert_eq!(raw, Some(&sent), "the target went on as it came");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_werkzeug_routes_to_a_guarded_endpoint_is_never_let_through_without_a_token() {
    let (gateway, wsgi) = open().await;
    let (seed, mut targets) = Targets::from_environment();
    let (mut through, mut straight) = (Caller::to(gateway.addr()), Caller::to(wsgi.addr()));
    let (mut passed, mut guarded) = (0, 0);
    for _ in 0..TARGETS {
        let (method, target) = targets.next();
        let request = bytes(method, &target, None);
        let shown = target.escape_ascii();
        let response = through.call(&request).await;
        if let Some(matched) = Matched::of(&response) {
            passed += 1;
            let may = may_pass(method, &matched.endpoint);
            assert!(may, "{method} {shown} (seed {seed}): {matched:?}");
            assert_as_judged(&target, &matched);
            continue;
        }
        // What the gateway keeps to itself, it answers with one of these.
        let known = [400, 401, 404, 405, 200, 415, 422, 503].contains(&response.status);
        assert!(known, "{method} {shown} (seed {seed}): {response:?}");
        // gunicorn has no answer of the application's to what is no request line.
        if target.iter().any(|byte| b" \\#".contains(byte)) {
            continue;
        }
        let direct = straight.call(&request).await;
        let matched = Matched::of(&direct);
        guarded += usize::from(matched.is_some_and(|it| it.endpoint.starts_with("guarded ")));
    }
    // A generator that only makes what nobody routes would prove nothing.
    assert!(
        passed > TARGETS / 20 && guarded > TARGETS / 20,
        "{passed} passed, {guarded} guarded"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_lets_through_arrives_as_the_path_that_was_judged() {
    let (wsgi, database, redis) =
        tokio::join!(Wsgi::start(), Database::create(), RedisSpace::create());
    let account = database.account("ada@example.com", "Ada").await;
    let fresh = NewToken::account(account, "ada@example.com");
    let mut token = database.insert_token(&fresh).await;
    let gateway = Gateway::builder()
        .upstream(wsgi.addr())
        .database(&database)
        .redis(&redis);
    let gateway = gateway.start().await;
    let (seed, mut targets) = Targets::from_environment();
    let mut through = Caller::to(gateway.addr());
    let mut guarded = 0;
    for _ in 0..TARGETS * 2 / 3 {
        let (method, target) = targets.next();
        let shown = target.escape_ascii();
        let response = through
            .call(&bytes(method, &target, Some(&token.token)))
            .await;
        let Some(matched) = Matched::of(&response) else {
            assert_ne!(response.status, 500, "{method} {shown} (seed {seed})");
            // It may have ended its own session.
            if method == "DELETE" && response.status < 300 {
                token = database.insert_token(&fresh).await;
            }
            continue;
        };
        assert_as_judged(&target, &matched);
        let endpoint = &matched.endpoint;
        let is_guarded = endpoint.starts_with("guarded ");
        assert!(
            !(is_guarded && is_kept(endpoint)),
            "{method} {shown} (seed {seed}): {endpoint}"
        );
        guarded += usize::from(is_guarded);
    }
    assert!(guarded > TARGETS / 60, "{guarded} guarded");
}

/// Neither folds case: what is spelled otherwise is another path for the one that judges and for the
/// one that routes.
#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_path_in_another_case_is_nothing_to_werkzeug() {
    let (gateway, _wsgi) = open().await;
    let mut caller = Caller::to(gateway.addr());
    for target in [
        "/OpenAPI/v1/apps",
        "/openapi/V1/apps",
        "/OPENAPI/V1/APPS",
        "/Inner/api/x",
        "/inner/API/x",
        "/%49nner/%41pi/x",
        "/%4fpenapi/%561/apps",
    ] {
        let response = caller.call(&bytes("GET", target.as_bytes(), None)).await;
        let matched = Matched::of(&response).unwrap_or_else(|| panic!("{target}: {response:?}"));
        assert_eq!(matched.endpoint, "404", "{target}");
        assert_as_judged(target.as_bytes(), &matched);
    }
    for target in [
        "/openapi/v1/APPS",
        "/%6fpenapi/%76%31/Apps",
        "/%69nner/%61pi/X",
    ] {
        let response = caller.call(&bytes("GET", target.as_bytes(), None)).await;
        assert!(Matched::of(&response).is_none(), "{target}");
        assert!(
            [401, 404].contains(&response.status),
            "{target}: {response:?}"
        );
    }
}
