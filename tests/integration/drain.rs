//! The end of a process: unready, no new connections, everything in flight finished, exit 0.

use crate::harness::cases;
use crate::harness::http1::{Client, get};
use crate::harness::http2;
use crate::harness::sidecar::Sidecar;
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, until};
use crate::websockets::{WEBSOCKET, echo, echoes, open, with_upgrades};
use serde_json::json;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Well before the drain's deadline, which is 30 s.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn a_streaming_response_is_finished() {
    let (proceed, go_on) = mpsc::sync_channel::<()>(1);
    let go_on = Mutex::new(go_on);
    let upstream = Upstream::with(move |exchange| {
        exchange.read_request();
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nfirst");
        go_on.lock().unwrap().recv().unwrap();
        exchange.write(b"second");
    });
    let mut sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let proxy = sidecar.proxy();
    let mut idle = Client::connect(proxy);
    let mut client = Client::connect(proxy);
    client.send(b"GET /public/x HTTP/1.1\r\nHost: service\r\n\r\n");
    client.head().unwrap();
    assert_eq!(client.some_bytes().unwrap(), b"first");

    sidecar.terminate();
    until("new connections to be refused", PATIENCE, || TcpStream::connect(proxy).is_err().then_some(()));
    assert!(idle.is_closed(Duration::from_secs(5)), "an idle connection ends");
    assert!(sidecar.is_running(), "the response is still under way");
    proceed.send(()).unwrap();
    let since = Instant::now();
    assert_eq!(client.rest(), b"second");
    assert_eq!(sidecar.exited(PATIENCE).code(), Some(0));
    assert!(since.elapsed() < SOON, "the end was waited for after the response: {:?}", since.elapsed());
}

#[test]
fn a_request_under_way_is_finished_and_answered() {
    let (proceed, go_on) = mpsc::sync_channel::<()>(1);
    let go_on = Mutex::new(go_on);
    let upstream = Upstream::with(move |exchange| {
        go_on.lock().unwrap().recv().unwrap();
        exchange.answer_ok();
    });
    let mut sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut client = Client::connect(sidecar.proxy());
    client.send(b"POST /public/x HTTP/1.1\r\nHost: service\r\nContent-Length: 10\r\n\r\nhello");
    until("the request to arrive", PATIENCE, || (upstream.heads().len() == 1).then_some(()));
    sidecar.terminate();
    until("new connections to be refused", PATIENCE, || TcpStream::connect(sidecar.proxy()).is_err().then_some(()));
    client.send(b"world");
    proceed.send(()).unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(upstream.last().body.bytes, b"helloworld");
    assert_eq!(sidecar.exited(PATIENCE).code(), Some(0));
}

#[test]
fn an_http2_stream_is_finished() {
    let (proceed, go_on) = mpsc::sync_channel::<()>(1);
    let go_on = Mutex::new(go_on);
    let upstream = Upstream::with(move |exchange| {
        go_on.lock().unwrap().recv().unwrap();
        exchange.answer_ok();
    });
    let mut sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    http2::runtime().block_on(async {
        let mut client = http2::connect(sidecar.proxy()).await;
        let request = http::Request::get("http://service/public/x").body(http2::full("")).unwrap();
        let answer = tokio::spawn(client.send_request(request));
        while upstream.heads().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sidecar.terminate();
        while TcpStream::connect(sidecar.proxy()).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proceed.send(()).unwrap();
        let answer = http2::read(answer.await.unwrap().unwrap()).await;
        assert_eq!((answer.status, answer.body.as_ref()), (200, b"ok".as_slice()));
    });
    assert_eq!(sidecar.exited(PATIENCE).code(), Some(0));
}

