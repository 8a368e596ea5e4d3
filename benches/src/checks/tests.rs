use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use super::*;

const PATH: &str = "/v1/users/a";

/// The server that always allows, with a thread to run on.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(always(listener, allowed()));
    target
}

/// A server that answers the first check so.
fn answering(answer: Vec<u8>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let settings = frame(frames::SETTINGS, 0, 0, &[]);
        stream.write_all(&settings).unwrap();
        hear(&mut stream, PATH.as_bytes());
        stream.write_all(&answer).unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    target
}

/// Reads until this was said.
fn hear(stream: &mut std::net::TcpStream, expected: &[u8]) {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !heard.windows(expected.len()).any(|bytes| bytes == expected) {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0);
        heard.extend_from_slice(&buffer[..read]);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::put(&mut frame, kind, flags, stream, payload).unwrap();
    frame
}

fn refusal(answer: &[Vec<u8>]) -> String {
    let target = answering(answer.concat());
    let checks = [check(PATH, "token")];
    let checks = checks.iter().map(Vec::as_slice);
    let refused = closed(target, checks, 1, Duration::from_secs(60));
    refused.err().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn both_loops_drive_the_server_that_always_allows() {
    let target = server().await;
    let checks = vec![check(PATH, "token"); 4];
    let again = || checks.iter().cycle().map(Vec::as_slice);
    let short = Duration::from_millis(100);
    let sample = closed(target, again(), 4, short).unwrap();
    assert!(sample.answered() >= 4);
    // As many as are due, also where each has to wait for the one before.
    for streams in [1, 4] {
        let sample = open(target, again(), streams, 1000.0, short).unwrap();
        assert_eq!(sample.answered(), 100);
    }
}

/// More than the server lets anybody send, and than we let it send, before either has said what it read.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn checks_beyond_the_first_windows_are_asked() {
    let target = server().await;
    let token = "a".repeat(15_000);
    let checks = [check(PATH, &token)];
    let many = checks.iter().cycle().take(1000).map(Vec::as_slice);
    let sample = closed(target, many, 100, Duration::from_secs(60)).unwrap();
    assert_eq!(sample.answered(), 1000);
}

#[test]
fn anything_but_an_allow_is_an_error() {
    let head = || frame(frames::HEADERS, frames::END_HEADERS, 1, &[0x88]);
    let data = |message: &[u8]| {
        let length = u8::try_from(message.len()).unwrap();
        let message = [&[0, 0, 0, 0, length], message].concat();
        frame(frames::DATA, 0, 1, &message)
    };
    let trailers = |status: &[u8]| {
        let length = u8::try_from(status.len()).unwrap();
        let block = [&[0, 11], &b"grpc-status"[..], &[length], status].concat();
        frame(
            frames::HEADERS,
            frames::END_HEADERS | frames::END_STREAM,
            1,
            &block,
        )
    };

    let denied = [head(), data(&[0x0a, 0x02, 0x08, 0x07]), trailers(b"0")];
    assert!(
        refusal(&denied).starts_with("a check was denied: "),
        "{}",
        refusal(&denied)
    );
    let failed = [head(), data(&[0x0a, 0]), trailers(b"14")];
    assert_eq!(refusal(&failed), "a check ended with `grpc-status: 14`");
    let empty = [head(), trailers(b"0")];
    assert_eq!(refusal(&empty), "a check was answered without a message");
    let headless = [data(&[0x0a, 0]), trailers(b"0")];
    assert_eq!(
        refusal(&headless),
        "a check was not answered with `:status: 200`"
    );
    let reset = [frame(frames::RST_STREAM, 0, 1, &[0, 0, 0, 7])];
    assert_eq!(refusal(&reset), "a check was reset with code 7");
    let gone = [frame(frames::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11])];
    assert_eq!(refusal(&gone), "the other end went away with code 11");
    let few = frames::settings(&[(frames::MAX_CONCURRENT_STREAMS, 0)]);
    assert_eq!(
        refusal(&[frame(frames::SETTINGS, 0, 0, &few)]),
        "the other end allows 0 streams, and 1 are wanted"
    );
}

#[test]
fn pings_and_settings_are_answered() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(&frame(frames::SETTINGS, 0, 0, &[]))
            .unwrap();
        stream
            .write_all(&frame(frames::PING, 0, 0, b"12345678"))
            .unwrap();
        let pong = frame(frames::PING, frames::ACK, 0, b"12345678");
        let settled = frame(frames::SETTINGS, frames::ACK, 0, &[]);
        hear(&mut stream, &[settled, pong].concat());
    });
    let checks = [check(PATH, "token")];
    let checks = checks.iter().map(Vec::as_slice);
    // The server ends the connection when it has heard what it waits for.
    let ended = closed(target, checks, 1, Duration::from_secs(60));
    assert!(ended.is_err());
    server.join().unwrap();
}
