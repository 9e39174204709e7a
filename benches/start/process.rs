//! A gateway's process, from its `exec` to its first answers.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use crate::connection::request;

/// Pause before the next attempt to connect: far below what is measured.
const AGAIN: Duration = Duration::from_micros(500);

/// When a start counts as failed.
const HANGING: Duration = Duration::from_secs(20);

/// How long a start took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    /// Until `/readyz` has answered 200.
    pub(crate) ready: Duration,
    /// Until a guarded request has been answered 200.
    pub(crate) served: Duration,
}

/// Where a gateway is asked, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) token: String,
    /// Whoever speaks TLS with the public listener believes what is in here.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a gateway with this configuration and asks at both its doors from the first moment.
pub(crate) fn start(config: &Path, door: &Door) -> Started {
    let begun = Instant::now();
    let process = Killed(
        gateway()
            .args(["serve", "--config"])
            .arg(config)
            .spawn()
            .unwrap(),
    );
    let ready = {
        let admin = door.admin;
        thread::spawn(move || until_ready(admin, begun))
    };
    let served = until_served(door, begun);
    let ready = ready.join().unwrap();
    drop(process);
    Started { ready, served }
}

/// Has the program say its version: what a process costs before it does anything.
pub(crate) fn says_version() -> Duration {
    let begun = Instant::now();
    let mut process = gateway().arg("--version").spawn().unwrap();
    assert!(process.wait().unwrap().success(), "a version");
    begun.elapsed()
}

fn gateway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_difygate"));
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn until_ready(admin: SocketAddr, begun: Instant) -> Duration {
    let request = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    loop {
        let status = exchange(connect(admin, begun), request).unwrap_or_default();
        if status == 200 {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < HANGING, "{status} from /readyz");
        thread::sleep(AGAIN);
    }
}

fn until_served(door: &Door, begun: Instant) -> Duration {
    let request = request("GET", "/openapi/v1/apps", &door.token);
    let stream = connect(door.public, begun);
    let status = match &door.tls {
        None => exchange(stream, &request),
        Some(tls) => {
            let name = ServerName::from(door.public.ip());
            let session = ClientConnection::new(Arc::clone(tls), name).unwrap();
            exchange(StreamOwned::new(session, stream), &request)
        }
    };
    // The very first answer has to be the right one.
    assert_eq!(
        status.unwrap(),
        200,
        "a live token at a gateway that starts"
    );
    begun.elapsed()
}

/// Connects as soon as somebody listens.
fn connect(address: SocketAddr, begun: Instant) -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(HANGING)).unwrap();
            return stream;
        }
        assert!(begun.elapsed() < HANGING, "nobody listens at {address}");
        thread::sleep(AGAIN);
    }
}

/// Sends a request and reads the answer's status.
fn exchange(mut stream: impl Read + Write, request: &[u8]) -> io::Result<u16> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let status = std::str::from_utf8(&head[9..]).ok();
    let status = status.and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other("an answer without a status"))
}
