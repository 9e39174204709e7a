use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    os::fd::AsFd as _,
    os::unix::net::UnixStream as Plain,
};

use super::*;

fn two_sockets() -> [TcpListener; 2] {
    [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap())
}

fn named(sockets: &[TcpListener]) -> Vec<(String, BorrowedFd<'_>)> {
    sockets
        .iter()
        .enumerate()
        .map(|(at, socket)| (format!("socket {at}"), socket.as_fd()))
        .collect()
}

fn socket_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("upgrade.sock")
}

#[tokio::test]
async fn sockets_change_hands_with_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let sockets = two_sockets();
    let successor = Successor::bind(&socket_in(&dir)).await.unwrap();

    let (path, named) = (socket_in(&dir), named(&sockets));
    let (handed, taken) = tokio::join!(hand_over(&path, &named), async {
        let mut predecessor = successor.wait().await.unwrap();
        let taken = predecessor.take_sockets();
        predecessor.relieve().await.unwrap();
        taken
    });

    handed.unwrap();
    for ((at, ours), theirs) in sockets.iter().enumerate().zip(taken) {
        assert_eq!(theirs.name, format!("socket {at}"));
        let theirs = TcpListener::from(theirs.socket);
        assert_eq!(theirs.local_addr().unwrap(), ours.local_addr().unwrap());
    }
    assert!(!path.exists(), "nothing is left behind");
}

#[tokio::test]
async fn a_successor_that_gives_up_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, sockets) = (socket_in(&dir), two_sockets());
    let named = named(&sockets);
    let nobody = hand_over(&path, &named).await;
    assert_eq!(nobody.unwrap_err().kind(), io::ErrorKind::NotFound);
    let successor = Successor::bind(&path).await.unwrap();

    let (handed, ()) = tokio::join!(hand_over(&path, &named), async {
        drop(successor.wait().await.unwrap());
    });

    assert_eq!(handed.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_predecessor_that_gives_up_keeps_its_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let successor = Successor::bind(&socket_in(&dir)).await.unwrap();
    let list = br#"{"protocol":"difygate-upgrade/1","names":[]}"#;
    let mut silent = Plain::connect(socket_in(&dir)).unwrap();
    silent
        .write_all(&u32::try_from(list.len()).unwrap().to_be_bytes())
        .unwrap();
    silent.write_all(list).unwrap();

    let predecessor = successor.wait().await.unwrap();
    let relieved = tokio::spawn(predecessor.relieve());
    let mut ready = [0];
    let ready = tokio::task::spawn_blocking(move || {
        silent.read_exact(&mut ready).unwrap();
        ready
    });

    assert_eq!(ready.await.unwrap(), [READY]);
    let error = relieved.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn what_is_not_this_conversation_is_refused() {
    for message in [
        &b"\0\0\0\x02{}"[..],
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x35{\"protocol\":\"difygate-upgrade/1\",\"names\":[\"one more\"]}",
        b"\0\0",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let successor = Successor::bind(&socket_in(&dir)).await.unwrap();
        let mut other = Plain::connect(socket_in(&dir)).unwrap();
        other.write_all(message).unwrap();
        drop(other);

        assert!(successor.wait().await.is_err(), "{message:?}");
    }
}

#[tokio::test]
async fn two_successors_do_not_wait_at_one_place() {
    let dir = tempfile::tempdir().unwrap();
    let first = Successor::bind(&socket_in(&dir)).await.unwrap();

    let second = Successor::bind(&socket_in(&dir)).await;

    assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(first);
    assert!(!socket_in(&dir).exists());
}
