//! HTTP/2 by prior knowledge, on either side and on both

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::stage::{Stage, Upstream, eventually, header, status};
use crate::config::Protocol;

type Seen = Arc<Mutex<Vec<(http::request::Parts, Bytes, Option<HeaderMap>)>>>;

/// An HTTP/2 upstream that answers with a body and trailers: to `HEAD` without them, unless the path ends in the status
/// to answer with.
async fn upstream() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let record = Arc::clone(&record);
            let service = service_fn(move |request: Request<Incoming>| {
                let record = Arc::clone(&record);
                async move {
                    let (head, body) = request.into_parts();
                    let Ok(body) = body.collect().await else {
                        return Ok(Response::new(response("broken", &[])));
                    };
                    let trailers = body.trailers().cloned();
                    let is_head = head.method == Method::HEAD;
                    let asked = head
                        .uri
                        .path()
                        .rsplit('/')
                        .next()
                        .unwrap()
                        .parse::<StatusCode>();
                    record
                        .lock()
                        .unwrap()
                        .push((head, body.to_bytes(), trailers));
                    let mut answer = Response::new(response(
                        "ok",
                        &[("grpc-status", "0"), ("x-user-id", "root")],
                    ));
                    let headers = answer.headers_mut();
                    headers.insert("content-length", 2.into());
                    headers.insert("trailer", "grpc-status, x-user-id".parse().unwrap());
                    if let Ok(asked) = asked {
                        headers.remove("content-length");
                        *answer.status_mut() = asked;
                    } else if is_head {
                        *answer.body_mut() = empty();
                    }
                    Ok::<_, Infallible>(answer)
                }
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, seen)
}

fn response(
    body: &'static str,
    trailers: &[(&'static str, &'static str)],
) -> BoxBody<Bytes, Infallible> {
    let trailers: HeaderMap = trailers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    Full::new(Bytes::from_static(body.as_bytes()))
        .with_trailers(std::future::ready(Some(Ok(trailers))))
        .boxed()
}

/// Sends one HTTP/2 request.
async fn ask(
    address: SocketAddr,
    request: Request<BoxBody<Bytes, Infallible>>,
) -> (http::response::Parts, Bytes, Option<HeaderMap>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let (head, body) = client.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    (head, body.to_bytes(), trailers)
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("http://asked.example{path}"))
        .version(Version::HTTP_2)
}

fn empty() -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::new()).boxed()
}

async fn stage(upstream: SocketAddr) -> Stage {
    Stage::with(upstream, |setup| setup.upstream.protocol = Protocol::Http2).await
}

#[tokio::test]
async fn both_sides() {
    let (address, seen) = upstream().await;
    let stage = stage(address).await;
    let frames = [
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"hel"))),
        Ok(Frame::data(Bytes::from_static(b"lo"))),
        Ok(Frame::trailers(
            [("x-check", "1"), ("x-portcullis-user", "root")]
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
        )),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let asked = request("POST", "/open/x?q=1")
        .header("te", "trailers")
        .header("x-user-id", "root")
        .body(BodyExt::boxed(body))
        .unwrap();
    let (head, body, trailers) = ask(stage.address, asked).await;
    assert_eq!((head.status.as_u16(), &*body), (200, &b"ok"[..]));
    let trailers = trailers.unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers.len(), 1, "{trailers:?}");

    let seen = seen.lock().unwrap();
    let (head, body, trailers) = &seen[0];
    assert_eq!(head.version, Version::HTTP_2);
    assert_eq!(head.uri.to_string(), format!("http://{address}/open/x?q=1"));
    assert_eq!(&**body, b"hello");
    assert_eq!(trailers.as_ref().unwrap()["x-check"], "1");
    assert_eq!(trailers.as_ref().unwrap().len(), 1);
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(head.headers["x-forwarded-host"], "asked.example");
    assert!(
        head.headers["via"]
            .to_str()
            .unwrap()
            .starts_with("2.0 portcullis-")
    );
    for absent in ["host", "x-user-id", "connection", "transfer-encoding"] {
        assert!(
            !head.headers.contains_key(absent),
            "{absent}: {:?}",
            head.headers
        );
    }
}

