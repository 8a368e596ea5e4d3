//! Bodies: framing, trailers, streaming, back-pressure, and what happens when one side leaves

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use settings::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::{Stage, Upstream, Wire, eventually, header, millis, status};

const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn every_body_is_framed_anew() {
    let upstream = Upstream::answering(EMPTY).await;
    let stage = Stage::new(upstream.address).await;
    // What is sent after the request line, and what has to be said of it and to follow it.
    for (method, sent, length, encoding, body) in [
        (
            "POST",
            "Content-Length: 5\r\n\r\nhello",
            Some("5"),
            None,
            "hello",
        ),
        (
            "POST",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            None,
            Some("chunked"),
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "GET",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            None,
            Some("chunked"),
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "GET",
            "Content-Length: 5\r\n\r\nhello",
            Some("5"),
            None,
            "hello",
        ),
        (
            "DELETE",
            "Content-Length: 5\r\n\r\nhello",
            Some("5"),
            None,
            "hello",
        ),
        ("POST", "Content-Length: 0\r\n\r\n", Some("0"), None, ""),
        ("POST", "\r\n", Some("0"), None, ""),
        ("GET", "Content-Length: 0\r\n\r\n", Some("0"), None, ""),
        ("GET", "\r\n", None, None, ""),
    ] {
        let mut wire = stage.connect().await;
        wire.send(&format!("{method} /open/x HTTP/1.1\r\nHost: h\r\n{sent}"))
            .await;
        assert_eq!(
            status(&wire.head().await.unwrap()),
            "200",
            "{method} {sent:?}"
        );
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(
            header(&seen, "content-length").first().copied(),
            length,
            "{method} {sent:?}: {seen}"
        );
        assert_eq!(
            header(&seen, "transfer-encoding").first().copied(),
            encoding,
            "{method} {sent:?}: {seen}"
        );
        assert_eq!(
            seen.split_once("\r\n\r\n").unwrap().1,
            body,
            "{method} {sent:?}"
        );
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_but_for_the_reserved() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-User-Id, Set-Cookie\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 7\r\nX-User-Id: root\r\nSet-Cookie: a=b\r\n\r\n",
    )
    .await;
    let stage = Stage::new(upstream.address).await;
    let response = stage
        .ask(
            "POST /open/x HTTP/1.1\r\nHost: h\r\nConnection: close, TE\r\nTE: trailers\r\n\
             Transfer-Encoding: chunked\r\nTrailer: X-Check, X-Portcullis-User\r\n\r\n\
             2\r\nhi\r\n0\r\nX-Check: 9\r\nX-Portcullis-User: root\r\nX_User_Id: root\r\n\r\n",
        )
        .await;
    let seen = upstream.only().to_lowercase();
    assert!(
        seen.ends_with("2\r\nhi\r\n0\r\nx-check: 9\r\n\r\n"),
        "{seen}"
    );
    assert_eq!(header(&seen, "trailer"), ["x-check"]);
    assert_eq!(
        (header(&seen, "te"), header(&seen, "connection")),
        (vec!["trailers"], vec!["te"])
    );
    let response = response.to_lowercase();
    assert!(
        response.ends_with("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"),
        "{response}"
    );
    assert_eq!(header(&response, "trailer"), ["x-sum"]);
}

