//! Bodies in both directions: streamed, held back, cut off, with trailers, asked for first.

use crate::harness::http1::{Client, get};
use crate::harness::sidecar::Sidecar;
use crate::harness::tokens::{KEYS, claims};
use crate::harness::upstream::{Exchange, Upstream};
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, cases, until};
use serde_json::json;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const MIB: usize = 1024 * 1024;

#[test]
fn bodies_are_streamed() {
    let (received, first_piece) = mpsc::sync_channel(1);
    let (proceed, go_on) = mpsc::sync_channel::<()>(1);
    let go_on = Mutex::new(go_on);
    let upstream = Upstream::with(move |exchange| {
        let mut piece = [0; 10];
        exchange.connection.read_exact(&mut piece).unwrap();
        received.send(piece.to_vec()).unwrap();
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        go_on.lock().unwrap().recv().unwrap();
        exchange.write(b"6\r\nsecond\r\n0\r\n\r\n");
        exchange.close();
    });
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut client = Client::connect(sidecar.proxy());
    client.send(b"POST /public/x HTTP/1.1\r\nHost: service\r\nContent-Length: 20\r\n\r\n0123456789");
    assert_eq!(first_piece.recv_timeout(PATIENCE).unwrap(), b"0123456789", "half a body is passed on at once");
    assert!(client.head().unwrap().line.contains("200"));
    let piece = client.some_bytes().unwrap();
    assert!(piece.windows(5).any(|window| window == b"first"), "half an answer is passed on at once");
    client.send(b"0123456789");
    proceed.send(()).unwrap();
    let rest = until("the second half", PATIENCE, || Some(client.some_bytes().unwrap()));
    assert!(rest.windows(6).any(|window| window == b"second"));
}

