//! An upstream that is away, slow, or speaks bad HTTP: 502 or 504, and never another client's answer.

use crate::harness::http1::{Client, exchange, get};
use crate::harness::sidecar::Sidecar;
use crate::harness::table::with_lines;
use crate::harness::upstream::{Exchange, Upstream};
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, cases, until};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What the upstream says to a request for `/public/<name>`, before it closes.
const SAYINGS: [(&str, &[u8]); 28] = [
    ("nothing", b""),
    ("garbage", b"garbage\r\n\r\n"),
    ("half-a-head", b"HTTP/1.1 200 OK\r\nContent-Le"),
    ("no-status", b"HTTP/1.1 OK\r\n\r\n"),
    ("status-99", b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n"),
    ("http-3", b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("both-framings", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("both-framings-reversed", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("two-lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
    ("a-list-of-lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok!"),
    ("a-signed-length", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("unknown-coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("gzip-chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked-1-0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("space-before-colon", b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
    ("folded", b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok"),
    ("nul", b"HTTP/1.1 200 OK\r\nX-A: b\x00c\r\nContent-Length: 2\r\n\r\nok"),
    ("bare-cr", b"HTTP/1.1 200 OK\r\nX-A: b\rX-C: d\r\nContent-Length: 2\r\n\r\nok"),
    ("switching", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"),
    ("204-with-length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
    ("204-chunked", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("204-with-more", b"HTTP/1.1 204 No Content\r\n\r\nhello"),
    ("304-with-more", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"),
    ("204-last-with-more", b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\nhello"),
    (
        "hints-and-304-with-more",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ),
    ("tls", b"\x15\x03\x03\x00\x02\x02\x46"),
    ("http2", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    ("early-hints-only", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
];

fn misbehave(exchange: &mut Exchange) {
    let target = exchange.head.target().to_owned();
    let name = target.trim_start_matches("/public/");
    match name {
        "never" => {
            exchange.connection.peer_is_gone(PATIENCE);
            exchange.close();
        }
        "huge-head" => {
            exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
            let line = format!("X-Large: {}\r\n", "a".repeat(60_000));
            for _ in 0..170 {
                if exchange.keep_open {
                    exchange.write(line.as_bytes());
                }
            }
            exchange.write(b"\r\n");
            exchange.close();
        }
        "interim-flood" => {
            for _ in 0..20_000 {
                if exchange.keep_open {
                    exchange.write(b"HTTP/1.1 102 Processing\r\n\r\n");
                }
            }
            exchange.close();
        }
        _ => match SAYINGS.iter().find(|(saying, _)| *saying == name) {
            Some((_, bytes)) => {
                exchange.read_request();
                exchange.write(bytes);
                exchange.close();
            }
            None => exchange.answer_ok(),
        },
    }
}

#[test]
fn faults_of_the_upstream() {
    let upstream = Upstream::with(misbehave);
    let workspace = Workspace::new(upstream.address()).set("/upstream/response_timeout", json!("1s"));
    let sidecar = Sidecar::start(&workspace);
    let mut failures = Vec::new();
    let mut check = |name: &str, method: &str, status: u16, code: &str| {
        let request = with_lines(method, &format!("/public/{name}"), "Content-Length: 0\r\n");
        match exchange(sidecar.proxy(), &request) {
            Ok(answer) if (answer.status, answer.code().as_str()) == (status, code) => {
                let case = if name.contains("204") || name.contains("304") || name.contains("framings") { 173 } else { 171 };
                cases::held(case, &format!("{status} {code}"));
            }
            Ok(answer) => failures.push(format!("{method} {name}: {} {}", answer.head.line, answer.text())),
            Err(error) => failures.push(format!("{method} {name}: {error}")),
        }
        let honest = get(sidecar.proxy(), "/public/honest", "");
        if (honest.status, honest.text().as_str()) != (200, "ok") {
            failures.push(format!("{method} {name} spoilt the next answer: {} {}", honest.head.line, honest.text()));
        }
    };
    for (name, _) in SAYINGS {
        check(name, "GET", 502, "upstream_unavailable");
    }
    check("nothing", "POST", 502, "upstream_unavailable");
    check("huge-head", "GET", 502, "upstream_unavailable");
    check("interim-flood", "GET", 502, "upstream_unavailable");
    check("never", "GET", 504, "upstream_timeout");
    assert!(failures.is_empty(), "171, 173:\n{}", failures.join("\n"));
}

/// Case 173: a body behind a response that has none. Whether there is one can be told while nothing was passed on
/// yet, that is, if it came in the same read as the end of the head (here it is one write, which the loopback keeps
/// together); then it is a 502. What comes after the head was passed on cannot be a 502 any more: if it comes before the
/// connection carries another request, the connection is closed and what came reaches nobody. If it came after the
/// next request was sent, nothing would tell it from that request's answer, with or without a body in between; servers
/// that send a body with the answer to HEAD do exactly that, so a connection carries no request after a HEAD.
#[test]
fn a_body_behind_an_answer_without_one() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let answered = Arc::new(AtomicUsize::new(0));
    let closed = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::with({
        let (answered, closed) = (answered.clone(), closed.clone());
        move |exchange| {
            exchange.read_request();
            let target = exchange.head.target().to_owned();
            let status = target.rsplit('/').next().unwrap().replace('-', " ");
            let head = format!("HTTP/1.1 {status}\r\n\r\n");
            if target.contains("/together/") {
                exchange.write(format!("{head}{EVIL}").as_bytes());
            } else if target.contains("/later/") {
                let before = answered.load(Ordering::SeqCst);
                exchange.write(head.as_bytes());
                until("the client to be answered", PATIENCE, || (answered.load(Ordering::SeqCst) > before).then_some(()));
                exchange.write(EVIL.as_bytes());
            } else {
                return exchange.answer_ok();
            }
            assert!(exchange.connection.peer_is_gone(PATIENCE), "{target}: another request came");
            closed.fetch_add(1, Ordering::SeqCst);
            exchange.close();
        }
    });
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut count = 0;
    for (method, status, passed) in
        [("HEAD", "200-OK", 200), ("HEAD", "404-Gone", 404), ("GET", "204-None", 204), ("DELETE", "204-None", 204), ("GET", "304-Same", 304)]
    {
        for when in ["together", "later"] {
            let what = format!("173 {method} {status} {when}");
            let mut client = Client::connect(sidecar.proxy());
            let request = with_lines(method, &format!("/public/{when}/{status}"), "");
            let answer = client.send(&request).answer_to(method).unwrap();
            assert_eq!(answer.status, if when == "together" { 502 } else { passed }, "{what}");
            if when == "later" {
                answered.fetch_add(1, Ordering::SeqCst);
            }
            count += 1;
            if method != "HEAD" {
                until("the connection to be closed", PATIENCE, || (closed.load(Ordering::SeqCst) == count).then_some(()));
            }
            let mut other = Client::connect(sidecar.proxy());
            for client in [&mut client, &mut other] {
                let next = client.send(&with_lines("GET", "/public/next", "")).answer().unwrap();
                assert_eq!((next.status, next.text().as_str()), (200, "ok"), "after {what}");
            }
            until("the connection to be closed", PATIENCE, || (closed.load(Ordering::SeqCst) == count).then_some(()));
        }
    }
}

/// Bytes behind a whole answer belong to nobody.
#[test]
fn bytes_behind_an_answer_are_dropped() {
    let upstream = Upstream::with(|exchange| {
        exchange.read_request();
        match exchange.head.target() {
            "/public/behind" => exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
            "/public/chunked" => {
                exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            }
            _ => exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        }
    });
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut client = Client::connect(sidecar.proxy());
    for target in ["/public/behind", "/public/chunked"] {
        client.send(&with_lines("GET", target, "")).answer().unwrap();
        let mut other = Client::connect(sidecar.proxy());
        for client in [&mut client, &mut other] {
            let next = client.send(&with_lines("GET", "/public/next", "")).answer().unwrap();
            assert_eq!((next.status, next.text().as_str()), (200, "ok"), "after {target}");
        }
    }
}

#[test]
fn an_answer_cut_short_is_not_whole() {
    let upstream = Upstream::with(|exchange| {
        exchange.read_request();
        match exchange.head.target() {
            "/public/length" => exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
            "/public/chunked" => exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
            _ => exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n"),
        }
        exchange.close();
    });
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    for target in ["/public/length", "/public/chunked", "/public/bad-chunk"] {
        let answer = exchange(sidecar.proxy(), &with_lines("GET", target, ""));
        match answer {
            // Before anything was passed on it may still become a 502.
            Ok(answer) => assert_eq!(answer.status, 502, "{target}"),
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{target}"),
        }
    }
}

#[test]
fn nobody_listens_upstream() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    drop(upstream);
    let sidecar = Sidecar::start(&Workspace::new(address));
    for method in ["GET", "POST"] {
        let answer = exchange(sidecar.proxy(), &with_lines(method, "/public/x", "")).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unavailable"), "{method}");
        cases::held(171, "502 upstream_unavailable");
        assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    }
}

/// Case 172: the upstream closes a kept connection just when it is used again.
#[test]
fn kept_connections_that_the_upstream_closes() {
    let upstream = Upstream::with(|exchange| {
        exchange.answer_ok();
        exchange.close();
    });
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut client = Client::connect(sidecar.proxy());
    for round in 0..200 {
        let answer = client.send(&with_lines("GET", "/public/x", "")).answer().unwrap();
        assert_eq!(answer.status, 200, "round {round}");
    }
    cases::held(172, cases::FORWARDED);
}

/// What was sent may have been executed: only what is harmless to repeat is repeated, and once at most.
#[test]
fn a_request_is_not_repeated_behind_the_clients_back() {
    let upstream = Upstream::with(|exchange| match exchange.head.target() {
        "/public/first" => exchange.answer_ok(),
        _ => {
            exchange.read_request();
            exchange.close();
        }
    });
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    assert_eq!(get(sidecar.proxy(), "/public/first", "").status, 200);
    let post = with_lines("POST", "/public/order", "Content-Length: 0\r\n");
    assert_eq!(exchange(sidecar.proxy(), &post).unwrap().status, 502);
    let orders = upstream.heads().iter().filter(|head| head.target() == "/public/order").count();
    assert_eq!(orders, 1, "an order was placed {orders} times");
    assert_eq!(get(sidecar.proxy(), "/public/read", "").status, 502);
    let reads = upstream.heads().iter().filter(|head| head.target() == "/public/read").count();
    assert!(reads <= 2, "read {reads} times");
    cases::held(172, "502 upstream_unavailable");
}

/// More requests than may be in flight are told so at once, and the others are served.
#[test]
fn load_is_shed() {
    let waiting = std::sync::Arc::new(AtomicUsize::new(0));
    let count = waiting.clone();
    let upstream = Upstream::with(move |exchange| {
        if exchange.head.target() == "/public/slow" {
            count.fetch_add(1, Ordering::SeqCst);
            until("the others", PATIENCE, || (count.load(Ordering::SeqCst) >= 100).then_some(()));
        }
        exchange.answer_ok();
    });
    let workspace = Workspace::new(upstream.address()).set("/limits", json!({"in_flight": 4}));
    let sidecar = Sidecar::start(&workspace);
    let slow = with_lines("GET", "/public/slow", "");
    let mut held: Vec<Client> = (0..4).map(|_| Client::connect(sidecar.proxy())).collect();
    for client in &mut held {
        client.send(&slow);
    }
    until("four to be in flight", PATIENCE, || (waiting.load(Ordering::SeqCst) == 4).then_some(()));
    for _ in 0..5 {
        let answer = get(sidecar.proxy(), "/public/x", "");
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
        assert!(answer.head.get("retry-after").is_some());
    }
    waiting.store(100, Ordering::SeqCst);
    for client in &mut held {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    until("room again", PATIENCE, || (get(sidecar.proxy(), "/public/x", "").status == 200).then_some(()));
}

/// Threads that ask all the time while something else happens, and tell every answer that was not `status`.
pub(crate) fn under_load<T>(sidecar: &Sidecar, request: &[u8], status: u16, meanwhile: impl FnOnce() -> T) -> (T, usize) {
    let stop = AtomicUsize::new(0);
    let asked = AtomicUsize::new(0);
    let result = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(sidecar.proxy());
                    while stop.load(Ordering::SeqCst) == 0 {
                        let answer = client.send(request).answer().expect("no request is dropped");
                        assert_eq!(answer.status, status, "{}", answer.text());
                        asked.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        until("the load to begin", PATIENCE, || (asked.load(Ordering::SeqCst) > 20).then_some(()));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
        thread::park_timeout(Duration::from_millis(100));
        stop.store(1, Ordering::SeqCst);
        for worker in workers {
            worker.join().expect("every request under load was answered as before");
        }
        result
    });
    match result {
        Ok(result) => (result, asked.into_inner()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
