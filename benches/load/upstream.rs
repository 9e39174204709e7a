//! The server behind all proxies: as cheap as one can be, so that the proxies are what is measured.
//! It answers a request without a body in as many bytes as the request asks for, or with a stream.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::processes;

/// The target of requests that are answered at once, in this many bytes.
pub(crate) fn target(bytes: usize) -> String {
    format!("/openapi/v1/apps?page=1&limit=20&bytes={bytes}")
}

/// The target of a stream.
pub(crate) const STREAM: &str = "/openapi/v1/apps/events?stream=1";

/// Between two events of a stream.
const PACE: Duration = Duration::from_millis(100);

/// Serves until the bench ends.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        // All streams may come at once.
        let listener = socket.listen(4096).unwrap();
        processes::announce(listener.local_addr().unwrap());
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // A proxy that leaves is no fault.
                let _ = answer(connection).await;
            });
        }
    });
}

async fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut buffer = [0; 8 * 1024];
    let mut filled = 0;
    let mut prepared = (0, Vec::new());
    loop {
        match connection.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            read => filled += read,
        }
        // No request is sent before the last one's response has come.
        let Some(head) = buffer[..filled].strip_suffix(b"\r\n\r\n") else {
            continue;
        };
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or(head);
        if line.windows(8).any(|part| part == b"stream=1") {
            return stream(connection).await;
        }
        let bytes = wanted(line);
        if prepared.0 != bytes {
            prepared = (bytes, response(bytes));
        }
        filled = 0;
        connection.write_all(&prepared.1).await?;
    }
}

/// How many bytes a request line asks for.
fn wanted(line: &[u8]) -> usize {
    let digits = memchr::memmem::find(line, b"bytes=").map(|at| &line[at + 6..]);
    let digits = digits.into_iter().flatten();
    digits
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
}

/// A response with a body of so many bytes, which is JSON from 60 on.
fn response(bytes: usize) -> Vec<u8> {
    let json = r#"{"data":[],"has_more":false,"limit":20,"page":1,"total":123}"#;
    let mut response = format!(
        "HTTP/1.1 200 OK\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {bytes}\r\n\
         \r\n\
         {json}"
    )
    .into_bytes();
    let surplus = bytes as isize - json.len() as isize;
    response.resize(response.len().saturating_add_signed(surplus), b' ');
    response
}

async fn stream(mut connection: TcpStream) -> std::io::Result<()> {
    let head = b"HTTP/1.1 200 OK\r\n\
        Content-Type: text/event-stream\r\n\
        Cache-Control: no-cache\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    connection.write_all(head).await?;
    // Streams that begin together must not beat together: each is a golden section further on.
    static STREAMS: AtomicU32 = AtomicU32::new(0);
    let number = STREAMS.fetch_add(1, Ordering::Relaxed);
    let offset = PACE.mul_f64(f64::from(number) * 0.618_034 % 1.0);
    let mut pace = interval_at(Instant::now() + offset, PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        pace.tick().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let event = format!(
            "data: {{\"event\":\"message\",\"seq\":{number},\"at\":{},\"answer\":\"a few words\"}}\n\n",
            now.as_nanos()
        );
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        connection.write_all(chunk.as_bytes()).await?;
    }
    Ok(())
}