#[tokio::test]
async fn in_front_only() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
    )
    .await;
    let stage = Stage::new(upstream.address).await;
    let body = StreamBody::new(futures_util::stream::iter([Ok::<_, Infallible>(
        Frame::data(Bytes::from_static(b"hello")),
    )]));
    let asked = request("POST", "/open/x")
        .body(BodyExt::boxed(body))
        .unwrap();
    let (head, body, trailers) = ask(stage.address, asked).await;
    assert_eq!((head.status.as_u16(), &*body), (200, &b"ok"[..]));
    assert_eq!(trailers.unwrap()["x-sum"], "7");
    assert!(!head.headers.contains_key("x-hop"));
    let seen = upstream.only();
    assert!(seen.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{seen}");
    assert_eq!(header(&seen, "host"), [upstream.address.to_string()]);
    assert_eq!(header(&seen, "x-forwarded-host"), ["asked.example"]);
}

#[tokio::test]
async fn a_length_gives_way_to_announced_trailers_in_front_only() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let stage = Stage::new(upstream.address).await;
    for (method, announced, framing) in [
        (
            "POST",
            Some("x-check, x-portcullis-user"),
            "transfer-encoding: chunked",
        ),
        ("GET", Some("x-check"), "transfer-encoding: chunked"),
        ("POST", Some("x-portcullis-user"), "content-length: 2"),
        ("POST", None, "content-length: 2"),
    ] {
        let body = response("hi", &[("x-check", "1"), ("x-portcullis-user", "root")]);
        let mut asked = request(method, "/open/x").header("content-length", "2");
        if let Some(announced) = announced {
            asked = asked.header("trailer", announced);
        }
        let (head, ..) = ask(stage.address, asked.body(body).unwrap()).await;
        assert_eq!(head.status, 200);

        let seen = upstream.seen().pop().unwrap().to_lowercase();
        let (head, body) = seen.split_once("\r\n\r\n").unwrap();
        let lengths = ["content-length", "transfer-encoding"];
        assert!(head.contains(framing), "{announced:?}: {seen}");
        assert_eq!(
            lengths.iter().filter(|name| head.contains(**name)).count(),
            1,
            "{seen}"
        );
        if framing.starts_with("transfer") {
            assert_eq!(header(&seen, "trailer"), ["x-check"]);
            assert_eq!(body, "2\r\nhi\r\n0\r\nx-check: 1\r\n\r\n");
        } else {
            assert_eq!(header(&seen, "trailer"), Vec::<&str>::new());
            assert_eq!(body, "hi");
        }
    }
}

#[tokio::test]
async fn a_length_gives_way_to_announced_trailers_behind_only() {
    let (address, _) = upstream().await;
    let stage = stage(address).await;
    let response = stage
        .get("/open/x", "TE: trailers\r\nConnection: TE\r\n")
        .await
        .to_lowercase();
    assert_eq!(header(&response, "transfer-encoding"), ["chunked"]);
    assert_eq!(header(&response, "content-length"), Vec::<&str>::new());
    assert_eq!(header(&response, "trailer"), ["grpc-status"]);
    assert!(
        response.ends_with("\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n"),
        "{response}"
    );

    // What cannot carry trailers keeps its length.
    for (request, body) in [
        ("GET /open/x HTTP/1.0\r\nHost: h\r\n\r\n", "ok"),
        (
            "HEAD /open/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "",
        ),
    ] {
        let response = stage.ask(request).await;
        assert_eq!(header(&response, "content-length"), ["2"], "{response}");
        assert_eq!(response.split_once("\r\n\r\n").unwrap().1, body);
    }
}

