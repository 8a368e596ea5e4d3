//! The end of a process: unready, no new connections, everything in flight finished, exit 0.

use crate::harness::http1::{Client, get};
use crate::harness::http2;
use crate::harness::sidecar::Sidecar;
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, until};
use serde_json::json;
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

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
    assert_eq!(client.rest(), b"second");
    assert_eq!(sidecar.exited(PATIENCE).code(), Some(0));
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
