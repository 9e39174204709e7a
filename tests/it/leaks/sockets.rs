//! What a WebSocket carries, and the request that opened it.

use super::{Secrets, all_that_is_printed};
use crate::support::{Behaviour, SECRET_KEY, Stage, request};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_websocket_carries_is_ever_printed() {
    let mut stage = Stage::with(|gateway| {
        gateway
            .set("log.level", "\"trace\"")
            .set("log.access", "\"all\"")
    })
    .await;
    stage.upstream.on("/socket.io/", Behaviour::WebSocketEcho);
    let opens = request(
        "GET",
        "/socket.io/?EIO=4&transport=websocket&token=hidden-query",
    )
    .bearer(&stage.account.token)
    .header("Cookie", "access_token=hidden-cookie")
    .header("Connection", "Upgrade")
    .header("Upgrade", "websocket")
    .header("Sec-WebSocket-Version", "13")
    .header("Sec-WebSocket-Key", "aGlkZGVuLWtleS0wMTIzNA==");

    // One that its client ends, and one that is cut off.
    for whole in [true, false] {
        let mut client = stage.gateway.client().await;
        client.send(&opens.to_bytes()).await;
        assert_eq!(client.read_head().await.status, 101);
        for sent in [&b"\x81\x0chidden-frame"[..], b"hidden-no-frame\r\n\r\n"] {
            client.send(sent).await;
            assert_eq!(client.read_exact(sent.len()).await, sent);
        }
        if whole {
            client.finish_sending().await;
        } else {
            client.reset();
        }
        stage.upstream.wait_for_disconnect().await;
    }
    let [printed, metrics] = all_that_is_printed(&mut stage.gateway).await;

    assert_eq!(printed.matches("/socket.io/").count(), 2, "{printed}");
    let mut secrets = Secrets::of([
        SECRET_KEY,
        "hidden-query",
        "hidden-cookie",
        "aGlkZGVuLWtleS0wMTIzNA==",
        "hidden-frame",
        "hidden-no-frame",
    ]);
    secrets.add_token(&stage.account.token);
    secrets.are_nowhere_in(&[("log", &printed), ("metrics", &metrics)]);
}