#[tokio::test]
async fn a_body_where_there_is_none() {
    let (address, _) = upstream().await;
    let stage = stage(address).await;
    for (method, path, expected) in [
        ("HEAD", "/open/200", "502"),
        ("GET", "/open/204", "502"),
        ("GET", "/open/304", "502"),
        ("GET", "/open/200", "200"),
        ("HEAD", "/open/x", "200"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let response = stage.ask(&request).await;
        assert_eq!(status(&response), expected, "{method} {path}: {response}");
    }
}

#[tokio::test]
async fn behind_only() {
    let (address, seen) = upstream().await;
    let stage = stage(address).await;
    let response = stage
        .ask("POST /open/x HTTP/1.1\r\nHost: asked.example\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    assert_eq!(status(&response), "200", "{response}");
    assert!(response.contains("ok"));
    let seen = seen.lock().unwrap();
    assert_eq!(&*seen[0].1, b"hello");
    assert_eq!(seen[0].0.headers["content-length"], "5");
}

#[tokio::test]
async fn a_refusal_ends_the_stream_and_not_the_connection() {
    let (address, seen) = upstream().await;
    let stage = stage(address).await;
    for (method, path, code) in [
        ("GET", "/nowhere", 403),
        ("POST", "/users/alice", 401),
        ("GET", "/open//x", 400),
    ] {
        let (head, body, _) =
            ask(stage.address, request(method, path).body(empty()).unwrap()).await;
        assert_eq!(head.status.as_u16(), code, "{body:?}");
        assert!(!head.headers.contains_key("connection"));
        assert!(head.headers.contains_key("x-portcullis-request-id"));
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stream_that_is_reset_lets_the_upstream_go() {
    let gone = Arc::new(AtomicBool::new(false));
    let upstream = Upstream::start({
        let gone = Arc::clone(&gone);
        move |mut wire| {
            let gone = Arc::clone(&gone);
            async move {
                wire.head().await;
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
                    .await;
                gone.store(wire.is_gone().await, Ordering::SeqCst);
            }
        }
    })
    .await;
    let stage = Stage::new(upstream.address).await;
    let stream = TcpStream::connect(stage.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let asked = || request("GET", "/open/x").body(empty()).unwrap();
    let mut response = client.send_request(asked()).await.unwrap();
    response.frame().await.unwrap().unwrap();
    drop(response);
    eventually("the upstream is let go", || gone.load(Ordering::SeqCst)).await;
    assert_eq!(
        client.send_request(asked()).await.unwrap().status(),
        200,
        "the connection lives on"
    );
}

/// An upstream of raw frames: greets, then answers the first stream of each connection with a `GOAWAY` that says it was
/// not looked at, except on the connection with this index, where it answers 204.
async fn leaving(until: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let index = count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
                let go_away: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                // HEADERS with END_STREAM and END_HEADERS on stream 1; 0x89 is `:status: 204`.
                let no_content: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x89];
                stream.write_all(settings).await.unwrap();
                let mut received = Vec::new();
                let mut some = [0; 4096];
                // The request is there once the preface, the settings and a frame of type HEADERS are.
                while !has_headers(&received) {
                    let read = stream.read(&mut some).await.unwrap();
                    if read == 0 {
                        return;
                    }
                    received.extend_from_slice(&some[..read]);
                }
                let answer = if index == until { no_content } else { go_away };
                stream.write_all(answer).await.unwrap();
                while stream.read(&mut some).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    (address, connections)
}

fn has_headers(received: &[u8]) -> bool {
    let mut rest = received.get(24..).unwrap_or_default();
    while let [a, b, c, kind, ..] = rest {
        if *kind == 1 {
            return true;
        }
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    false
}

#[tokio::test]
async fn what_the_upstream_did_not_look_at_is_tried_once_more() {
    for (method, until, code, connections) in [
        ("GET", 1, "204", 2),
        ("GET", 2, "502", 2),
        ("POST", 1, "502", 1),
    ] {
        let (address, count) = leaving(until).await;
        let stage = stage(address).await;
        let response = stage
            .ask(&format!(
                "{method} /open/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            ))
            .await;
        assert_eq!(status(&response), code, "{method} {until}: {response}");
        assert_eq!(
            count.load(Ordering::SeqCst),
            connections,
            "{method} {until}"
        );
    }
}

#[tokio::test]
async fn too_large_a_body_is_refused() {
    let (address, seen) = upstream().await;
    let stage = Stage::with(address, |setup| {
        setup.upstream.protocol = Protocol::Http2;
        setup.limits.body_bytes = settings::ByteSize(1000);
    })
    .await;
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let response = stage
        .ask(&format!(
            "POST /open/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}0\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&response), "413", "{response}");
    assert!(
        seen.lock().unwrap().is_empty(),
        "the upstream never had a whole request"
    );
}