/// What does not finish within the deadline is cut off: an orchestrator would do it less gently.
#[test]
fn the_drain_has_a_deadline() {
    let upstream = Upstream::with(|exchange| {
        exchange.connection.peer_is_gone(PATIENCE);
        exchange.close();
    });
    let workspace = Workspace::new(upstream.address()).set("/timeouts", json!({"drain": "500ms"}));
    let mut sidecar = Sidecar::start(&workspace);
    let mut client = Client::connect(sidecar.proxy());
    client.send(b"GET /public/x HTTP/1.1\r\nHost: service\r\n\r\n");
    until("the request to arrive", PATIENCE, || (upstream.heads().len() == 1).then_some(()));
    sidecar.terminate();
    assert_eq!(sidecar.exited(Duration::from_secs(8)).code(), Some(0));
    assert!(client.is_closed(Duration::from_secs(5)));
}

#[test]
fn an_idle_process_ends_at_once() {
    let upstream = Upstream::start();
    let mut sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    assert_eq!(get(sidecar.telemetry(), "/readyz", "").status, 200);
    assert_eq!(get(sidecar.proxy(), "/public/x", "").status, 200);
    sidecar.terminate();
    assert_eq!(sidecar.exited(Duration::from_secs(5)).code(), Some(0));
}

/// Case 175: told to end while requests come in on kept connections, a response is under way, and a WebSocket is open. Whatever
/// was begun is finished, every request is answered or finds its connection refused or closed in order, and no connection from
/// before is reset.
#[test]
fn the_end_under_load_resets_nothing() {
    let (proceed, go_on) = mpsc::sync_channel::<()>(1);
    let go_on = Mutex::new(go_on);
    let upstream = Upstream::with(move |exchange| match exchange.head.target() {
        "/public/stream" => {
            exchange.read_request();
            exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nfirst");
            go_on.lock().unwrap().recv().unwrap();
            exchange.write(b"second");
        }
        _ => echo(exchange),
    });
    let mut sidecar = Sidecar::start(&with_upgrades(upstream.address()));
    let proxy = sidecar.proxy();
    let mut tunnel = open(&sidecar, "/public/socket", WEBSOCKET);
    let mut streaming = Client::connect(proxy);
    streaming.send(b"GET /public/stream HTTP/1.1\r\nHost: service\r\n\r\n").head().unwrap();
    assert_eq!(streaming.some_bytes().unwrap(), b"first");
    let (answered, told) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let request = b"GET /public/x HTTP/1.1\r\nHost: service\r\n\r\n";
                // Until new connections are refused; one that was there is told with its last answer.
                while let Ok(stream) = TcpStream::connect(proxy) {
                    let early = !told.load(Ordering::SeqCst);
                    let mut client = Client::over(stream);
                    loop {
                        match client.send(request).answer() {
                            Ok(answer) => {
                                assert_eq!(answer.status, 200, "{}", answer.text());
                                answered.fetch_add(1, Ordering::SeqCst);
                                if answer.head.get("connection") == Some("close") {
                                    break;
                                }
                            }
                            // An idle connection may be closed, in order. The system itself resets a new one that comes between the
                            // last look at the queue and the end of the listener, which is how it refuses.
                            Err(error) => {
                                assert!(error.to_string() == "closed without an answer" || !early, "{error}");
                                break;
                            }
                        }
                    }
                }
            });
        }
        until("the load to begin", PATIENCE, || (answered.load(Ordering::SeqCst) > 50).then_some(()));
        told.store(true, Ordering::SeqCst);
        sidecar.terminate();
        until("new connections to be refused", PATIENCE, || TcpStream::connect(proxy).is_err().then_some(()));
    });
    assert!(echoes(&mut tunnel), "the WebSocket is open until the end");
    assert!(sidecar.is_running());
    proceed.send(()).unwrap();
    let since = Instant::now();
    assert_eq!(streaming.rest(), b"second");
    drop(tunnel);
    assert_eq!(sidecar.exited(PATIENCE).code(), Some(0));
    assert!(since.elapsed() < SOON, "the end was waited for: {:?}", since.elapsed());
    cases::held(175, "finished, none reset");
}
