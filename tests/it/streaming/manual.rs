//! An upstream that does what a test says, when it says it.

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::within;

/// An upstream to be driven by hand.
pub(super) struct Manual {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

impl Manual {
    /// The first connection that something is sent over: the gateway also opens some to see
    /// whether the upstream is there.
    pub(super) async fn accept(listener: &TcpListener) -> Self {
        within(10.0, "a request upstream", async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                if stream.read_buf(&mut read).await.unwrap() > 0 {
                    return Self { stream, read };
                }
            }
        })
        .await
    }

    /// Reads until everything so far ends with this.
    pub(super) async fn read_until(&mut self, end: &[u8]) {
        let reading = async {
            while !self.read.ends_with(end) {
                let read = self.stream.read_buf(&mut self.read).await.unwrap();
                assert_ne!(read, 0, "the connection ended");
            }
        };
        within(10.0, "a piece upstream", reading).await;
    }
}
