//! Connections that leave HTTP, and those that must not

use tokio::io::AsyncWriteExt as _;

use super::stage::{Stage, Upstream, Wire, eventually, header, millis, status};

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";

const ENDED: &str = "portcullis_proxy_requests_total";

fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\n{more}\r\n"
    )
}

/// Switches at once, and sends everything back.
async fn echo(mut wire: Wire) {
    while wire.message().await.is_some() {
        wire.send(&format!("{SWITCH}hello")).await;
        while let Some(word) = wire.until("!").await {
            wire.send(&word).await;
        }
        wire.send("bye").await;
    }
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_until_both_sides_have_ended() {
    let upstream = Upstream::start(echo).await;
    let stage = Stage::new(upstream.address).await;
    let mut wire = stage.connect().await;
    wire.send(&request(
        "/tunnel/x",
        "TE: trailers\r\nX-Portcullis-User: root\r\n",
    ))
    .await;
    let head = wire.head().await.unwrap();
    assert_eq!(status(&head), "101", "{head}");
    assert_eq!(header(&head, "connection"), ["upgrade"]);
    assert_eq!(header(&head, "upgrade"), ["websocket"]);
    assert_eq!(header(&head, "x-portcullis-request-id").len(), 1);
    assert!(
        header(&head, "content-length").is_empty() && header(&head, "transfer-encoding").is_empty(),
        "{head}"
    );

    let seen = upstream.only();
    assert_eq!(header(&seen, "connection"), ["upgrade"], "{seen}");
    assert_eq!(header(&seen, "upgrade"), ["websocket"], "{seen}");
    assert_eq!(header(&seen, "sec-websocket-key"), ["abc"], "{seen}");
    for stripped in ["te", "x-portcullis-user"] {
        assert!(header(&seen, stripped).is_empty(), "{seen}");
    }

    // What came right behind the 101 came first.
    assert_eq!(wire.until("hello").await.unwrap(), "hello");
    for word in [
        "GET / HTTP/1.1\r\n\r\n!",
        "HEAD / HTTP/1.1\r\n\r\nHTTP/1.1 204 x\r\n\r\n!",
    ] {
        wire.send(word).await;
        assert_eq!(wire.until("!").await.unwrap(), word);
    }
    wire.stream.shutdown().await.unwrap();
    assert_eq!(wire.rest().await, "bye");
    eventually("the tunnel is counted", || {
        stage.metric(ENDED, Some("ok")) == 1.0
    })
    .await;
    assert_eq!(stage.metric("portcullis_proxy_in_flight", None), 0.0);
    assert_eq!(stage.metric("portcullis_tunnels_open", None), 0.0);
    let sent = stage.metric("portcullis_proxy_response_body_bytes_total", None);
    let received = stage.metric("portcullis_proxy_request_body_bytes_total", None);
    assert_eq!(sent - received, 8.0, "`hello` and `bye`");
}

/// What the client says before it may is nobody's: not a request, not the other protocol.
#[tokio::test]
async fn bytes_before_the_answer_are_never_carried() {
    for early in ["\u{1}", "GET /open/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"] {
        let upstream = Upstream::start(echo).await;
        let stage = Stage::new(upstream.address).await;
        let mut wire = stage.connect().await;
        wire.send(&format!("{}{early}", request("/tunnel/x", "")))
            .await;
        let answer = wire.rest().await;
        assert_eq!(status(&answer), "400", "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert_eq!(upstream.connections(), 0, "{early:?}");
    }
}

#[tokio::test]
async fn bytes_while_the_upstream_thinks_are_never_carried() {
    for answer in [SWITCH, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"] {
        let (go, may_answer) = tokio::sync::watch::channel(false);
        let upstream = Upstream::start(move |mut wire: Wire| {
            let mut may_answer = may_answer.clone();
            async move {
                let Some(message) = wire.message().await else {
                    return;
                };
                if message.contains("/open/") {
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                    return;
                }
                may_answer.wait_for(|go| *go).await.unwrap();
                wire.send(answer).await;
                assert_eq!(wire.rest().await, "", "carried");
            }
        })
        .await;
        let stage = Stage::new(upstream.address).await;
        let mut wire = stage.connect().await;
        wire.send(&request("/tunnel/x", "")).await;
        eventually("it is on its way", || upstream.seen().len() == 1).await;
        wire.send("GET /open/smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
            .await;
        // Long enough for the proxy to have read it.
        assert_eq!(status(&stage.get("/open/x", "").await), "200");
        go.send_replace(true);
        let said = wire.rest().await;
        let expected = if answer == SWITCH { "400" } else { "200" };
        assert_eq!(status(&said), expected, "{said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
        assert_eq!(header(&said, "connection"), ["close"], "{said}");
        assert!(!upstream.seen().iter().any(|seen| seen.contains("smuggled")));
    }
}

#[tokio::test]
async fn only_the_protocol_that_was_asked_for_opens_a_tunnel() {
    for (upgrade, expected) in [
        (
            "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
            "101",
        ),
        ("Upgrade: WebSocket\r\nConnection: upgrade\r\n", "101"),
        ("Upgrade: chat/2\r\nConnection: upgrade\r\n", "502"),
        (
            "Upgrade: websocket, chat/2\r\nConnection: upgrade\r\n",
            "502",
        ),
        (
            "Upgrade: websocket\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
            "502",
        ),
        ("Upgrade: websocket\r\n", "502"),
        ("Connection: upgrade\r\n", "502"),
        (
            "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n",
            "502",
        ),
        ("", "502"),
    ] {
        let upstream = Upstream::start(move |mut wire: Wire| async move {
            wire.message().await;
            wire.send(&format!(
                "HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n"
            ))
            .await;
            wire.is_gone().await;
        })
        .await;
        let stage = Stage::new(upstream.address).await;
        let mut wire = stage.connect().await;
        wire.send(&request("/tunnel/x", "")).await;
        let head = wire.head().await.unwrap();
        assert_eq!(status(&head), expected, "{upgrade}: {head}");
    }
}

#[tokio::test]
async fn an_upgrade_is_for_the_route_to_allow() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let upstream = Upstream::answering(ok).await;
    let stage = Stage::new(upstream.address).await;
    let ask = async |line: &str, lines: &str| {
        let request = format!("{line}\r\nHost: h\r\nConnection: upgrade\r\n{lines}\r\n");
        stage.ask(&request).await
    };
    for (line, lines, expected) in [
        ("GET /open/x HTTP/1.1", "Upgrade: websocket\r\n", "501"),
        ("GET /tunnel/x HTTP/1.1", "Upgrade: other\r\n", "501"),
        ("GET /tunnel/x HTTP/1.1", "Upgrade: websocket/13\r\n", "501"),
        ("POST /tunnel/x HTTP/1.1", "Upgrade: websocket\r\n", "400"),
        (
            "GET /tunnel/x HTTP/1.1",
            "Upgrade: websocket\r\nContent-Length: 2\r\n",
            "400",
        ),
        (
            "GET /tunnel/x HTTP/1.1",
            "Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
            "400",
        ),
        ("GET /users/alice HTTP/1.1", "Upgrade: websocket\r\n", "401"),
    ] {
        let answer = ask(line, lines).await;
        assert_eq!(status(&answer), expected, "{line} {lines}: {answer}");
        assert_eq!(header(&answer, "connection"), ["close"], "{answer}");
    }
    assert_eq!(upstream.connections(), 0);
    // The first that the route knows is what is asked for; an offer of HTTP/2 is none.
    for (lines, asked) in [
        ("Upgrade: other, Chat/2, websocket\r\n", vec!["Chat/2"]),
        ("Upgrade: h2c\r\nUpgrade: websocket\r\n", vec!["websocket"]),
        (
            "Upgrade: h2c\r\nHTTP2-Settings: AA\r\nConnection: close\r\n",
            vec![],
        ),
    ] {
        let answer = ask("GET /tunnel/x HTTP/1.1", lines).await;
        assert_eq!(status(&answer), "200", "{lines}: {answer}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(header(&seen, "upgrade"), asked, "{seen}");
    }
    // HTTP/1.0 knows no upgrades.
    let answer = ask("GET /tunnel/x HTTP/1.0", "Upgrade: websocket\r\n").await;
    assert_eq!(status(&answer), "200", "{answer}");
    let seen = upstream.seen().pop().unwrap();
    assert!(header(&seen, "upgrade").is_empty(), "{seen}");
}

#[tokio::test]
async fn tunnels_are_limited_and_do_not_idle() {
    let upstream = Upstream::start(echo).await;
    let stage = Stage::with(upstream.address, |setup| {
        setup.limits.tunnels = 1;
        setup.streams.idle_timeout = millis(300);
    })
    .await;
    let mut wire = stage.connect().await;
    wire.send(&request("/tunnel/x", "")).await;
    assert_eq!(status(&wire.head().await.unwrap()), "101");
    let refused = stage.ask(&request("/tunnel/x", "")).await;
    assert_eq!(status(&refused), "503", "{refused}");
    // To a request that asked for nothing of the kind, the upstream must not switch.
    assert_eq!(status(&stage.get("/open/x", "").await), "502");
    assert_eq!(wire.rest().await, "hello");
    eventually("it was idle", || {
        stage.metric(ENDED, Some("idle_timeout")) == 1.0
    })
    .await;
    let mut wire = stage.connect().await;
    wire.send(&request("/tunnel/x", "")).await;
    assert_eq!(status(&wire.head().await.unwrap()), "101");
}
