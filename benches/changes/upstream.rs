//! The server behind the gateway: a short answer to everything, and one stream.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 11\r\n\
    \r\n\
    {\"ok\":true}";

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\
    \r\n";

/// Where the stream is.
pub(crate) const STREAM: &str = "/openapi/v1/apps/stream";

/// How many events it has.
pub(crate) const CHUNKS: usize = 40;

/// Pause before each.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves for as long as the runtime lives; returns where.
pub(crate) async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // A proxy that leaves is no fault.
                let _ = answer(connection).await;
            });
        }
    });
    address
}

async fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut head = Vec::new();
    loop {
        let mut piece = [0; 8 * 1024];
        match connection.read(&mut piece).await? {
            0 => return Ok(()),
            read => head.extend_from_slice(&piece[..read]),
        }
        // No request is sent before the last one's answer has come.
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        if String::from_utf8_lossy(&head).contains(STREAM) {
            connection.write_all(STREAM_HEAD).await?;
            for _ in 0..CHUNKS {
                tokio::time::sleep(PAUSE).await;
                connection.write_all(b"9\r\ndata: 1\n\n\r\n").await?;
            }
            connection.write_all(b"0\r\n\r\n").await?;
        } else {
            connection.write_all(ANSWER).await?;
        }
        head.clear();
    }
}
