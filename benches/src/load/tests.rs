use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Requests, closed, open, polled};
use crate::peers;

const REQUEST: &[u8] = b"GET /v1/me HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[test]
fn shares_cover_all_requests_once() {
    let requests = Requests::once((0..10).map(|number| vec![number]).collect());
    let mut sent: Vec<u8> = (0..3)
        .flat_map(|index| requests.of(index, 3))
        .flatten()
        .copied()
        .collect();
    sent.sort_unstable();
    assert_eq!(sent, (0..10).collect::<Vec<u8>>());
    assert_eq!(requests.of(11, 12).count(), 0);

    let repeated = Requests::repeated(vec![vec![7]]);
    assert_eq!(repeated.of(0, 1).take(1000).count(), 1000);
    assert_eq!(repeated.of(1, 2).count(), 0);
}

#[tokio::test]
async fn both_loops_drive_the_passthrough() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let passthrough = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (behind, target) = (
        upstream.local_addr().unwrap(),
        passthrough.local_addr().unwrap(),
    );
    tokio::spawn(peers::upstream(upstream));
    tokio::spawn(peers::passthrough(passthrough, behind));

    let once = Arc::new(Requests::once(vec![REQUEST.to_vec(); 100]));
    let sample = closed(target, &once, 4, Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(sample.answered(), 100);

    let repeated = Arc::new(Requests::repeated(vec![REQUEST.to_vec(); 4]));
    let sample = open(target, &repeated, 4, 400.0, Duration::from_millis(500))
        .await
        .unwrap();
    assert_eq!(sample.answered(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_polled_loop_asks_everything_once_however_far_ahead() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = upstream.local_addr().unwrap();
    tokio::spawn(peers::upstream(upstream));
    for ahead in [1, 3, 8, 200] {
        let once = Requests::once(vec![REQUEST.to_vec(); 101]);
        let sample = polled(target, &once, 4, ahead, Duration::from_secs(60)).unwrap();
        assert_eq!(sample.answered(), 101);
        let again = Requests::repeated(vec![REQUEST.to_vec(); 7]);
        let sample = polled(target, &again, 2, ahead, Duration::from_millis(50)).unwrap();
        assert!(sample.answered() > 14, "{}", sample.answered());
    }
}

/// Answers come in pieces that end anywhere, and in pieces of several.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_polled_loop_reads_answers_however_they_are_cut() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = [0; REQUEST.len()];
        for cut in 1..ANSWER.len() {
            stream.read_exact(&mut request).await.unwrap();
            stream.read_exact(&mut request).await.unwrap();
            let both = [ANSWER, ANSWER].concat();
            let (first, rest) = both.split_at(cut);
            stream.write_all(first).await.unwrap();
            tokio::task::yield_now().await;
            stream.write_all(rest).await.unwrap();
        }
    });
    let once = Requests::once(vec![REQUEST.to_vec(); 2 * (ANSWER.len() - 1)]);
    let sample = polled(target, &once, 1, 2, Duration::from_secs(60)).unwrap();
    assert_eq!(sample.answered(), 2 * (ANSWER.len() as u64 - 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_polled_loop_takes_a_refusal_for_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        std::future::pending::<()>().await;
    });
    let requests = Requests::repeated(vec![REQUEST.to_vec()]);
    let refused = polled(target, &requests, 1, 1, Duration::from_secs(60));
    assert_eq!(
        refused.err().unwrap().to_string(),
        "`HTTP/1.1 403 Forbidden` instead of status 200"
    );
}

/// A server that stalls once for 200 ms: at 100 requests a second, 20 were due meanwhile.
#[tokio::test]
async fn a_stall_is_charged_to_every_request_that_it_held_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        for number in 0.. {
            if stream.read(&mut buffer).await.unwrap() == 0 {
                break;
            }
            if number == 10 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
        }
    });
    let requests = Arc::new(Requests::repeated(vec![REQUEST.to_vec()]));
    let sample = open(target, &requests, 1, 100.0, Duration::from_millis(600))
        .await
        .unwrap();
    assert_eq!(sample.answered(), 60);
    let held_up = sample.latency.count_between(50_000_000, 1_000_000_000);
    assert!(held_up >= 14, "only {held_up} requests carry the stall");
}

#[tokio::test]
async fn a_refusal_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
    });
    let requests = Arc::new(Requests::repeated(vec![REQUEST.to_vec()]));
    let started = Instant::now();
    let refused = closed(target, &requests, 1, Duration::from_secs(60)).await;
    assert_eq!(
        refused.err().unwrap().to_string(),
        "status 403 instead of 200"
    );
    assert!(started.elapsed() < Duration::from_secs(10));
}