/// A reader who does not read holds back the upstream, not our memory.
#[test]
fn a_slow_reader_holds_back_the_upstream() {
    const TOTAL: usize = 64 * MIB;
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let upstream = Upstream::with(move |exchange| {
        exchange.read_request().unwrap();
        exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n").as_bytes());
        let piece = vec![b'a'; 64 * 1024];
        while count.load(Ordering::SeqCst) < TOTAL && exchange.keep_open {
            exchange.write(&piece);
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let before = sidecar.resident_kib();
    let mut client = Client::connect(sidecar.proxy());
    client.send(b"GET /public/x HTTP/1.1\r\nHost: service\r\n\r\n");
    client.head().unwrap();
    let held = until_still(&written);
    assert!(held < TOTAL, "all {held} bytes were taken from the upstream though nobody reads them");
    let grown = sidecar.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "grew by {grown} KiB");
    cases::held(166, "held back");
    let mut read = 0;
    while read < TOTAL {
        let piece = client.some_bytes().unwrap();
        assert!(!piece.is_empty(), "ended after {read} bytes");
        read += piece.len();
    }
    assert_eq!(read, TOTAL);
}

#[test]
fn a_slow_upstream_holds_back_the_client() {
    const TOTAL: usize = 64 * MIB;
    let reads = Arc::new(AtomicBool::new(false));
    let gate = reads.clone();
    let upstream = Upstream::with(move |exchange| {
        until("the gate", PATIENCE, || gate.load(Ordering::SeqCst).then_some(()));
        exchange.answer_ok();
    });
    let workspace = Workspace::new(upstream.address()).set("/limits", json!({"body_bytes": "1GiB"}));
    let sidecar = Sidecar::start(&workspace);
    let before = sidecar.resident_kib();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let proxy = sidecar.proxy();
    let writer = std::thread::spawn(move || {
        let mut client = Client::connect(proxy);
        client.send(format!("POST /public/x HTTP/1.1\r\nHost: service\r\nContent-Length: {TOTAL}\r\n\r\n").as_bytes());
        let piece = vec![b'a'; 64 * 1024];
        while count.load(Ordering::SeqCst) < TOTAL {
            client.try_send(&piece).unwrap();
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
        client.answer().unwrap().status
    });
    let held = until_still(&sent);
    assert!(held < TOTAL, "all {held} bytes were taken from the client though the upstream reads none");
    let grown = sidecar.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "grew by {grown} KiB");
    reads.store(true, Ordering::SeqCst);
    assert_eq!(writer.join().unwrap(), 200);
    assert_eq!(upstream.last().body.bytes.len(), TOTAL);
}

/// The count once it has not moved for a third of a second.
fn until_still(count: &AtomicUsize) -> usize {
    let mut last = (0, Instant::now());
    until("the writer to be held back", PATIENCE, || {
        let now = count.load(Ordering::SeqCst);
        if now != last.0 || now == 0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(350)).then_some(now)
    })
}

#[test]
fn trailers_of_the_response() {
    let upstream = Upstream::with(|exchange| {
        exchange.read_request().unwrap();
        exchange.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-checksum, x-portcullis-user, set-cookie\r\n\r\n\
              2\r\nok\r\n0\r\nx-checksum: abc\r\nx-portcullis-user: forged\r\nset-cookie: forged=1\r\n\r\n",
        );
    });
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let answer = get(sidecar.proxy(), "/public/x", "TE: trailers\r\nConnection: te\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let trailers = answer.body.trailers;
    assert_eq!(trailers.len(), 1, "{trailers:?}");
    assert_eq!((trailers[0].0.to_ascii_lowercase().as_str(), trailers[0].1.as_str()), ("x-checksum", "abc"));
}

#[test]
fn bodies_that_are_asked_for() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let token = KEYS.token(&claims("ed", &["editor"]));
    let head = |auth: &str| format!("PUT /v1/documents/report HTTP/1.1\r\nHost: service\r\n{auth}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");

    let mut client = Client::connect(sidecar.proxy());
    client.send(head(&format!("Authorization: Bearer {token}\r\n")).as_bytes());
    assert!(client.head().unwrap().line.starts_with("HTTP/1.1 100"), "an admitted request is told to go on");
    assert_eq!(client.send(b"hello").answer().unwrap().status, 200);
    assert_eq!(upstream.last().body.bytes, b"hello");

    let seen = upstream.bytes();
    for (auth, status) in [("", 401), ("Authorization: Bearer x.y.z\r\n", 401), ("Authorization: Bearer x y\r\n", 400)] {
        let mut client = Client::connect(sidecar.proxy());
        let answer = client.send(head(auth).as_bytes()).answer().unwrap();
        assert_eq!((answer.status, answer.interim.len()), (status, 0), "161: refused at once, without 100");
        assert!(client.is_closed(Duration::from_secs(5)), "161: the body may come or not, so the connection ends");
    }
    assert_eq!(upstream.bytes(), seen);
    cases::held(161, "401 invalid_token");
}

#[test]
fn a_client_that_leaves_takes_its_request_along() {
    let gone = Arc::new(AtomicUsize::new(0));
    let count = gone.clone();
    let upstream = Upstream::with(move |exchange: &mut Exchange| {
        match exchange.head.target() {
            "/public/request" => {}
            _ => exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nsome"),
        }
        if exchange.connection.peer_is_gone(PATIENCE) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        exchange.close();
    });
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));

    let mut client = Client::connect(sidecar.proxy());
    client.send(b"POST /public/request HTTP/1.1\r\nHost: service\r\nContent-Length: 100\r\n\r\nsome");
    until("the request to arrive", PATIENCE, || (upstream.heads().len() == 1).then_some(()));
    drop(client);
    until("the upstream to see it leave mid-request", PATIENCE, || (gone.load(Ordering::SeqCst) == 1).then_some(()));

    let mut client = Client::connect(sidecar.proxy());
    client.send(b"GET /public/response HTTP/1.1\r\nHost: service\r\n\r\n");
    client.head().unwrap();
    drop(client);
    until("the upstream to see it leave mid-response", PATIENCE, || (gone.load(Ordering::SeqCst) == 2).then_some(()));
    until("all upstream connections to end", PATIENCE, || (upstream.open_connections() == 0).then_some(()));
    until("nothing to be in flight", PATIENCE, || get(sidecar.telemetry(), "/metrics", "").text().contains("portcullis_proxy_in_flight 0\n").then_some(()));
    cases::held(169, "aborted");
}
