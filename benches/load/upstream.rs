//! The server behind both proxies: as cheap as one can be, so that the proxies are what is
//! measured. It answers every request without a body in the same 60 bytes.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::processes;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 60\r\n\
    \r\n\
    {\"data\":[],\"has_more\":false,\"limit\":20,\"page\":1,\"total\":123}";

/// Serves until the bench ends.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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
    loop {
        match connection.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            read => filled += read,
        }
        // No request is sent before the last one's response has come.
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            connection.write_all(RESPONSE).await?;
        }
    }
}
