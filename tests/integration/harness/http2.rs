//! HTTP/2 over clear text with prior knowledge: frames by hand for what no client would send, hyper for the rest.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub(crate) type BoxBody = UnsyncBoxBody<Bytes, Infallible>;

/// A connection that sends any frames.
pub(crate) struct Frames {
    stream: TcpStream,
}

/// How the server answered a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Status(u16),
    /// RST_STREAM with this error code.
    Reset(u32),
    /// GOAWAY with this error code.
    GoAway(u32),
    Closed,
    Silent,
}

/// A response read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// An upstream that speaks only HTTP/2, keeps the requests, and answers with a body and a trailer.
pub(crate) struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Ends the server when dropped.
    runtime: Option<Runtime>,
}

/// A request that reached the HTTP/2 upstream.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

// === impl Frames ===

impl Frames {
    /// Connects, with the preface and empty settings sent.
    pub(crate) fn connect(address: SocketAddr) -> Frames {
        let mut frames = Frames::silent(address);
        frames.send(PREFACE);
        frames.frame(SETTINGS, 0, 0, b"");
        frames
    }

    /// Connects and says nothing.
    pub(crate) fn silent(address: SocketAddr) -> Frames {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Frames { stream }
    }

    pub(crate) fn preface(&mut self) {
        self.send(PREFACE);
    }

    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&frame(kind, flags, stream, payload));
    }

    /// One HEADERS frame with exactly these fields.
    pub(crate) fn headers(&mut self, stream: u32, fields: &[(&[u8], &[u8])], flags: u8) {
        self.frame(HEADERS, flags, stream, &block(fields));
    }

    pub(crate) fn continuation(&mut self, stream: u32, fields: &[(&[u8], &[u8])], flags: u8) {
        self.frame(CONTINUATION, flags, stream, &block(fields));
    }

    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8], flags: u8) {
        self.frame(DATA, flags, stream, bytes);
    }

    pub(crate) fn reset(&mut self, stream: u32) {
        self.frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }

    /// These bytes many times over.
    pub(crate) fn flood(&mut self, bytes: &[u8], times: usize) {
        self.send(&bytes.repeat(times));
    }

    /// Whether a ping sent now is answered; if not, the error code of the GOAWAY that came instead.
    pub(crate) fn pong(&mut self, limit: Duration) -> Result<(), Option<u32>> {
        self.frame(PING, 0, 0, &[1; 8]);
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let mut head = [0; 9];
        while self.stream.read_exact(&mut head).is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if self.stream.read_exact(&mut payload).is_err() {
                break;
            }
            match head[3] {
                GOAWAY => return Err(Some(code(&payload[4..]))),
                PING if head[4] & ACK != 0 && payload == [1; 8] => return Ok(()),
                _ => {}
            }
        }
        Err(None)
    }

    /// What becomes of `stream`, waiting at most `limit`.
    pub(crate) fn outcome(&mut self, stream: u32, limit: Duration) -> Outcome {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Outcome::Silent;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut head = [0; 9];
            match self.stream.read_exact(&mut head) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    return Outcome::Silent;
                }
                Err(_) => return Outcome::Closed,
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if self.stream.read_exact(&mut payload).is_err() {
                return Outcome::Closed;
            }
            let on = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match head[3] {
                HEADERS if on == stream => return Outcome::Status(status(&payload)),
                RST_STREAM if on == stream => return Outcome::Reset(code(&payload)),
                GOAWAY => return Outcome::GoAway(code(&payload[4..])),
                SETTINGS if head[4] & ACK == 0 => self.frame(SETTINGS, ACK, 0, b""),
                _ => {}
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        // The server may have hung up on us already; `outcome` tells.
        let _ = self.stream.write_all(bytes);
    }
}

/// One frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// HPACK (RFC 7541): each field literal, never indexed, no Huffman.
fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            hpack_length(&mut block, text.len());
            block.extend(*text);
        }
    }
    block
}

fn hpack_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// `:status` of the first response on a connection, which stands first in its block.
fn status(block: &[u8]) -> u16 {
    // A change of the dynamic table's size may come before.
    let block = match block {
        [size, rest @ ..] if size & 0xe0 == 0x20 => rest,
        all => all,
    };
    match block {
        [indexed, ..] if indexed & 0x80 != 0 => {
            let known = [200, 204, 206, 304, 400, 404, 500];
            known.get(usize::from(indexed & 0x7f).wrapping_sub(8)).copied().unwrap_or(0)
        }
        [_, length, value @ ..] if length & 0x80 != 0 => huffman_digits(value),
        [_, length, value @ ..] => String::from_utf8_lossy(&value[..usize::from(*length)]).parse().unwrap_or(0),
        _ => 0,
    }
}

/// Three digits in the Huffman code of RFC 7541 appendix B: 0 to 2 have five bits, the others six.
fn huffman_digits(value: &[u8]) -> u16 {
    let mut bits = value.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next().unwrap_or(1);
        }
        number = number * 10
            + match code {
                0..=2 => code,
                _ => (code << 1 | bits.next().unwrap_or(1)) - 0x19 + 3,
            };
    }
    number
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]])
}

// === a client ===

/// A runtime for the one test that asks.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// An HTTP/2 connection to `address`.
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<BoxBody> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(async move {
        // How the connection ends shows in the answers.
        let _ = connection.await;
    });
    sender
}

/// One request and its whole answer.
pub(crate) async fn ask(sender: &mut SendRequest<BoxBody>, request: Request<BoxBody>) -> Answer {
    let response = sender.send_request(request).await.unwrap();
    read(response).await
}

pub(crate) async fn read(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers }
}

/// A body that is there at once.
pub(crate) fn full(bytes: impl Into<Bytes>) -> BoxBody {
    http_body_util::Full::new(bytes.into()).boxed_unsync()
}

/// A body of unannounced length, followed by trailers.
pub(crate) fn with_trailers(bytes: impl Into<Bytes>, trailers: HeaderMap) -> BoxBody {
    let frames = [Frame::data(bytes.into()), Frame::trailers(trailers)].map(Ok);
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

// === impl Upstream ===

impl Upstream {
    pub(crate) fn start() -> Upstream {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let record = record.clone();
                let service = service_fn(move |request| answer(request, record.clone()));
                tokio::spawn(hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
            }
        });
        Upstream { address, seen, runtime: Some(runtime) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(request: Request<Incoming>, record: Arc<Mutex<Vec<Seen>>>) -> Result<Response<BoxBody>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(Response::builder().status(400).body(full("")).unwrap());
    };
    let trailers = body.trailers().cloned();
    record.lock().unwrap().push(Seen {
        head: format!("{} {} {:?}", head.method, head.uri, head.version),
        headers: head.headers,
        body: body.to_bytes(),
        trailers,
    });
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "of-the-answer".parse().unwrap());
    Ok(Response::builder().header("x-from", "h2").header("trailer", "x-checksum").body(with_trailers("ok over h2", trailers)).unwrap())
}
