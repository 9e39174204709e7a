//! Headers: what the application finds in its `environ` is what the gateway says, whatever the
//! client has said under whatever spelling.

use std::net::SocketAddr;

use crate::support::{Gateway, Matched, RawClient, Response, Stage, Wsgi, spellings};

use super::open;

/// What only the gateway may say.
const OURS: [&str; 19] = [
    "X-Dify-Subject-Type",
    "X-Dify-Subject-Email",
    "X-Dify-Subject-Issuer",
    "X-Dify-Account-Id",
    "X-Dify-Client-Id",
    "X-Dify-Token-Id",
    "X-Dify-Scopes",
    "X-Dify-Identity",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "X-Real-IP",
    "CF-Connecting-IP",
    "Forwarded",
    "X-Forwarded-Ssl",
    "X-Forwarded-Protocol",
    "X-Script-Name",
    "X-Original-URL",
    "X-Rewrite-URL",
    "Remote-User",
];

/// What ends at a gateway (RFC 9110 section 11.7.2), and is no application's.
const FOR_A_PROXY: &str = "Proxy-Authorization";

/// The variable that a field becomes where every mark is folded.
fn variable(name: &str) -> String {
    format!("HTTP_{}", name.to_uppercase().replace(['-', '.'], "_"))
}

async fn send(gateway: &Gateway, head: &str) -> Matched {
    let mut client = RawClient::connect(gateway.addr()).await;
    client.send(head.as_bytes()).await;
    let response = client.read_response().await;
    let matched = Matched::of(&response);
    let matched = matched.unwrap_or_else(|| panic!("{head:?} got {response:?}"));
    // Of the gateway's own making, one and always.
    let ids = found(&matched, "X-Request-Id");
    let own = |id: &&str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(ids.len() == 1 && ids.iter().all(own), "{head:?}: {ids:?}");
    matched
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n{fields}\r\n")
}

