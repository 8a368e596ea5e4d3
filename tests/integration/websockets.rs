//! WebSockets and other upgrades through the real binary, and everything that asks for one and must not get it.

use crate::harness::http1::{Client, get};
use crate::harness::http2::{Frames, Outcome};
use crate::harness::sidecar::{Sidecar, run};
use crate::harness::table::{Expect, Table, with_lines};
use crate::harness::tokens::{KEYS, claims, reader, with};
use crate::harness::upstream::{Exchange, Upstream};
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, http2, until};
use Expect::{BadToken, Closed, Forwarded, NoCredentials, Refused};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{accept_async, client_async};

/// Head lines that ask for a WebSocket.
pub(crate) const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// The depot pack, whose documents and public part speak WebSocket.
pub(crate) fn with_upgrades(upstream: SocketAddr) -> Workspace {
    Workspace::new(upstream).set("/routes/0/upgrade", json!(["websocket"])).set("/routes/8/upgrade", json!(["websocket"]))
}

/// Head lines that ask for a WebSocket with this token.
pub(crate) fn asking(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n{WEBSOCKET}")
}

/// Switches when it is asked to, and sends back what comes.
pub(crate) fn echo(exchange: &mut Exchange) {
    if exchange.head.get("upgrade").is_none() {
        return exchange.answer_ok();
    }
    exchange.write(SWITCH);
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = exchange.connection.read(&mut chunk) {
        if exchange.connection.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    exchange.close();
}

/// A tunnel that is open.
pub(crate) fn open(sidecar: &Sidecar, target: &str, lines: &str) -> Client {
    let mut client = Client::connect(sidecar.proxy());
    let head = client.send(&with_lines("GET", target, lines)).head().unwrap();
    assert!(head.line.contains(" 101 "), "{head:?}");
    client
}

/// Whether what is sent through the tunnel comes back.
pub(crate) fn echoes(client: &mut Client) -> bool {
    client.try_send(b"ping").is_ok() && client.some_bytes().is_ok_and(|bytes| bytes == b"ping")
}

/// A real client and a real server, with a forbidden and a nameless client beside them.
#[test]
fn a_websocket_from_end_to_end() {
    http2::runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut socket = accept_async(stream).await.unwrap();
                    while let Some(Ok(message)) = socket.next().await {
                        if message.is_text() || message.is_binary() {
                            socket.send(message).await.unwrap();
                        }
                    }
                });
            }
        });
        let sidecar = Sidecar::start(&with_upgrades(address));
        let connect = async |token: Option<String>| {
            let mut request = format!("ws://{}/v1/documents/report", sidecar.proxy()).into_client_request().unwrap();
            if let Some(token) = token {
                request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            }
            let stream = TcpStream::connect(sidecar.proxy()).await.unwrap();
            client_async(request, stream).await
        };
        let (mut socket, response) = connect(Some(KEYS.token(&reader()))).await.unwrap();
        assert_eq!(response.status(), 101);
        let large: Vec<u8> = (0..1_000_000_u32).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
        for message in [Message::text("hello"), Message::binary(large), Message::text("")] {
            socket.send(message.clone()).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap() == message);
        }
        socket.send(Message::Ping("x".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("x".into()));
        socket.close(None).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))), "the closing handshake");
        drop(socket);

        for (token, status) in [(None, 401), (Some(KEYS.token(&claims("nora", &["nobody"]))), 403)] {
            match connect(token).await {
                Err(Error::Http(response)) => assert_eq!(response.status(), status),
                other => panic!("{other:?}"),
            }
        }
        until("the account of the tunnel", PATIENCE, || {
            let log = sidecar.stdout();
            log.lines().any(|line| line.contains(r#""decision":"ALLOW""#) && line.contains(r#""status":101"#) && line.contains(r#""code":"ok""#)).then_some(())
        });
    });
}

