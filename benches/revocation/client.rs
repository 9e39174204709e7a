//! A connection that asks with one token again and again.

use std::{net::SocketAddr, time::Instant};

use crate::support::{RawClient, request};

const APPS: &str = "/openapi/v1/apps";

/// A keep-alive connection and the bytes of one request.
#[derive(Debug)]
pub(crate) struct Client {
    connection: RawClient,
    request: Vec<u8>,
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) sent: Instant,
    pub(crate) came: Instant,
    pub(crate) status: u16,
}

impl Client {
    pub(crate) async fn new(gateway: SocketAddr, token: &str) -> Self {
        Self {
            connection: RawClient::connect(gateway).await,
            request: request("GET", APPS).bearer(token).to_bytes(),
        }
    }

    /// Asks with another token from now on.
    pub(crate) fn take(&mut self, token: &str) {
        self.request = request("GET", APPS).bearer(token).to_bytes();
    }

    pub(crate) async fn ask(&mut self) -> Answer {
        let sent = Instant::now();
        self.connection.send(&self.request).await;
        let response = self.connection.read_response().await;
        Answer {
            sent,
            came: Instant::now(),
            status: response.status,
        }
    }
}
