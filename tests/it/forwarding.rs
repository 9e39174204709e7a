//! What the upstream gets to see of a request, and the client of its answer
//! (`contract/surfaces.md`, "Forwarding").

mod identity;
mod origin;
mod response;

use crate::support::{Behaviour, RecordedRequest, RequestBuilder, Stage, request};

const APPS: &str = "/openapi/v1/apps";

/// Sends a request and returns what the upstream got.
async fn forwarded(stage: &Stage, request: &RequestBuilder) -> RecordedRequest {
    let response = request.send(stage.gateway.addr()).await;
    assert_eq!(response.status, 200, "{request:?} got {response:?}");
    let mut seen = stage.upstream.take_requests();
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen.remove(0)
}

/// A request to a bearer row that is let through.
fn guarded(stage: &Stage) -> RequestBuilder {
    request("GET", APPS).bearer(&stage.account.token)
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_is_kept_by_default() {
    let stage = Stage::set().await;

    let seen = forwarded(&stage, &guarded(&stage)).await;

    assert_eq!(
        seen.header_values("authorization"),
        [stage.account.bearer()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_is_stripped_from_checked_requests_where_configured() {
    let stage = Stage::with(|gateway| gateway.set("forward.authorization", "\"strip\"")).await;

    let seen = forwarded(&stage, &guarded(&stage)).await;

    assert_eq!(seen.header("authorization"), None);
    assert!(!seen.head_text().contains(&stage.account.token));
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_is_stripped_where_options_passes_a_guard_too() {
    let rule = "[[routes]]\nmatch = \"/v1/secret/*\"\npolicy = \"bearer\"";
    let stage = Stage::with(|gateway| {
        gateway
            .set("forward.authorization", "\"strip\"")
            .config(rule)
    })
    .await;

    for path in [APPS, "/v1/secret/x"] {
        let options = request("OPTIONS", path).bearer(&stage.account.token);
        let seen = forwarded(&stage, &options).await;

        assert_eq!(seen.header("authorization"), None, "{path}");
        assert!(!seen.head_text().contains(&stage.account.token), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_stays_on_pass_routes_where_it_is_stripped_from_checked_ones() {
    let stage = Stage::with(|gateway| gateway.set("forward.authorization", "\"strip\"")).await;

    let seen = forwarded(&stage, &request("GET", "/v1/info").bearer("app-key")).await;

    assert_eq!(seen.header("authorization"), Some("Bearer app-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn path_and_query_are_forwarded_to_the_byte() {
    let stage = Stage::set().await;
    let targets = [
        "/files/a%20b/%C3%A9?q=%2F..%2f&x=a+b&&=",
        "//files//a///b",
        "/files/a;b=c?d;e",
        "/files/%61%2D~!$&'()*+,=:@",
        "/files/?",
        "/files?a=../b&c=%00",
        "/files?a=http://x/y?z",
        "/files/%25x",
    ];

    for target in targets {
        let seen = forwarded(&stage, &request("GET", target)).await;
        assert_eq!(seen.request_line, format!("GET {target} HTTP/1.1"));
    }
    let target = "/openapi//v1/%61pps?a=%2e%2e";
    let request = request("GET", target).bearer(&stage.account.token);
    assert_eq!(forwarded(&stage, &request).await.target(), target);
}

#[tokio::test(flavor = "multi_thread")]
async fn method_and_body_are_forwarded_as_they_are() {
    let stage = Stage::set().await;

    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
        let sent = request(method, "/files/1").body("a body\0\r\n");
        let seen = forwarded(&stage, &sent).await;
        assert_eq!(seen.method(), method);
        assert_eq!(seen.body, b"a body\0\r\n");
        assert_eq!(seen.header_values("content-length"), ["9"]);
        assert_eq!(seen.header("transfer-encoding"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_clients_own_are_forwarded() {
    let stage = Stage::set().await;
    let own = [
        ("Host", "dify.example:8443"),
        ("Cookie", "a=b; c=d"),
        ("Accept", "text/event-stream"),
        ("Accept-Encoding", "gzip, br"),
        ("User-Agent", "test"),
        ("X-CSRF-Token", "csrf"),
        ("X-App-Code", "code"),
        ("X-Custom-Header", "kept"),
        ("X.Custom!Header", "kept as well"),
        ("X-Dify-Version", "1.10.0"),
    ];

    let all = own.iter().fold(
        request("GET", "/console/api/x"),
        |request, (name, value)| request.header(name, value),
    );
    let seen = forwarded(&stage, &all).await;

    for (name, value) in own {
        assert_eq!(seen.header_values(name), [value], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_with_an_underscore_is_forwarded() {
    let stage = Stage::set().await;
    let odd = ["X-Custom_Header", "_", "a_b", "REMOTE_USER", "http_host"];

    for sent in [guarded(&stage), request("GET", "/files/1")] {
        let add = |request: RequestBuilder, name: &&str| request.header(name, "sent");
        let seen = forwarded(&stage, &odd.iter().fold(sent, add)).await;
        let mut names = seen.headers.iter().map(|(name, _)| name);
        let none = !names.any(|name| name.contains('_'));
        assert!(none, "{}", seen.head_text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_headers_are_stripped() {
    let stage = Stage::set().await;
    let hops = [
        ("Connection", "keep-alive, X-Hop"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic YTpi"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ("X-Hop", "nominated"),
    ];

    for path in [APPS, "/files/1"] {
        let hopping = hops.iter().fold(guarded(&stage), |request, (name, value)| {
            request.header(name, value)
        });
        let seen = forwarded(&stage, &hopping).await;
        for (name, _) in hops {
            assert_eq!(
                seen.header(name),
                None,
                "{path}: {name}\n{}",
                seen.head_text()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_own_error_passes_through_untouched() {
    let stage = Stage::set().await;
    let headers = vec![
        ("Content-Type", "text/html; charset=x"),
        ("WWW-Authenticate", "Bearer realm=\"upstream\""),
        ("Set-Cookie", "a=1; Path=/"),
        ("Set-Cookie", "b=2; HttpOnly"),
        ("X-Request-Id", "the-upstreams-own"),
        ("Retry-After", "7"),
        ("Access-Control-Allow-Origin", "https://dify.example"),
        ("X-Dify-Version", "1.10.0"),
    ];

    for status in [302, 400, 401, 403, 404, 429, 500, 502, 503] {
        let body = format!("<p>{status}</p>").into_bytes();
        let answer = Behaviour::Answer(status, headers.clone(), body.clone());
        stage.upstream.on("*", answer);
        for sent in [guarded(&stage), request("GET", "/files/1")] {
            let response = sent.send(stage.gateway.addr()).await;
            assert_eq!((response.status, &response.body), (status, &body));
            let mut expected: Vec<(String, String)> = headers
                .iter()
                .map(|(name, value)| (name.to_lowercase(), (*value).to_owned()))
                .collect();
            expected.push(("content-length".to_owned(), body.len().to_string()));
            let mut got: Vec<(String, String)> = response
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_lowercase(), value))
                // Those of the connection to the client, which pingora writes itself.
                .filter(|(name, _)| name != "connection" && name != "date")
                .collect();
            expected.sort();
            got.sort();
            assert_eq!(got, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_body_passes_through() {
    let stage = Stage::set().await;
    stage
        .upstream
        .on("/none", Behaviour::Answer(204, Vec::new(), Vec::new()));
    stage.upstream.on(
        "/same",
        Behaviour::Answer(304, vec![("ETag", "\"x\"")], Vec::new()),
    );

    let none = stage.gateway.get("/none", None).await;
    let same = stage.gateway.get("/same", None).await;

    assert_eq!((none.status, none.body.len()), (204, 0));
    assert_eq!((same.status, same.header("etag")), (304, Some("\"x\"")));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_upstream_are_used_again() {
    // Both clients' connections belong to the one thread, and so does the upstream's.
    let stage = Stage::with(|gateway| {
        gateway
            .set("server.threads", "1")
            .set("upstream.idle_timeout", "\"60s\"")
    })
    .await;
    let first = forwarded(&stage, &guarded(&stage)).await;

    let second = forwarded(&stage, &guarded(&stage)).await;

    assert_eq!(first.connection, second.connection);
}
