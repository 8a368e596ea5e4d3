use std::io::{Read as _, Write as _};

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use settings::Span;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use super::support::{
    PATIENCE, Running, limits, metric, millis, run, run_both, run_with, timeouts,
};

type Client = SendRequest<Full<Bytes>>;

/// A client, and the task that ends with its connection.
async fn connect(running: &Running) -> (Client, JoinHandle<hyper::Result<()>>) {
    connect_with(running, None).await
}

/// The same, granting each stream a window of so many bytes.
async fn connect_with(
    running: &Running,
    window: Option<u32>,
) -> (Client, JoinHandle<hyper::Result<()>>) {
    let io = TokioIo::new(running.connect().await);
    let (client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(io)
        .await
        .unwrap();
    (client, tokio::spawn(connection))
}

fn post(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(format!("http://a{path}"))
        .body(Full::new(body.into()))
        .unwrap()
}

async fn send(client: &mut Client, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let response = timeout(PATIENCE, client.send_request(request))
        .await
        .unwrap()
        .unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn requests() {
    for running in run_both(limits(), timeouts()).await {
        let (mut client, _connection) = connect(&running).await;
        let (status, body) = send(&mut client, post("/echo", "hello")).await;
        assert_eq!((status.as_u16(), body.as_str()), (200, "hello"));
        let (status, _) = send(&mut client, post("/ignore", "unread")).await;
        assert_eq!(status.as_u16(), 401);
        let (status, body) = send(&mut client, post("/echo", "again")).await;
        assert_eq!((status.as_u16(), body.as_str()), (200, "again"));
    }
}

#[tokio::test]
async fn refusals() {
    let running = run().await;
    let (mut client, _connection) = connect(&running).await;
    let long = format!("http://a/{}", "x".repeat(1100));
    let large = Full::new(Bytes::from(vec![b'x'; 1001]));
    let get = |uri: &str| Request::get(uri.to_owned());
    let empty = Full::default;
    let many = (0..101).fold(get("http://a/"), |request, n| {
        request.header(format!("x-{n}"), "y")
    });
    for (name, request, expected) in [
        ("user information", get("http://u@a/").body(empty()), 400),
        (
            "another host",
            get("http://a/").header("host", "b").body(empty()),
            400,
        ),
        (
            "two hosts",
            get("http://a/")
                .header("host", "a")
                .header("host", "a")
                .body(empty()),
            400,
        ),
        (
            "no authority",
            get("/").version(Version::HTTP_11).body(empty()),
            400,
        ),
        (
            "an expectation",
            get("http://a/").header("expect", "200-maybe").body(empty()),
            417,
        ),
        ("a long target", get(&long).body(empty()), 414),
        ("many headers", many.body(empty()), 431),
        ("a large body", get("http://a/").body(large), 413),
    ] {
        let (status, _) = send(&mut client, request.unwrap()).await;
        assert_eq!(status.as_u16(), expected, "{name}");
    }
    assert_eq!(running.handler.calls(), 0);
    let same = get("http://a/").header("host", "A").body(empty()).unwrap();
    assert_eq!(send(&mut client, same).await.0.as_u16(), 200);
}

#[tokio::test]
async fn more_than_may_be_in_flight_is_refused() {
    let mut limits = limits();
    limits.in_flight = 1;
    for running in run_both(limits, timeouts()).await {
        let (mut client, _connection) = connect(&running).await;
        let (mut other, _connection) = connect(&running).await;
        let first = tokio::spawn(client.send_request(post("/wait", "")));
        running.handler.began().await;
        assert_eq!(send(&mut other, post("/", "")).await.0.as_u16(), 503);
        running.handler.go_on.add_permits(1);
        assert_eq!(first.await.unwrap().unwrap().status().as_u16(), 200);
    }
}

/// One connection, whatever it asks for, leaves three quarters of the places to the others.
#[tokio::test]
async fn a_connection_gets_no_more_than_its_share_of_the_places() {
    let mut limits = limits();
    limits.in_flight = 8;
    for running in run_both(limits, timeouts()).await {
        let (mut client, _connection) = connect(&running).await;
        // Until its answer the client cannot know the limit, and what it asked for above it would be refused.
        assert_eq!(send(&mut client, post("/", "")).await.0.as_u16(), 200);
        running.handler.began().await;
        let mut all = JoinSet::new();
        for _ in 0..20 {
            all.spawn(client.send_request(post("/wait", "")));
        }
        running.handler.began().await;
        running.handler.began().await;
        let (mut other, _connection) = connect(&running).await;
        assert_eq!(send(&mut other, post("/", "")).await.0.as_u16(), 200);
        assert_eq!(running.metric("portcullis_requests_in_flight"), 2.0);
        running.handler.go_on.add_permits(20);
        while let Some(response) = all.join_next().await {
            assert_eq!(response.unwrap().unwrap().status().as_u16(), 200);
        }
    }
}

/// Streams without window hold every place: they lose them in a tenth of the time.
#[tokio::test]
async fn stalled_streams_are_hurried_when_places_are_short() {
    let mut limits = limits();
    limits.in_flight = 4;
    let mut timeouts = timeouts();
    timeouts.write = Span(6 * PATIENCE);
    for running in run_both(limits, timeouts).await {
        let mut stalled = Vec::new();
        for places in 1..=4_u8 {
            let (mut client, _connection) = connect_with(&running, Some(1000)).await;
            stalled.push(client.send_request(post("/big", "")).await.unwrap());
            assert_eq!(
                running.metric("portcullis_requests_in_flight"),
                f64::from(places)
            );
        }
        let (mut other, _connection) = connect(&running).await;
        assert_eq!(send(&mut other, post("/", "")).await.0.as_u16(), 503);
        running.falls_to("portcullis_requests_in_flight", 3.0).await;
        assert_eq!(send(&mut other, post("/", "")).await.0.as_u16(), 200);
    }
}

/// Of requests that come together the first are answered before the last are begun, where answers are small.
#[tokio::test]
async fn who_asks_much_at_once_need_not_wait_for_the_last() {
    let [_, running] = run_both(limits(), timeouts()).await;
    // A kilobyte each, by HPACK's static table: GET, `http`, the path, `:authority: a`, `x: yy…`.
    let request = |stream: u32, path: &str| {
        let name = [
            &[0x86, 0x04, u8::try_from(path.len()).unwrap()],
            path.as_bytes(),
        ]
        .concat();
        let filling = [&[0, 1, b'x', 0x7f, 0xe9, 0x06], [b'y'; 1000].as_slice()].concat();
        let block = [&[0x82], name.as_slice(), &[0x41, 1, b'a'], &filling].concat();
        let length = u32::try_from(block.len()).unwrap().to_be_bytes();
        [&length[1..], &[1, 5], &stream.to_be_bytes(), &block].concat()
    };
    let streams = (1..).step_by(2);
    let paths = ["/"; 20].into_iter().chain(["/block"]);
    let requests: Vec<u8> = streams
        .zip(paths)
        .flat_map(|(stream, path)| request(stream, path))
        .collect();
    let mut client = running.connect().await.into_std().unwrap();
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(2 * PATIENCE)).unwrap();
    let go_on = running.handler.go_on.clone();
    let client = tokio::task::spawn_blocking(move || {
        client
            .write_all(&[PREFACE, SETTINGS, &requests].concat())
            .unwrap();
        let mut statuses = Vec::new();
        while statuses.len() < 21 {
            let mut head = [0; 9];
            client.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut content = vec![0; length.try_into().unwrap()];
            client.read_exact(&mut content).unwrap();
            if head[3] == 1 {
                if statuses.is_empty() {
                    go_on.add_permits(1);
                }
                statuses.push(content[0]);
            }
        }
        statuses
    });
    assert_eq!(client.await.unwrap(), [0x88; 21], ":status: 200");
}

/// What ends a flood is a count, so a count is what is looked at: how many pings were answered.
#[tokio::test]
async fn a_flood_is_answered_up_to_its_budget() {
    // What h2 still holds back goes with the connection: of the first lot, where it reads in lots, nothing.
    let least = [900, 200];
    for (running, least) in run_both(limits(), timeouts()).await.into_iter().zip(least) {
        let mut stream = running.connect().await;
        let pings = [PREFACE, SETTINGS, &PING.repeat(20_000)].concat();
        let began = Instant::now();
        stream.write_all(&pings).await.unwrap();
        let mut read = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut read))
            .await
            .unwrap()
            .unwrap();
        let frames = split(&read);
        let answered = frames.iter().filter(|frame| frame[3] == 6).count();
        // What time gives back while a slow machine works.
        let regained = usize::try_from(began.elapsed().as_millis() / 10).unwrap();
        assert!((least..=1000 + regained).contains(&answered), "{answered}");
        let last = frames.last().unwrap();
        assert_eq!(last[3], 7, "GOAWAY");
        assert_eq!(&last[13..17], [0, 0, 0, 0xb], "ENHANCE_YOUR_CALM");
        assert_eq!(running.metric("portcullis_connections_aborted_total"), 1.0);
        drop(stream);
        running.falls_to("portcullis_connections_open", 0.0).await;
    }
}

