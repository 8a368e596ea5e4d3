//! Requests of which the upstream must not see a byte

use tokio::net::TcpListener;

use super::stage::{Stage, Upstream, header, status};

/// Each is a request, the status and the code.
const CASES: &[(&str, &str, &str)] = &[
    (
        "GET /users/alice HTTP/1.1\r\nHost: h\r\n\r\n",
        "401",
        "missing_token",
    ),
    (
        "GET /users/alice HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer rubbish\r\n\r\n",
        "401",
        "invalid_token",
    ),
    (
        "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n",
        "403",
        "route_not_mapped",
    ),
    (
        "GET /open/../users HTTP/1.1\r\nHost: h\r\n\r\n",
        "400",
        "ambiguous_path",
    ),
    (
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: x-user-id\r\n\r\n",
        "400",
        "invalid_request",
    ),
    (
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: close, authorization, x-forwarded-for\r\n\r\n",
        "400",
        "invalid_request",
    ),
    (
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: host, cookie\r\n\r\n",
        "400",
        "invalid_request",
    ),
    (
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: a b\r\n\r\n",
        "400",
        "invalid_request",
    ),
    (
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "501",
        "not_implemented",
    ),
    (
        "TRACE /open/x HTTP/1.1\r\nHost: h\r\n\r\n",
        "405",
        "method_not_allowed",
    ),
    (
        "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n",
        "405",
        "method_not_allowed",
    ),
    (
        "GET /users/bob HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nAuthorization: Bearer {alice}\r\n\r\n",
        "403",
        "forbidden",
    ),
    // The rest of the body must not be read as a request, nor waited for.
    (
        "POST /users/alice HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n",
        "401",
        "missing_token",
    ),
    (
        "POST /users/alice HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
        "401",
        "missing_token",
    ),
];

/// What is sent right behind each: a request that nobody would refuse. Behind a head that announces a body it is part of
/// the body, and none the less not to be looked at.
const BEHIND: &str = "GET /open/behind HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test]
async fn nothing_of_a_refused_request_is_sent_on_and_nothing_behind_it_served() {
    for (request, expected, code) in CASES {
        let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let stage = Stage::new(upstream.address).await;
        let request = request.replace("{alice}", &stage.token);
        let mut wire = stage.connect().await;
        wire.send(&format!("{request}{BEHIND}")).await;
        let head = wire.head().await.unwrap();
        assert_eq!(status(&head), *expected, "{request}: {head}");
        assert_eq!(header(&head, "connection"), ["close"], "{request}: {head}");
        assert_eq!(header(&head, "x-portcullis-request-id")[0].len(), 32);
        // Sent when the answer is out, it is as little of a request.
        wire.send(BEHIND).await;
        let rest = wire.rest().await;
        assert!(
            rest.contains(code) && !rest.contains("HTTP/1.1"),
            "{request}: {rest}"
        );

        let requests = |code| stage.metric("portcullis_proxy_requests_total", code);
        assert_eq!(
            (requests(Some(code)), requests(None)),
            (1.0, 1.0),
            "{request}"
        );
        assert_eq!(upstream.connections(), 0, "{request}");
    }
}

#[tokio::test]
async fn a_failure_of_the_upstream_closes_nothing() {
    let upstream = Upstream::start(|mut wire| async move {
        let request = wire.message().await.unwrap();
        if request.contains("/open/good") {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let stage = Stage::new(upstream.address).await;
    let mut wire = stage.connect().await;
    for (path, expected) in [("bad", "502"), ("good", "200")] {
        wire.send(&format!("GET /open/{path} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        let response = wire.message().await.unwrap();
        assert_eq!(status(&response), expected, "{response}");
        assert_eq!(header(&response, "connection"), Vec::<&str>::new());
    }
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
