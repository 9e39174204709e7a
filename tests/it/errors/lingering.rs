//! A client that is still sending when it is refused: it gets its answer, and has some time to read
//! it in; but not for ever.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{APPS, Stage};
use crate::support::{Certificates, Gateway, request, within};

/// Longer than a peer that means to close takes.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// What comes along with a head: more than the gateway reads of a body that it does not want.
const EARLY: usize = 100_000;

/// What is sent after the answer, in so many bytes at a time.
static LATE: [[u8; 10_000]; 40] = [[b'x'; 10_000]; 40];

/// A client has a second to go on; on a machine that stands still for as long, another may have more
/// luck. Without that second none has.
const CLIENTS: usize = 5;

/// Asserts that a client is answered while it sends, and is not cut off at once.
async fn is_answered_while_it_sends(gateway: &Gateway, head: &str, status: u16) {
    for _ in 0..CLIENTS {
        let mut client = gateway.client().await;
        client.send(&begin(head)).await;
        let response = client.read_response().await;
        assert_eq!(response.status, status, "{head:?} got {response:?}");
        assert_eq!(response.header("connection"), Some("close"), "{head:?}");
        assert!(client.is_closed(CLOSES_WITHIN).await);
        // Its one thread has done with the connection before it turns to the next.
        gateway.get("/inner/api/x", None).await;
        let mut taken = 0;
        for piece in &LATE {
            taken += usize::from(client.try_send(piece).await.is_ok());
        }
        if taken == LATE.len() {
            return;
        }
    }
    panic!("{head:?}: no client could go on sending");
}

fn begin(head: &str) -> Vec<u8> {
    [head.as_bytes(), &[b'x'; EARLY]].concat()
}

/// The head of an upload.
fn upload(path: &str, framing: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_still_sends_gets_its_refusal() {
    let stage = Stage::with(|gateway| gateway.set("server.threads", "1")).await;
    let long = format!(
        "GET /x HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    for (head, status) in [
        (upload(APPS, "Content-Length: 1000000"), 401),
        (
            format!("{}f4240\r\n", upload(APPS, "Transfer-Encoding: chunked")),
            401,
        ),
        (
            upload("/openapi/v1/oauth/device/code", "Content-Length: 1000000"),
            413,
        ),
        (upload("/inner/api/x", "Content-Length: 1000000"), 404),
        ("GET /x HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400),
        (long, 431),
    ] {
        is_answered_while_it_sends(&stage.gateway, &head, status).await;
    }
    assert!(stage.upstream.take_requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_client_that_still_sends_hears_of_the_end_first() {
    let made = Certificates::make();
    let quoted = |path: std::path::PathBuf| format!("{:?}", path.to_str().unwrap());
    let (cert, key) = (quoted(made.cert("server")), quoted(made.key("server")));
    let stage = Stage::with(|gateway| {
        let gateway = gateway.set("server.threads", "1");
        let gateway = gateway.set("server.tls.cert", &cert);
        gateway.set("server.tls.key", &key)
    });
    let stage = stage.await;
    let head = upload(APPS, "Content-Length: 1000000");

    for _ in 0..CLIENTS {
        let mut client = connect_tls(&stage.gateway, &made).await;
        client.write_all(&begin(&head)).await.unwrap();
        let mut answer = Vec::new();
        // An end without a close_notify is an error.
        let read = within(10.0, "the answer", client.read_to_end(&mut answer)).await;
        read.expect("an end in good order");
        assert!(answer.starts_with(b"HTTP/1.1 401 "));
        // And the socket's end, after TLS's. What is sent from here on is never deciphered, and
        // rustls would not send anything.
        let socket = client.get_mut().0;
        let mut more = [0];
        let _ = within(10.0, "the end", socket.read(&mut more)).await;
        connect_tls(&stage.gateway, &made).await;
        let mut taken = 0;
        for piece in &LATE {
            taken += usize::from(socket.write_all(piece).await.is_ok());
        }
        if taken == LATE.len() {
            return;
        }
    }
    panic!("no client could go on sending");
}

async fn connect_tls(gateway: &Gateway, made: &Certificates) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(made.cert("ca")).unwrap();
    roots.add(authority).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(difygate::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(gateway.addr()).await.unwrap();
    let name = ServerName::try_from("gateway.test").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, socket).await.unwrap()
}

/// There is room for one: whoever holds it by sending on keeps others waiting, and not for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_stops_sending_is_let_go() {
    let stage = Stage::with(|gateway| gateway.set("server.max_connections", "1")).await;
    for head in [
        upload(APPS, "Content-Length: 1000000000000"),
        upload(APPS, "Transfer-Encoding: chunked") + "e8d4a51000\r\n",
    ] {
        let mut client = stage.gateway.client().await;
        client.send(&begin(&head)).await;
        assert_eq!(client.read_response().await.status, 401);
        let sends_on =
            tokio::spawn(async move { while client.try_send(&LATE[0]).await.is_ok() {} });

        stage.forwards(&request("GET", "/next")).await;

        sends_on.await.unwrap();
    }
}

/// Nor does it help to say nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_neither_sends_nor_leaves_is_let_go() {
    let stage = Stage::with(|gateway| gateway.set("server.max_connections", "1")).await;
    let mut client = stage.gateway.client().await;
    let head = upload(APPS, "Content-Length: 1000000");
    client.send(&begin(&head)).await;
    assert_eq!(client.read_response().await.status, 401);

    stage.forwards(&request("GET", "/next")).await;

    drop(client);
}
