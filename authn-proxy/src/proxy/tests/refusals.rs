//! Requests of which the upstream must not see a byte

use tokio::net::TcpListener;

use super::stage::{Stage, Upstream, header, status};

/// Each is a request, the status and the code, and whether the connection is closed after it.
const CASES: &[(&str, &str, &str, bool)] = &[
    (
        "GET /users/alice HTTP/1.1\r\nHost: h\r\n\r\n",
        "401",
        "missing_token",
        false,
    ),
    (
        "GET /users/alice HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer rubbish\r\n\r\n",
        "401",
        "invalid_token",
        false,
    ),
    (
        "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n",
        "403",
        "route_not_mapped",
        false,
    ),
    (
        "GET /open/../users HTTP/1.1\r\nHost: h\r\n\r\n",
        "400",
        "ambiguous_path",
        true,
    ),
    (
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: x-user-id\r\n\r\n",
        "400",
        "invalid_request",
        true,
    ),
    (
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: close, authorization, x-forwarded-for\r\n\r\n",
        "400",
        "invalid_request",
        true,
    ),
    (
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: host, cookie\r\n\r\n",
        "400",
        "invalid_request",
        true,
    ),
    (
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: a b\r\n\r\n",
        "400",
        "invalid_request",
        true,
    ),
    (
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "501",
        "not_implemented",
        true,
    ),
    (
        "TRACE /open/x HTTP/1.1\r\nHost: h\r\n\r\n",
        "405",
        "method_not_allowed",
        false,
    ),
    // The rest of the body must not be read as a request, nor waited for.
    (
        "POST /users/alice HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n",
        "401",
        "missing_token",
        true,
    ),
    (
        "POST /users/alice HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
        "401",
        "missing_token",
        true,
    ),
];

#[tokio::test]
async fn nothing_of_a_refused_request_is_sent_on() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let stage = Stage::new(upstream.address).await;
    for (request, expected, code, closed) in CASES {
        let mut wire = stage.connect().await;
        wire.send(request).await;
        let head = wire.head().await.unwrap();
        assert_eq!(status(&head), *expected, "{request}: {head}");
        if *closed {
            assert!(wire.is_gone().await);
        }
        assert_eq!(
            header(&head, "connection") == ["close"],
            *closed,
            "{request}: {head}"
        );
        assert_eq!(header(&head, "x-portcullis-request-id")[0].len(), 32);
        assert!(
            stage.metric("portcullis_proxy_requests_total", Some(code)) >= 1.0,
            "{code}"
        );
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_loop_is_cut() {
    // The proxy is its own upstream: find a free port, then have it listen there.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let stage = Stage::on(address, address, |_| ()).await;
    let response = stage.get("/open/x", "").await;
    assert_eq!(status(&response), "508", "{response}");
    assert!(response.contains("loop_detected"));
    assert_eq!(stage.metric("portcullis_proxy_requests_total", None), 2.0);
}

#[tokio::test]
async fn an_expectation_is_answered_when_the_body_is_wanted() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let stage = Stage::new(upstream.address).await;
    let mut wire = stage.connect().await;
    wire.send(
        "POST /open/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    )
    .await;
    assert_eq!(status(&wire.head().await.unwrap()), "100");
    wire.send("hello").await;
    assert_eq!(status(&wire.head().await.unwrap()), "200");
    let seen = upstream.only();
    assert!(
        header(&seen, "expect").is_empty() && seen.ends_with("\r\n\r\nhello"),
        "{seen}"
    );
}
