//! What comes over HTTP/2, well made and badly: the codec reads heads before the gateway does.

use super::{Secrets, all_that_is_printed};
use crate::{
    http2::{
        self,
        frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, frame, get},
    },
    support::SECRET_KEY,
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_what_comes_over_http_2_is_ever_printed() {
    let mut stage = http2::stage(|gateway| {
        gateway
            .set("log.level", "\"trace\"")
            .set("log.access", "\"all\"")
    })
    .await;
    let account = format!("Bearer {}", stage.account.token);
    let external = format!("Bearer {}", stage.external.token);
    let unknown = "Bearer dfoa_hidden-unknown-token";
    let cookie = ("cookie", "access_token=hidden-cookie");
    let path = "/openapi/v1/apps?code=hidden-query";

    let mut client = Http2::begin(stage.gateway.addr(), b"").await;
    for (stream, bearer) in [(1, &*account), (3, &*external), (5, unknown)] {
        let head = get(path, &[("authorization", bearer), cookie]);
        client
            .send(&frame(HEADERS, END_HEADERS, stream, &head))
            .await;
        client
            .send(&frame(DATA, END_STREAM, stream, b"hidden-body"))
            .await;
        assert!(client.first(&[HEADERS]).await.is_some());
    }
    drop(client);
    // Each ends its stream or its connection, and libraries may say why.
    for bad in [
        ("Hidden-Name", "hidden-in-an-upper-case-name"),
        ("connection", "hidden-option"),
        ("x-hidden", "hidden-control\n"),
        (":protocol", "hidden-protocol"),
        (":path", "/hidden-second-path"),
        (":authority", "hidden-user@host"),
        ("content-length", "hidden-length"),
        ("te", "hidden-coding"),
    ] {
        let mut client = Http2::begin(stage.gateway.addr(), b"").await;
        let head = get(path, &[("authorization", &account), cookie, bad]);
        client
            .send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head))
            .await;
        // What may not come in the middle of a block, with the rest of it.
        let head = get(path, &[("authorization", &account), cookie]);
        let _ = client.try_send(&frame(HEADERS, 0, 3, &head)).await;
        let _ = client.try_send(&frame(DATA, 0, 1, b"hidden-body")).await;
        let _ = client
            .try_send(&frame(CONTINUATION, END_HEADERS, 3, b"hidden-block"))
            .await;
        assert!(client.is_closed(std::time::Duration::from_secs(20)).await);
    }
    let [printed, metrics] = all_that_is_printed(&mut stage.gateway).await;

    for reason in ["forwarded", "wrong_surface", "invalid_token"] {
        assert!(printed.contains(reason), "{reason}: {printed}");
    }
    let mut secrets = Secrets::of([
        SECRET_KEY,
        "hidden-query",
        "hidden-cookie",
        "hidden-body",
        "hidden-in-an-upper-case-name",
        "hidden-option",
        "hidden-control",
        "hidden-protocol",
        "hidden-second-path",
        "hidden-user",
        "hidden-length",
        "hidden-coding",
        "hidden-block",
        "hidden-unknown-token",
    ]);
    for token in [&*stage.account.token, &*stage.external.token, &unknown[7..]] {
        secrets.add_token(token);
    }
    secrets.are_nowhere_in(&[("log", &printed), ("metrics", &metrics)]);
}