#[tokio::test]
async fn a_response_passes_piece_by_piece() {
    let (go, went) = tokio::sync::oneshot::channel::<()>();
    let went = Arc::new(std::sync::Mutex::new(Some(went)));
    let upstream = Upstream::start(move |mut wire| {
        let went = went.lock().unwrap().take();
        async move {
            wire.message().await;
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                .await;
            went.unwrap().await.unwrap();
            wire.send("6\r\nsecond\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let stage = Stage::new(upstream.address).await;
    let mut wire = stage.connect().await;
    wire.send("GET /open/x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    wire.until("first\r\n").await.unwrap();
    go.send(()).unwrap();
    wire.until("second\r\n0\r\n\r\n").await.unwrap();
}

#[tokio::test]
async fn a_request_passes_piece_by_piece() {
    let upstream = Upstream::start(|mut wire| async move {
        wire.until("first\r\n").await.unwrap();
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nseen\r\n")
            .await;
        wire.until("second\r\n0\r\n\r\n").await.unwrap();
        wire.send("0\r\n\r\n").await;
    })
    .await;
    let stage = Stage::new(upstream.address).await;
    let mut wire = stage.connect().await;
    wire.send(
        "POST /open/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
    )
    .await;
    // The response begins while the request is still being sent.
    wire.until("seen\r\n").await.unwrap();
    wire.send("6\r\nsecond\r\n0\r\n\r\n").await;
    wire.until("0\r\n\r\n").await.unwrap();
}

/// Writes until nothing has been taken for a while; how much was taken.
async fn flood(wire: &mut Wire) -> u64 {
    let chunk = [b'x'; 64 * 1024];
    let mut taken = 0;
    while let Ok(Ok(count)) =
        tokio::time::timeout(Duration::from_millis(500), wire.stream.write(&chunk)).await
    {
        taken += count as u64;
        assert!(taken < 512 * 1024 * 1024, "no back-pressure");
    }
    taken
}

/// More than the socket buffers on the way can hold, and far less than a flood.
const BOUND: u64 = 32 * 1024 * 1024;

#[tokio::test]
async fn a_slow_reader_slows_the_upstream_down() {
    let taken = Arc::new(AtomicU64::new(0));
    let upstream = Upstream::start({
        let taken = Arc::clone(&taken);
        move |mut wire| {
            let taken = Arc::clone(&taken);
            async move {
                wire.message().await;
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
                    .await;
                taken.store(flood(&mut wire).await, Ordering::SeqCst);
                wire.is_gone().await;
            }
        }
    })
    .await;
    let stage = Stage::new(upstream.address).await;
    let mut wire = stage.connect().await;
    wire.send("GET /open/x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(status(&wire.head().await.unwrap()), "200");
    eventually("the upstream is stopped", || {
        taken.load(Ordering::SeqCst) > 0
    })
    .await;
    assert!(taken.load(Ordering::SeqCst) < BOUND, "{taken:?}");
}

#[tokio::test]
async fn a_slow_upstream_slows_the_client_down() {
    let upstream = Upstream::start(|mut wire| async move {
        wire.head().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    let stage = Stage::with(upstream.address, |setup| {
        setup.limits.body_bytes = ByteSize(1 << 30);
    })
    .await;
    let mut wire = stage.connect().await;
    wire.send("POST /open/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n\r\n")
        .await;
    assert!(flood(&mut wire).await < BOUND);
}

#[tokio::test]
async fn the_upstream_is_let_go_when_the_client_leaves() {
    let arrived = Arc::new(AtomicU64::new(0));
    let gone = Arc::new(AtomicU64::new(0));
    let upstream = Upstream::start({
        let (arrived, gone) = (Arc::clone(&arrived), Arc::clone(&gone));
        move |mut wire| {
            let (arrived, gone) = (Arc::clone(&arrived), Arc::clone(&gone));
            async move {
                let head = wire.head().await.unwrap();
                arrived.fetch_add(1, Ordering::SeqCst);
                if head.contains("/open/response") {
                    wire.send(
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                    )
                    .await;
                }
                wire.is_gone().await;
                gone.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let stage = Stage::new(upstream.address).await;
    for (count, request, wait_for) in [
        (
            1,
            "GET /open/response HTTP/1.1\r\nHost: h\r\n\r\n",
            "hello\r\n",
        ),
        (2, "GET /open/silence HTTP/1.1\r\nHost: h\r\n\r\n", ""),
        (
            3,
            "POST /open/body HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhello",
            "",
        ),
    ] {
        let mut wire = stage.connect().await;
        wire.send(request).await;
        if !wait_for.is_empty() {
            wire.until(wait_for).await.unwrap();
        }
        eventually("the upstream has the request", || {
            arrived.load(Ordering::SeqCst) == count
        })
        .await;
        drop(wire);
        eventually(request, || gone.load(Ordering::SeqCst) == count).await;
    }
    eventually("all is over", || {
        stage.metric("portcullis_proxy_in_flight", None) == 0.0
    })
    .await;
    assert_eq!(
        stage.metric("portcullis_proxy_requests_total", Some("ok")),
        0.0
    );
}

#[tokio::test]
async fn too_large_a_body_is_refused_and_the_upstream_let_go() {
    let gone = Arc::new(AtomicU64::new(0));
    let upstream = Upstream::start({
        let gone = Arc::clone(&gone);
        move |mut wire| {
            let gone = Arc::clone(&gone);
            async move {
                wire.is_gone().await;
                gone.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let stage = Stage::with(upstream.address, |setup| {
        setup.limits.body_bytes = ByteSize(1000)
    })
    .await;
    let response = stage
        .ask("POST /open/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n")
        .await;
    assert_eq!(status(&response), "413");
    assert_eq!(upstream.connections(), 0, "announced, so refused before");

    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let response = stage
        .ask(&format!(
            "POST /open/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}0\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&response), "413", "{response}");
    assert!(response.contains("body_too_large"));
    eventually("the upstream is let go", || {
        gone.load(Ordering::SeqCst) == 1
    })
    .await;
}

#[tokio::test]
async fn a_body_that_stops_is_the_clients_fault() {
    let upstream = Upstream::start(|mut wire| async move {
        wire.is_gone().await;
    })
    .await;
    let stage = Stage::with(upstream.address, |setup| {
        setup.timeouts.body = millis(400);
        // Shorter, and yet not what ends it: it is not the upstream that is waited for.
        setup.upstream.response_timeout = millis(150);
    })
    .await;
    let response = stage
        .ask("POST /open/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhello")
        .await;
    assert_eq!(status(&response), "408", "{response}");
    assert!(response.contains("request_timeout"));

    let response = stage
        .ask("POST /open/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
        .await;
    assert_eq!(status(&response), "400", "{response}");
}

#[tokio::test]
async fn a_long_upload_has_no_time_limit_while_it_moves() {
    let arrived = Arc::new(AtomicU64::new(0));
    let upstream = Upstream::start({
        let arrived = Arc::clone(&arrived);
        move |mut wire| {
            let arrived = Arc::clone(&arrived);
            async move {
                wire.head().await;
                for _ in 0..10 {
                    wire.until("x").await;
                    arrived.fetch_add(1, Ordering::SeqCst);
                }
                wire.send(EMPTY).await;
            }
        }
    })
    .await;
    let stage = Stage::with(upstream.address, |setup| {
        setup.upstream.response_timeout = millis(200)
    })
    .await;
    let mut wire = stage.connect().await;
    wire.send("POST /open/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
        .await;
    // The clock stands still but for what it is told, because a stopped clock does not run ahead of a blocked thread.
    let (end, ended) = std::sync::mpsc::sync_channel::<()>(0);
    tokio::task::spawn_blocking(move || ended.recv());
    tokio::time::pause();
    for sent in 1..=10 {
        tokio::time::advance(Duration::from_millis(60)).await;
        wire.send("x").await;
        while arrived.load(Ordering::SeqCst) < sent {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::resume();
    drop(end);
    assert_eq!(status(&wire.head().await.unwrap()), "200");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|mut wire| async move {
        while let Some(request) = wire.message().await {
            let path = request.split(' ').nth(1).unwrap();
            wire.send(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
                path.len()
            ))
            .await;
        }
    })
    .await;
    let stage = Stage::new(upstream.address).await;
    let mut wire = stage.connect().await;
    wire.send("GET /open/1 HTTP/1.1\r\nHost: h\r\n\r\nGET /open/2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .await;
    let mut all = String::new();
    wire.stream.read_to_string(&mut all).await.unwrap();
    let (first, second) = (all.find("/open/1").unwrap(), all.find("/open/2").unwrap());
    assert!(first < second);
}
