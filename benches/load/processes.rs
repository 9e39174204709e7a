//! The bench's own children: this same program in other roles.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum as _;

use crate::options::Role;

/// Longest wait for a child to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process of the bench's own, killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    address: SocketAddr,
}

impl Child {
    /// Starts this same program in another role and waits until it listens.
    pub(crate) fn start(role: Role, arguments: &[String]) -> Self {
        let name = role.to_possible_value().expect("no role is skipped");
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--role", name.get_name()])
            .args(arguments)
            // The end of this pipe is the end of the child, see `announce`.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().parse().expect("the child's address");
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the {role:?} does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        Self { process, address }
    }

    /// Returns where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Tells the bench where a child listens, and ends the child when the bench ends, however it does.
pub(crate) fn announce(address: SocketAddr) {
    println!("{address}");
    io::stdout().flush().unwrap();
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(0);
    });
}
