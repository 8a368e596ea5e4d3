//! The guard under hyper, over a stream that hands out its bytes in chosen pieces.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::Guard;
use crate::connection::Connection;
use crate::entrance::{Entrance, House, Version};
use crate::head::HeadLimits;
use crate::requests::{Found, Requests};
use crate::{Fault, Limits, Metrics, Peer, RequestBody, Timeouts};

/// A peer that sends these pieces, one to a read with a pause between them, and then waits.
struct Pieces {
    left: VecDeque<Vec<u8>>,
    paused: bool,
    written: Arc<Mutex<Vec<u8>>>,
}

/// What reached a service: method and target, and the body where it was read to its end.
type Recorded = Vec<(String, Option<Bytes>)>;

/// What reached the service, and what was answered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    requests: Recorded,
    answers: String,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.paused = !self.paused;
        if self.paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(mut piece) = self.left.pop_front() else {
            return Poll::Pending;
        };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            self.left.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Answers of ours are told from hyper's by a header.
fn ours(status: u16) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("ours", "")
        .body(Full::default())
        .unwrap()
}

/// Lets the listener's stack read these pieces, until it closes or has nothing to do for an hour.
fn serve(pieces: impl IntoIterator<Item = Vec<u8>>) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime
        .unwrap()
        .block_on(serve_in(pieces.into_iter().collect()))
}

async fn serve_in(left: VecDeque<Vec<u8>>) -> Seen {
    let seen: Arc<Mutex<Recorded>> = Arc::default();
    let written: Arc<Mutex<Vec<u8>>> = Arc::default();
    let connection = Arc::new(Connection::new());
    let limits = Limits::default();
    let guard = Guard::new(
        Pieces {
            left,
            paused: false,
            written: written.clone(),
        },
        HeadLimits::from(&limits),
        Duration::from_secs(10),
        Duration::from_secs(60),
        Instant::now(),
        connection.clone(),
    );
    let record = seen.clone();
    let service = service_fn(move |request: Request<RequestBody>| {
        let record = record.clone();
        async move {
            let nth = {
                let mut record = record.lock().unwrap();
                record.push((format!("{} {}", request.method(), request.uri()), None));
                record.len() - 1
            };
            if request.uri().path() == "/slow" {
                tokio::time::sleep(Duration::from_secs(600)).await;
            }
            let Ok(body) = request.into_body().collect().await else {
                return Ok::<_, Infallible>(ours(400));
            };
            record.lock().unwrap()[nth].1 = Some(body.to_bytes());
            Ok(ours(200))
        }
    });
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let entrance = Entrance {
        service,
        faults: |fault: Fault| ours(fault.status.as_u16()),
        house: Arc::new(House {
            name: "test",
            limits,
            timeouts: Timeouts::default(),
            metrics: metrics.of("test"),
            places: Arc::new(Semaphore::new(10)),
            tunnels: Arc::new(Semaphore::new(10)),
        }),
        connection,
        peer: Peer {
            address: None,
            listener: "test",
        },
        version: Version::Http1,
        piece: usize::MAX,
        calls: AtomicU64::new(0),
    };
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(guard), entrance);
    _ = timeout(Duration::from_secs(3600), served).await;
    let requests = std::mem::take(&mut *seen.lock().unwrap());
    let answers = String::from_utf8(std::mem::take(&mut *written.lock().unwrap())).unwrap();
    Seen { requests, answers }
}

/// What hyper alone makes of the same bytes.
fn hyper_alone(bytes: &[u8]) -> Recorded {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let seen: Arc<Mutex<Recorded>> = Arc::default();
    let record = seen.clone();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let record = record.clone();
        async move {
            let nth = {
                let mut record = record.lock().unwrap();
                record.push((format!("{} {}", request.method(), request.uri()), None));
                record.len() - 1
            };
            if let Ok(body) = request.into_body().collect().await {
                record.lock().unwrap()[nth].1 = Some(body.to_bytes());
            }
            Ok::<_, Infallible>(ours(200))
        }
    });
    let pieces = Pieces {
        left: VecDeque::from([bytes.to_vec()]),
        paused: false,
        written: Arc::default(),
    };
    runtime.unwrap().block_on(async {
        let served = http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(pieces), service);
        _ = timeout(Duration::from_secs(3600), served).await;
    });
    std::mem::take(&mut *seen.lock().unwrap())
}

fn cut(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2)
        .map(|range| bytes[range[0]..range[1]].to_vec())
        .filter(|piece| !piece.is_empty())
        .collect()
}

const PIPELINE: &[u8] = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
    POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789\
    POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nC\r\n0\r\n\r\nGET /\r\n\r\n0\r\nx: y\r\n\r\n\
    OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n\
    GET /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn pipelined() -> Recorded {
    [
        ("GET /1", ""),
        ("POST /2", "0123456789"),
        ("POST /3", "abc0\r\n\r\nGET /\r\n"),
        ("OPTIONS *", ""),
        ("GET /5", ""),
    ]
    .map(|(line, body)| (line.to_owned(), Some(body.into())))
    .into()
}