/// The values that the application found under any spelling of a name.
fn found<'a>(matched: &'a Matched, name: &str) -> Vec<&'a str> {
    let wanted = variable(name);
    let all = matched.environ.iter();
    let same = all.filter(|(key, _)| key.replace('.', "_") == wanted);
    same.map(|(_, value)| value.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_what_is_ours_reaches_the_application() {
    let (gateway, _wsgi) = open().await;
    for name in OURS.into_iter().chain([FOR_A_PROXY]) {
        for spelling in spellings(name) {
            let fields = format!("{spelling}: forged\r\n{spelling}: forged again\r\n");
            let matched = send(&gateway, &get("/files/a", &fields)).await;
            let values = found(&matched, name);
            let own = if name == "X-Forwarded-Host" {
                vec!["gateway.test"]
            } else {
                vec![]
            };
            assert_eq!(values, own, "{spelling}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn origin_and_request_id_are_the_gateways_under_every_spelling() {
    let (gateway, _wsgi) = open().await;
    for name in ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Port"] {
        for spelling in spellings(name) {
            let fields = format!("{spelling}: forged\r\nX-Other: kept\r\nX_Request.Id: forged\r\n");
            let matched = send(&gateway, &get("/files/a", &fields)).await;
            let own = match name {
                "X-Forwarded-For" => "127.0.0.1",
                "X-Forwarded-Proto" => "http",
                _ => "80",
            };
            assert_eq!(found(&matched, name), [own], "{spelling}");
            assert_eq!(found(&matched, "X-Other"), ["kept"], "{spelling}");
        }
    }
    for spelling in spellings("X-Request-Id") {
        send(
            &gateway,
            &get("/files/a", &format!("{spelling}: forged\r\n")),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_connection_names_stays_where_it_must() {
    let (gateway, _wsgi) = open().await;
    let kept = "Authorization: Bearer app-1\r\nCookie: a=b\r\nX-CSRF-Token: c\r\nX-App-Code: d\r\n";
    for named in [
        "authorization, cookie, x-csrf-token, x-app-code, x-forwarded-for, x-request-id",
        "close, Authorization,Cookie , X-CSRF-TOKEN,x-app-code,X-Forwarded-For,X-Request-Id",
        "authorization\r\nConnection: cookie, x-forwarded-for\r\nConnection: x-request-id",
        "content-length, host, x_forwarded_for, x.request.id",
    ] {
        let fields = format!("Connection: {named}\r\n{kept}");
        let matched = send(&gateway, &get("/v1/info", &fields)).await;
        for (name, value) in [
            ("Authorization", "Bearer app-1"),
            ("Cookie", "a=b"),
            ("X-CSRF-Token", "c"),
            ("X-App-Code", "d"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("Host", "gateway.test"),
        ] {
            assert_eq!(found(&matched, name), [value], "{name}, named by {named:?}");
        }
    }
}

/// gunicorn believes `SCRIPT_NAME` of a peer that it trusts, as it does the loopback, and has the
/// application route what is left of the path.
#[tokio::test(flavor = "multi_thread")]
async fn no_header_moves_the_path_that_was_judged() {
    let wsgi = Wsgi::start().await;
    let strangers = Gateway::builder().upstream(wsgi.addr());
    let proxys = Gateway::builder()
        .upstream(wsgi.addr())
        .set("server.trusted_proxies", r#"["127.0.0.1/32"]"#);
    for gateway in [strangers.start().await, proxys.start().await] {
        for (path, prefix, rest, endpoint) in [
            (
                "/files/inner/api/x",
                "/files",
                "/inner/api/x",
                "open /files/<path:name>",
            ),
            ("/x/openapi/v1/apps", "/x", "/openapi/v1/apps", "404"),
        ] {
            for (name, value) in [("Script-Name", prefix), ("Path-Info", rest)] {
                for spelling in spellings(name) {
                    let fields = format!("{spelling}: {value}\r\n");
                    let matched = send(&gateway, &get(path, &fields)).await;
                    assert_eq!(matched.endpoint, endpoint, "{path} with {spelling}");
                    assert_eq!(matched.path, path, "{spelling}");
                    assert_eq!(found(&matched, name), Vec::<&str>::new(), "{spelling}");
                    let mounted = matched.environ.get("SCRIPT_NAME").map(String::as_str);
                    assert_eq!(mounted, Some(""), "{spelling}");
                }
            }
        }
    }
}

/// A request with this whole value of `Authorization`, which need be no text.
fn authorized(value: &[u8]) -> Vec<u8> {
    let before = "GET /v1/info HTTP/1.1\r\nHost: gateway.test\r\nAuthorization:";
    [before.as_bytes(), value, b"\r\n\r\n"].concat()
}

async fn answer(server: SocketAddr, request: &[u8]) -> Response {
    let mut client = RawClient::connect(server).await;
    client.send(request).await;
    client.read_response().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_white_space_hides_a_users_token_from_the_guard() {
    let (gateway, wsgi) = open().await;
    let token = format!("dfoa_{}", "A".repeat(43));
    // The last two are no text by themselves: what a server takes for characters of Latin-1.
    let spaces = [&b" "[..], b"\t", b"  \t ", b"\x85", b" \xa0"];
    for scheme in [&b"Bearer"[..], b"bearer", b"BeArEr"] {
        for (before, between) in spaces
            .iter()
            .flat_map(|a| spaces.iter().map(move |b| (a, b)))
        {
            let spelt = |credentials: &[u8]| {
                authorized(&[before, scheme, between, credentials, before].concat())
            };
            let request = spelt(token.as_bytes());
            let shown = request.escape_ascii();
            let read = Matched::of(&answer(wsgi.addr(), &request).await).unwrap();
            let found = read.bearer.iter().any(|found| found.trim() == token);
            assert!(found, "{shown}: {read:?}");

            let refused = answer(gateway.addr(), &request).await;
            assert_eq!(refused.status, 401, "{shown}: {refused:?}");
            let key = answer(gateway.addr(), &spelt(b"app-1")).await;
            assert!(Matched::of(&key).is_some(), "{shown}: {key:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_and_content_have_one_spelling() {
    let (gateway, _wsgi) = open().await;
    for shadow in [
        "Content_Length: 9",
        "Content.Length: 9",
        "Transfer_Encoding: chunked",
        "Transfer.Encoding: chunked",
        "Content_Type: text/evil",
        "Content.Type: text/evil",
    ] {
        let head = format!(
            "POST /files/a HTTP/1.1\r\nHost: gateway.test\r\nContent-Type: text/plain\r\n{shadow}\r\n\
             Content-Length: 5\r\n\r\nhello"
        );
        let matched = send(&gateway, &head).await;
        assert_eq!(matched.length, 5, "{shadow}");
        let of = |name: &str| matched.environ.get(name).map(String::as_str);
        assert_eq!(
            (of("CONTENT_LENGTH"), of("CONTENT_TYPE")),
            (Some("5"), Some("text/plain"))
        );
        for name in ["Transfer-Encoding", "Content-Type", "Content-Length"] {
            assert_eq!(found(&matched, name), Vec::<&str>::new(), "{shadow}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dify_decides_by_has_one_spelling() {
    let (gateway, _wsgi) = open().await;
    for name in ["X-CSRF-Token", "X-App-Code", "X-App-Passport"] {
        let others = spellings(name).into_iter();
        for other in others.filter(|other| !other.eq_ignore_ascii_case(name)) {
            let fields = format!("{other}: forged\r\n{name}: own\r\n{other}: forged\r\n");
            let matched = send(&gateway, &get("/console/api/x", &fields)).await;
            assert_eq!(found(&matched, name), ["own"], "{other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_the_tokens_whatever_the_client_says_beside_it() {
    let wsgi = Wsgi::start().await;
    let url = format!("\"http://{}\"", wsgi.addr());
    let stage = Stage::with(|gateway| {
        gateway
            .set("upstream.url", &url)
            .set("forward.identity", "\"headers\"")
    });
    let stage = stage.await;
    let account = stage.account_id.to_string();
    for spelling in [
        "X-Dify-Account-Id",
        "x_dify_account_id",
        "X.Dify.Account.Id",
        "X-Dify_Account-Id",
    ] {
        let token = &stage.account.token;
        let fields = format!(
            "{spelling}: somebody\r\nX-Dify-Scopes: all\r\nConnection: x-dify-account-id, x-dify-scopes\r\n\
             Authorization: Bearer {token}\r\n"
        );
        let matched = send(&stage.gateway, &get("/openapi/v1/apps", &fields)).await;
        assert_eq!(matched.endpoint, "guarded /openapi/v1/apps");
        assert_eq!(
            found(&matched, "X-Dify-Account-Id"),
            [account.as_str()],
            "{spelling}"
        );
        assert_eq!(found(&matched, "X-Dify-Scopes"), ["full"], "{spelling}");
    }
}
