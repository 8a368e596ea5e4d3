//! Upstreams that refuse, stall, break off or talk nonsense

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::stage::{Stage, Upstream, Wire, eventually, millis, status};

#[tokio::test]
async fn an_upstream_that_is_not_there() {
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let stage = Stage::new(nobody).await;
    let response = stage.get("/open/x", "").await;
    assert_eq!(status(&response), "502");
    assert!(response.contains("upstream_unavailable"));
    assert!(
        !response.contains("127.0.0.1"),
        "no inner address: {response}"
    );
}

#[tokio::test]
async fn an_upstream_that_does_not_answer() {
    let upstream = Upstream::start(|mut wire| async move {
        wire.is_gone().await;
    })
    .await;
    let stage = Stage::with(upstream.address, |setup| {
        setup.upstream.response_timeout = millis(100)
    })
    .await;
    let response = stage.get("/open/x", "").await;
    assert_eq!(status(&response), "504", "{response}");
    assert!(response.contains("upstream_timeout"));
}

#[tokio::test]
async fn an_upstream_that_only_ever_says_wait() {
    let upstream = Upstream::start(|mut wire| async move {
        wire.message().await;
        loop {
            wire.send("HTTP/1.1 102 Processing\r\n\r\n").await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let stage = Stage::with(upstream.address, |setup| {
        setup.upstream.response_timeout = millis(200)
    })
    .await;
    assert_eq!(status(&stage.get("/open/x", "").await), "504");
}

#[tokio::test]
async fn responses_that_cannot_be_passed_on() {
    for response in [
        "",
        "rubbish\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ] {
        let upstream = Upstream::start(move |mut wire: Wire| async move {
            if wire.index == 0 {
                wire.message().await;
                wire.send(response).await;
                if response.is_empty() || response.ends_with("Content-") {
                    return;
                }
                assert!(wire.is_gone().await, "kept after {response:?}");
            } else {
                while wire.message().await.is_some() {
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                }
            }
        })
        .await;
        let stage = Stage::new(upstream.address).await;
        let answer = stage.get("/open/x", "").await;
        assert_eq!(status(&answer), "502", "{response:?}: {answer}");
        assert_eq!(
            status(&stage.get("/open/x", "").await),
            "200",
            "after {response:?}"
        );
        assert_eq!(upstream.connections(), 2, "{response:?}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let upstream = Upstream::start(|mut wire| async move {
        wire.message().await;
        wire.send("HTTP/1.1 200 OK\r\n").await;
        for _ in 0..10_000 {
            wire.send(&format!("X-Filler: {}\r\n", "x".repeat(1000)))
                .await;
        }
    })
    .await;
    let stage = Stage::new(upstream.address).await;
    assert_eq!(status(&stage.get("/open/x", "").await), "502");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_completed() {
    for (response, stalls) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            true,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", true),
    ] {
        let upstream = Upstream::start(move |mut wire: Wire| async move {
            wire.message().await;
            wire.send(response).await;
            if stalls {
                wire.is_gone().await;
            }
        })
        .await;
        let stage = Stage::with(upstream.address, |setup| {
            setup.upstream.body_timeout = millis(150)
        })
        .await;
        let mut wire = stage.connect().await;
        wire.send("GET /open/x HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let received = wire.rest().await;
        assert!(received.contains("hello"), "{received}");
        assert!(!received.contains("\r\n0\r\n"), "completed: {received}");
        let code = if stalls {
            "upstream_timeout"
        } else {
            "upstream_unavailable"
        };
        assert_eq!(
            stage.metric("portcullis_proxy_requests_total", Some(code)),
            1.0,
            "{response}"
        );
    }
}

/// Answers the first request on each connection, and closes on the second one without a word.
async fn forgetful() -> Upstream {
    Upstream::start(|mut wire| async move {
        wire.message().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        wire.message().await;
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_dies_is_tried_once_more() {
    let upstream = forgetful().await;
    let stage = Stage::new(upstream.address).await;
    for _ in 0..3 {
        assert_eq!(status(&stage.get("/open/x", "").await), "200");
    }
    assert_eq!(upstream.connections(), 3);
    assert_eq!(upstream.seen().len(), 5);
    assert_eq!(
        stage.metric("portcullis_proxy_upstream_retries_total", None),
        2.0
    );
}

#[tokio::test]
async fn what_may_have_had_an_effect_is_not_sent_twice() {
    for request in [
        "POST /open/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "PUT /open/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
    ] {
        let upstream = forgetful().await;
        let stage = Stage::new(upstream.address).await;
        assert_eq!(status(&stage.get("/open/x", "").await), "200");
        assert_eq!(status(&stage.ask(request).await), "502", "{request}");
        assert_eq!(upstream.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_new_connection_that_dies_is_not_tried_again() {
    let upstream = Upstream::start(|mut wire| async move {
        wire.message().await;
    })
    .await;
    let stage = Stage::new(upstream.address).await;
    assert_eq!(status(&stage.get("/open/x", "").await), "502");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_not_kept_for_long() {
    let gone = Arc::new(AtomicBool::new(false));
    let upstream = Upstream::start({
        let gone = Arc::clone(&gone);
        move |mut wire| {
            let gone = Arc::clone(&gone);
            async move {
                while wire.message().await.is_some() {
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                }
                gone.store(true, Ordering::SeqCst);
            }
        }
    })
    .await;
    let stage = Stage::with(upstream.address, |setup| {
        setup.upstream.idle_timeout = millis(100)
    })
    .await;
    stage.get("/open/x", "").await;
    eventually("the connection is closed", || gone.load(Ordering::SeqCst)).await;
    stage.get("/open/x", "").await;
    assert_eq!(upstream.connections(), 2);
}