#[test]
fn cut_in_two_anywhere() {
    for at in 0..=PIPELINE.len() {
        let seen = serve(cut(PIPELINE, &[at]));
        assert_eq!(seen.requests, pipelined(), "cut at {at}");
        assert_eq!(
            seen.answers.matches("HTTP/1.1 200").count(),
            5,
            "cut at {at}"
        );
    }
}

/// The time is the runtime's, so this takes none.
#[test]
fn an_unfinished_head_behind_a_request() {
    let seen = serve([b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HT".to_vec()]);
    assert_eq!(seen.requests.len(), 1);
    assert_eq!(seen.answers.matches("HTTP/1.1 200").count(), 1);
    assert_eq!(seen.answers.matches("HTTP/1.1 408").count(), 1);
    assert_eq!(seen.answers.matches("connection: close").count(), 1);
}

#[test]
fn a_slow_answer_is_not_idleness() {
    let seen = serve([b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()]);
    assert_eq!(seen.answers.matches("HTTP/1.1 200").count(), 1);
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "(GET|POST|OPTIONS|get|CONNECT) (/|/a[?]b=c|[*]|http://a/|a:80|/[!-~]{0,6}) HTTP/1.[01]",
        1 => "[A-Z]{1,4} {1,2}[ -~]{1,6} HTTP/[0-9.]{3}",
    ]
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => Just("Host: a".to_owned()),
        3 => "Content-Length: ?[0-9]{1,2}",
        3 => Just("Transfer-Encoding: chunked".to_owned()),
        1 => "(Content-Length|Transfer-Encoding|Host|Expect|Connection|Upgrade) ?: ?[ -~]{0,8}",
        1 => "(TE|Expect|Connection): (trailers|100-continue|close|keep-alive|upgrade)",
        2 => "[!-~]{1,5}:[ -~\t\u{e9}]{0,5}",
    ]
}

fn message() -> impl Strategy<Value = String> {
    let body = prop_oneof![
        Just(String::new()),
        "[a-z]{1,12}",
        "([0-3]{1,2}(;[a-z]{0,2})? ?\r\n[a-z]{0,4}\r\n){0,2}0\r\n([x:y]{1,3}\r\n)?\r\n",
    ];
    let headers = proptest::collection::vec(header(), 0..4);
    (line(), headers, body).prop_map(|(line, headers, body)| {
        let headers: String = headers.into_iter().map(|header| header + "\r\n").collect();
        format!("{line}\r\n{headers}\r\n{body}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn cut_in_pieces(cuts in proptest::collection::vec(any::<usize>(), 0..12)) {
        prop_assert_eq!(serve(cut(PIPELINE, &cuts)).requests, pipelined());
    }

    /// What is let through, hyper takes too: it never answers on its own, and it sees the very same requests
    /// that it sees without a guard, up to the point where the guard stops.
    #[test]
    fn hyper_agrees(
        messages in proptest::collection::vec(message(), 1..4),
        cuts in proptest::collection::vec(any::<usize>(), 0..4),
    ) {
        let bytes = messages.concat().into_bytes();
        let seen = serve(cut(&bytes, &cuts));
        let answers = seen.answers.matches("HTTP/1.").count() - seen.answers.matches("100 Continue").count();
        prop_assert_eq!(answers, seen.answers.matches("ours: ").count(), "{}", seen.answers);
        let mut requests = Requests::new(HeadLimits::from(&Limits::default()));
        let found = requests.advance(&bytes);
        prop_assert!(seen.requests.len() as u64 <= requests.passed());
        if found == Found::Good(bytes.len()) && requests.at_head() {
            prop_assert_eq!(seen.requests, hyper_alone(&bytes));
        }
    }

    /// However a request is damaged: no panic, and no service sees more heads than were found good.
    #[test]
    fn damage(
        at in 0..PIPELINE.len(),
        removed in 0..3_usize,
        inserted in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), any::<u8>()], 0..3),
        cuts in proptest::collection::vec(any::<usize>(), 0..3),
    ) {
        let mut bytes = PIPELINE.to_vec();
        bytes.splice(at..(at + removed).min(PIPELINE.len()), inserted);
        let seen = serve(cut(&bytes, &cuts));
        let mut requests = Requests::new(HeadLimits::from(&Limits::default()));
        requests.advance(&bytes);
        prop_assert!(seen.requests.len() as u64 <= requests.passed());
        let answers = seen.answers.matches("HTTP/1.").count();
        prop_assert_eq!(answers, seen.answers.matches("ours: ").count(), "{}", seen.answers);
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(serve([bytes]).requests, []);
    }
}
