//! Servers that say nothing, beside one that lets everybody in.

use std::net::{IpAddr, Ipv4Addr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};

use super::*;
use crate::{
    config::{PostgresConfig, PostgresTarget, PostgresTls},
    secret::Secret,
};

const SILENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const SPEAKING: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// `AuthenticationOk` and `ReadyForQuery`: whoever knocks is let in.
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

/// Half of it is what one of two may keep the other waiting.
const LIMIT: Duration = Duration::from_secs(2);

/// Two servers on one port.
struct Servers {
    port: u16,
    /// How often the silent one has been asked.
    asked: watch::Receiver<usize>,
}

impl Servers {
    /// Starts both. The one that speaks waits until the silent one has been asked so often.
    async fn start(patient: usize) -> Self {
        let (speaking, silent) = loop {
            let speaking = TcpListener::bind((SPEAKING, 0)).await.unwrap();
            let port = speaking.local_addr().unwrap().port();
            if let Ok(silent) = TcpListener::bind((SILENT, port)).await {
                break (speaking, silent);
            }
        };
        let port = silent.local_addr().unwrap().port();
        let (count, asked) = watch::channel(0);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((client, _)) = silent.accept().await {
                kept.push(client);
                count.send_replace(kept.len());
            }
        });
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = speaking.accept().await {
                let mut seen = seen.clone();
                tokio::spawn(async move {
                    let mut ignored = [0; 1024];
                    assert!(client.read(&mut ignored).await.unwrap() > 0);
                    seen.wait_for(|asked| *asked >= patient).await.unwrap();
                    client.write_all(WELCOME).await.unwrap();
                    // Until the other side closes.
                    while client.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
                });
            }
        });
        Self { port, asked }
    }

    /// What opens connections to these hosts.
    fn opening(&self, hosts: [IpAddr; 2]) -> Opening {
        let port = self.port;
        let [first, second] = hosts;
        let url = format!("postgres://dify@{first}:{port},{second}:{port}/dify");
        let config = PostgresConfig {
            target: PostgresTarget::Url(Secret::new(url)),
            tls: PostgresTls::default(),
            pool_size: 1,
            timeout: LIMIT,
        };
        let target = Target::new(&config).unwrap();
        Opening::new(target, Connector::new(&config.tls).unwrap(), LIMIT)
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }
}

#[tokio::test]
async fn a_silent_server_is_passed_over_and_then_comes_last() {
    let servers = Servers::start(0).await;
    let opening = servers.opening([SILENT, SPEAKING]);

    let first = opening.create().await.unwrap();
    assert_eq!(servers.asked(), 1, "in the order of the configuration");
    let second = opening.create().await.unwrap();

    assert_eq!(servers.asked(), 1, "nobody waits for it again");
    assert!(!first.is_closed() && !second.is_closed());
}

#[tokio::test]
async fn so_is_a_silent_address_of_a_name() {
    let servers = Servers::start(0).await;
    let opening = servers.opening([SILENT, SPEAKING]);
    let addresses = || vec![(0, Some(SILENT)), (0, Some(SPEAKING))];

    for _ in 0..2 {
        let end = Instant::now() + LIMIT;
        let dialled = opening.first(addresses(), end, end, |address, _| opening.dial(address));
        assert!(dialled.await.is_ok());
        assert_eq!(servers.asked(), 1);
    }
}

#[tokio::test]
async fn a_slow_server_is_waited_for_while_the_next_one_is_asked() {
    let servers = Servers::start(1).await;
    let opening = servers.opening([SPEAKING, SILENT]);

    assert!(opening.create().await.is_ok());
    assert_eq!(servers.asked(), 1);
}

#[tokio::test]
async fn what_a_server_said_tells_more_than_silence() {
    let servers = Servers::start(0).await;
    // Nobody listens there.
    let nobody = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
    let opening = servers.opening([nobody, SILENT]);

    let failure = opening.create().await.err();

    assert!(matches!(failure, Some(Unopened::Refused(_))), "{failure:?}");
}