/// The frames in `bytes`, which end with a whole one.
fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        let (frame, rest) = bytes.split_at(9 + usize::try_from(length).unwrap());
        frames.push(frame);
        bytes = rest;
    }
    frames
}

#[tokio::test]
async fn a_drain_lets_requests_finish() {
    for running in run_both(limits(), timeouts()).await {
        let (mut client, connection) = connect(&running).await;
        let first = tokio::spawn(client.send_request(post("/wait", "")));
        running.handler.began().await;
        running.trigger.start(PATIENCE);
        running.handler.go_on.add_permits(1);
        let response = first.await.unwrap().unwrap();
        assert_eq!(response.status().as_u16(), 200);
        response.into_body().collect().await.unwrap();
        timeout(PATIENCE, connection)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        timeout(PATIENCE, running.served).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    for running in run_both(limits(), timeouts()).await {
        let (mut client, connection) = connect(&running).await;
        let first = tokio::spawn(client.send_request(post("/wait", "")));
        running.handler.began().await;
        running.trigger.start(millis(100).0);
        timeout(PATIENCE, running.served).await.unwrap().unwrap();
        assert!(first.await.unwrap().is_err());
        _ = timeout(PATIENCE, connection).await.unwrap();
        assert_eq!(
            metric(&running.registry, "portcullis_requests_in_flight"),
            0.0
        );
    }
}

#[tokio::test]
async fn idle_connections_are_told_to_go() {
    let mut timeouts = timeouts();
    timeouts.idle = millis(100);
    let running = run_with(limits(), timeouts).await;
    let (mut client, connection) = connect(&running).await;
    assert_eq!(send(&mut client, post("/", "")).await.0.as_u16(), 200);
    timeout(PATIENCE, connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

/// A preface and settings, then nothing, not even an answer to a ping.
#[tokio::test]
async fn silence_after_the_preface_is_closed() {
    let mut timeouts = timeouts();
    timeouts.header = millis(100);
    let running = run_with(limits(), timeouts).await;
    for opening in [PREFACE.to_vec(), [PREFACE, SETTINGS].concat()] {
        let mut stream = running.connect().await;
        stream.write_all(&opening).await.unwrap();
        let mut read = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut read))
            .await
            .unwrap()
            .unwrap();
    }
}

/// The peer reads the socket, answers pings, but grants its stream no window.
#[tokio::test]
async fn a_stream_without_window_is_reset() {
    let mut timeouts = timeouts();
    timeouts.write = millis(200);
    for running in run_both(limits(), timeouts).await {
        let (mut client, _connection) = connect_with(&running, Some(1000)).await;
        let response = client.send_request(post("/big", "")).await.unwrap();
        running.falls_to("portcullis_requests_in_flight", 0.0).await;
        assert!(response.into_body().collect().await.is_err());
        assert_eq!(
            send(&mut client, post("/", "")).await.0.as_u16(),
            200,
            "the others go on"
        );
    }
}

/// A body that stops, over HTTP/2.
#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let mut timeouts = timeouts();
    timeouts.body = millis(100);
    for running in run_both(limits(), timeouts).await {
        let mut stream = running.connect().await;
        let mut bytes = [PREFACE, SETTINGS].concat();
        // HEADERS with END_HEADERS: `:method POST`, `:scheme http`, `:path /`, `:authority a`.
        bytes.extend([0, 0, 6, 1, 4, 0, 0, 0, 1, 0x83, 0x86, 0x84, 0x41, 1, b'a']);
        stream.write_all(&bytes).await.unwrap();
        running.handler.began().await;
        running.falls_to("portcullis_requests_in_flight", 0.0).await;
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
