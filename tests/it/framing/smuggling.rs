//! Every vector of `fixtures/smuggling`: what the upstream sees is the one request that was judged,
//! or nothing.
//!
//! A file says what it is, what becomes of it, and then the bytes: line breaks in the file are none,
//! `\r`, `\n`, `\t` and `\xNN` are.

use std::{fs, panic::AssertUnwindSafe, path::PathBuf};

use futures_util::FutureExt as _;

use super::{CLOSES_WITHIN, open};
use crate::support::{Gateway, RecordedRequest, Upstream};

const FOLDER: &str = "tests/it/fixtures/smuggling";

/// What becomes of a vector.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It is one request, which is forwarded.
    Once,
    /// So if it comes in one piece; what follows may otherwise come while the answer is awaited,
    /// which ends the exchange.
    OnceWhole,
    /// It is answered with this status and not forwarded.
    Refused(u16),
    /// So, but where it ends is beyond doubt: the connection goes on.
    RefusedAlone(u16),
}

#[derive(Debug)]
struct Vector {
    file: PathBuf,
    fate: Fate,
    bytes: Vec<u8>,
}

fn vectors() -> Vec<Vector> {
    let files = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut vectors: Vec<Vector> = files.map(read).collect();
    vectors.sort_by(|one, other| one.file.cmp(&other.file));
    vectors
}

fn read(file: PathBuf) -> Vector {
    let text = fs::read_to_string(&file).unwrap();
    let mut lines = text.lines();
    assert!(
        lines.next().unwrap().starts_with("# "),
        "{}: what is it?",
        file.display()
    );
    let fate = lines
        .next()
        .and_then(|line| line.strip_prefix("# expects "));
    let fate = match fate.unwrap().split_once(", and the connection goes on") {
        Some((status, _)) => Fate::RefusedAlone(status.parse().unwrap()),
        None => match fate.unwrap() {
            "once" => Fate::Once,
            "once where it comes in one piece" => Fate::OnceWhole,
            status => Fate::Refused(status.parse().unwrap()),
        },
    };
    let bytes = lines.flat_map(unescape).collect();
    Vector { file, fate, bytes }
}

fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (byte, length) = match &rest[at + 1..=at + 1] {
            "r" => (b'\r', 2),
            "n" => (b'\n', 2),
            "t" => (b'\t', 2),
            "x" => (u8::from_str_radix(&rest[at + 2..at + 4], 16).unwrap(), 4),
            other => panic!("\\{other} in {line:?}"),
        };
        bytes.push(byte);
        rest = &rest[at + length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn of_every_vector_the_upstream_sees_one_request_or_none() {
    let (gateway, upstream) = open().await;
    let vectors = vectors();
    assert!(vectors.len() >= 60, "the vectors were found");
    let mut broken = Vec::new();
    for vector in &vectors {
        // Whole, and then a byte at a time: a check that looks at one read must not be all there is.
        let steps = [vector.bytes.len(), 1];
        let whole = vector.fate == Fate::OnceWhole;
        for step in steps.into_iter().take(if whole { 1 } else { 2 }) {
            let judged = AssertUnwindSafe(judge(&gateway, &upstream, vector, step));
            if judged.catch_unwind().await.is_err() {
                broken.push((vector.file.display().to_string(), step));
                upstream.take_requests();
            }
        }
    }
    assert_eq!(broken, Vec::<(String, usize)>::new());
    upstream.finish().await;
}

/// Reads the answer; then a last request goes through, and by then so has whatever went before it.
async fn judge(gateway: &Gateway, upstream: &Upstream, vector: &Vector, step: usize) {
    let name = vector.file.display();
    let mut client = gateway.client().await;
    for piece in vector.bytes.chunks(step) {
        if client.try_send(piece).await.is_err() {
            break;
        }
    }
    let response = tokio::time::timeout(CLOSES_WITHIN, client.read_response()).await;
    let response = response.unwrap_or_else(|_| panic!("{name} is not answered"));
    let expected = match vector.fate {
        Fate::Once | Fate::OnceWhole => 200,
        Fate::Refused(status) | Fate::RefusedAlone(status) => status,
    };
    assert_eq!(response.status, expected, "{name} got {response:?}");
    if matches!(vector.fate, Fate::OnceWhole | Fate::Refused(400 | 405)) {
        assert!(client.is_closed(CLOSES_WITHIN).await, "{name}");
    }
    assert_eq!(gateway.get("/last", None).await.status, 200);

    let mut seen = upstream.take_requests();
    // One that was broken off is recorded when its end is seen, which may be after that.
    let last = seen.iter().position(|seen| seen.target() == "/last");
    assert!(last.is_some(), "{name}: {seen:#?}");
    last.map(|last| seen.remove(last));
    for request in &seen {
        assert_in_order(request, &name.to_string());
    }
    seen.retain(|request| request.complete);
    let targets: Vec<&str> = seen.iter().map(RecordedRequest::target).collect();
    match vector.fate {
        Fate::Once | Fate::OnceWhole => assert_eq!(targets, [target_of(vector)], "{name}"),
        Fate::Refused(_) | Fate::RefusedAlone(_) => assert_eq!(targets, [""; 0], "{name}"),
    }
}

/// The target of a vector's first line.
fn target_of(vector: &Vector) -> &str {
    let text = str::from_utf8(&vector.bytes).unwrap();
    text.trim_start().split(' ').nth(1).unwrap()
}

/// A head that the upstream got has one reading, and the body is what is between the framings.
fn assert_in_order(seen: &RecordedRequest, name: &str) {
    let head = seen.head_text();
    let lines: Vec<&str> = head.trim_end_matches("\r\n").split("\r\n").collect();
    assert!(
        !head.replace("\r\n", "").contains(['\r', '\n', '\0']),
        "{name}: {head:?}"
    );
    assert!(
        !lines.iter().any(|line| line.starts_with([' ', '\t'])),
        "{name}: {head:?}"
    );
    assert!(!seen.target().contains("smuggled"), "{name}: {head:?}");
    let count = |wanted: &str| {
        let names = lines
            .iter()
            .skip(1)
            .filter_map(|line| line.split(':').next());
        names
            .filter(|found| found.to_ascii_lowercase().replace('_', "-") == wanted)
            .count()
    };
    assert!(
        count("content-length") + count("transfer-encoding") <= 1,
        "{name}: {head:?}"
    );
    assert_eq!(count("host"), 1, "{name}: {head:?}");
    let whole = ["", "hello"].contains(&&*String::from_utf8_lossy(&seen.body));
    let get_with_body = seen.method() == "GET" && seen.header("content-length") == Some("46");
    assert!(
        !seen.complete || whole || get_with_body,
        "{name}: {:?}",
        seen.body
    );
}
