//! What the client gets to see of the upstream's answer.

use super::{Behaviour, Stage};
use crate::support::{Response, assert_eventually};

/// What the client gets of an answer with this head and body.
async fn answered(stage: &Stage, answer: &str) -> Response {
    let answer = Behaviour::Raw(answer.as_bytes().to_vec());
    stage.upstream.on("/files/1", answer);
    stage.gateway.get("/files/1", None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_the_upstreams_connection_stays_there() {
    let stage = Stage::set().await;

    for version in ["1.0", "1.1"] {
        let head = format!(
            "HTTP/{version} 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
             TE: trailers\r\nTrailer: X-Sum\r\nX-Hop: 1\r\nX-End: 2\r\nSet-Cookie: a=b\r\n\
             Set-Cookie: c=d\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"
        );
        let answer = answered(&stage, &head).await;

        assert_eq!((answer.status, &*answer.text()), (200, "ok"));
        for name in [
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "upgrade",
            "te",
            "trailer",
            "x-hop",
        ] {
            assert_eq!(answer.header(name), None, "{name} of {version}: {answer:?}");
        }
        assert_eq!(answer.header("x-end"), Some("2"));
        assert_eq!(answer.header_values("set-cookie"), ["a=b", "c=d"]);
        assert_eq!(answer.header_values("content-length"), ["2"]);
        assert_eq!(answer.version, "HTTP/1.1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_204_that_announces_a_body_is_no_answer() {
    let stage = Stage::set().await;

    for framing in ["Content-Length: 42", "Transfer-Encoding: chunked"] {
        let late = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
        let head = format!("HTTP/1.1 204 No Content\r\n{framing}\r\n\r\n{late}");
        assert_eq!(answered(&stage, &head).await.status, 502, "{framing}");
    }
    let none = answered(
        &stage,
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(none.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_no_utf_8_arrives_at_any_level_of_the_log() {
    for level in ["\"info\"", "\"trace\""] {
        let stage = Stage::with(|gateway| gateway.set("log.level", level)).await;
        let latin = b"HTTP/1.1 200 OK\r\nX-Name: zo\xeb\r\nContent-Length: 2\r\n\r\nok";
        stage
            .upstream
            .on("/files/1", Behaviour::Raw(latin.to_vec()));

        for time in ["at first", "after a reload"] {
            let answer = stage.gateway.get("/files/1", None).await;
            let said = (answer.status, answer.text());
            assert_eq!(said, (200, "ok".to_owned()), "{level} {time}");
            let is_there = answer.head.windows(3).any(|it| it == b"zo\xeb");
            assert!(is_there, "{level} {time}: {answer:?}");
            stage.gateway.reload();
            assert_eventually!(
                stage.gateway.log_text().contains("read again"),
                "the configuration is read"
            );
        }
    }
}