/// Cases 158, 159: what asks for another protocol and does not get it, or asks in a way that two servers could read in two.
#[test]
fn upgrades_that_are_refused() {
    let upstream = Upstream::with(echo);
    let sidecar = Sidecar::start(&with_upgrades(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let token = KEYS.token(&reader());
    let good = asking(&token);
    let report = "/v1/documents/report";
    let not_here = Closed(501, "not_implemented");
    let malformed = Closed(400, "invalid_request");
    table.row(159, "no token", &with_lines("GET", report, WEBSOCKET), NoCredentials);
    table.row(159, "a bad token", &with_lines("GET", report, &asking("x")), BadToken("invalid_token"));
    table.row(159, "a document that is forbidden", &with_lines("GET", "/v1/documents/secret", &good), Refused(403, "forbidden"));
    table.row(159, "a route without upgrades", &with_lines("GET", "/v1/scoped/report", &good), not_here);
    table.row(159, "another protocol", &with_lines("GET", report, &good.replace("websocket", "other")), not_here);
    table.row(159, "another method", &with_lines("POST", "/public/x", WEBSOCKET), malformed);
    table.row(159, "a body", &[with_lines("GET", report, &format!("{good}Content-Length: 5\r\n")), b"hello".to_vec()].concat(), malformed);
    table.row(159, "a chunked body", &[with_lines("GET", report, &format!("{good}Transfer-Encoding: chunked\r\n")), b"0\r\n\r\n".to_vec()].concat(), malformed);
    for (what, early) in [
        ("a frame behind it", b"\x81\x05hello".as_slice()),
        ("one byte behind it", b"\0"),
        ("a request behind it", b"GET /public/smuggled HTTP/1.1\r\nHost: service\r\n\r\n"),
        ("a preface behind it", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ] {
        table.row(159, what, &[with_lines("GET", report, &good), early.to_vec()].concat(), malformed);
    }
    table.row(158, "an offer of h2c", &with_lines("GET", report, &good.replace("websocket", "h2c")), Forwarded);
    table.finish();
    let smuggled = upstream.heads().iter().any(|head| head.target().contains("smuggled") || head.get("upgrade").is_some());
    assert!(!smuggled, "{:?}", upstream.heads());
}

/// There are as many tunnels as the configuration says, and of those a quarter for each principal, whatever its tokens; where
/// nobody has to be known, for each address.
#[test]
fn tunnels_are_limited_in_all_and_for_each_caller() {
    let upstream = Upstream::with(echo);
    let workspace = with_upgrades(upstream.address()).set("/limits/tunnels", json!(8)).set("/forwarded", json!({"trusted_peers": ["127.0.0.0/8"]}));
    let sidecar = Sidecar::start(&workspace);
    let report = "/v1/documents/report";
    let token = |user: &str, id: u8| asking(&KEYS.token(&with(&claims(user, &["reader"]), json!({"jti": format!("{user}-{id}")}))));
    let refused = |target: &str, lines: &str| {
        let known = upstream.bytes();
        let answer = get(sidecar.proxy(), target, lines);
        assert_eq!((answer.status, answer.code().as_str(), upstream.bytes()), (503, "overloaded", known));
        assert_eq!(answer.head.get("retry-after"), Some("1"));
        assert_eq!(answer.head.get("connection"), Some("close"));
    };
    let mut tunnels: Vec<Client> = (0..2).map(|id| open(&sidecar, report, &token("rita", id))).collect();
    refused(report, &token("rita", 2));
    tunnels.extend((0..2).map(|id| open(&sidecar, report, &token("rob", id))));
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n{WEBSOCKET}");
    tunnels.extend((0..2).map(|_| open(&sidecar, "/public/x", &from("192.0.2.1"))));
    refused("/public/x", &from("192.0.2.1"));
    refused("/public/x", &from("192.0.2.2, 192.0.2.1"));
    assert_eq!(get(sidecar.proxy(), report, &token("rita", 3).replace(WEBSOCKET, "")).status, 200, "requests have places of their own");

    // Who gives one back has it back, and nobody else's are touched.
    tunnels.remove(0);
    until("a place", PATIENCE, || {
        let mut client = Client::connect(sidecar.proxy());
        let head = client.send(&with_lines("GET", report, &token("rita", 4))).head().unwrap();
        head.line.contains(" 101 ").then(|| tunnels.push(client))
    });
    tunnels.extend((0..2).map(|id| open(&sidecar, report, &token("olga", id))));
    refused(report, &token("sam", 0));
    assert!(tunnels.iter_mut().all(echoes));
    drop(tunnels);
    until("the end of all", PATIENCE, || {
        get(sidecar.telemetry(), "/metrics", "").text().contains("portcullis_tunnels_open{listener=\"proxy\"} 0\n").then_some(())
    });
    tunnels = (0..2).map(|id| open(&sidecar, report, &token("rita", id))).collect();
    refused(report, &token("rita", 2));
    assert!(tunnels.iter_mut().all(echoes));
}

/// Case 159: an upstream that does not switch gets no tunnel, and one that switches elsewhere is not believed.
#[test]
fn upstreams_that_do_not_switch() {
    for (what, answer, expected) in [
        ("an ordinary answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        ("an ordinary answer that claims to switch", "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok", 200),
        ("a refusal", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403),
        ("a demand for an upgrade", "HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nContent-Length: 0\r\n\r\n", 426),
        ("another protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n", 502),
        ("no protocol", "HTTP/1.1 101 Switching Protocols\r\n\r\n", 502),
    ] {
        let upstream = Upstream::with(move |exchange| {
            exchange.write(answer.as_bytes());
            let mut rest = Vec::new();
            let _ = exchange.connection.read_to_end(&mut rest);
            assert!(rest.is_empty(), "{what}: carried {rest:?}");
            exchange.close();
        });
        let sidecar = Sidecar::start(&with_upgrades(upstream.address()));
        let mut client = Client::connect(sidecar.proxy());
        let answer = client.send(&with_lines("GET", "/public/x", WEBSOCKET)).answer().unwrap();
        assert_eq!(answer.status, expected, "{what}");
        assert_eq!(answer.head.get("upgrade"), None, "{what}");
        assert_eq!(answer.head.get("connection"), Some("close"), "{what}");
        // Too late to be anything.
        client.send(b"\x81\x05hello");
        assert!(client.rest().is_empty(), "{what}");
        drop(client);
        until("the end of the upstream's connection", PATIENCE, || (upstream.open_connections() == 0).then_some(()));
    }
}

/// RFC 8441 is not served: no setting offers it, and who asks all the same loses the stream.
#[test]
fn extended_connect_is_refused() {
    let upstream = Upstream::with(echo);
    let sidecar = Sidecar::start(&with_upgrades(upstream.address()));
    let mut frames = Frames::connect(sidecar.proxy());
    let fields: [(&[u8], &[u8]); 5] =
        [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/public/x"), (b":authority", b"service")];
    frames.headers(1, &fields, http2::END_HEADERS);
    assert!(!matches!(frames.outcome(1, PATIENCE), Outcome::Status(200)), "a tunnel over HTTP/2");
    upstream.assert_untouched();
}

/// What is cut at the end of the process, and what a configuration must not say.
#[test]
fn a_tunnel_ends_with_the_process() {
    let upstream = Upstream::with(echo);
    let mut sidecar = Sidecar::start(&with_upgrades(upstream.address()).set("/timeouts/drain", json!("1s")));
    let mut client = open(&sidecar, "/public/x", WEBSOCKET);
    assert!(echoes(&mut client));
    sidecar.terminate();
    assert!(client.is_closed(PATIENCE));
    assert_eq!(sidecar.exited(PATIENCE).code(), Some(0));
    assert!(sidecar.stdout().contains(r#""code":"drained""#), "{}", sidecar.stdout());
}

#[test]
fn mistakes_about_upgrades() {
    let upstream = Upstream::start();
    for (pointer, value, key) in [
        ("/routes/0/upgrade", json!(["h2c"]), "routes[0].upgrade[0]"),
        ("/routes/0/upgrade", json!(["web socket"]), "routes[0].upgrade[0]"),
        ("/routes/2/upgrade", json!(["websocket"]), "routes[2].upgrade"),
        ("/upstream/protocol", json!("http2"), "upstream.protocol"),
        ("/streams", json!({"revalidate": "16s"}), "streams.revalidate"),
        ("/streams", json!({"revalidate": "0s"}), "streams.revalidate"),
        ("/streams", json!({"idle_timeout": "0s"}), "streams.idle_timeout"),
    ] {
        let workspace = with_upgrades(upstream.address()).set(pointer, value);
        let output = run(&["serve", "-c", workspace.config_path().to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{pointer}: {said}");
        assert!(said.contains(key), "{pointer}: {said}");
    }
}
