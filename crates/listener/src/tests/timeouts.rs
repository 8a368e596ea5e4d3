use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{interval, timeout};

use super::support::{
    PATIENCE, limits, millis, read_to_end, read_until, run_with, statuses, timeouts,
};

#[tokio::test]
async fn silence_is_closed() {
    let mut timeouts = timeouts();
    timeouts.header = millis(100);
    let running = run_with(limits(), timeouts).await;
    assert_eq!(running.talk("").await, "");
}

#[tokio::test]
async fn a_head_that_drips_is_answered_and_closed() {
    let mut timeouts = timeouts();
    timeouts.header = millis(200);
    let running = run_with(limits(), timeouts).await;
    for start in ["", "G", "P", "PRI * H", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut stream = running.connect().await;
        stream.write_all(start.as_bytes()).await.unwrap();
        let began = Instant::now();
        let (mut reader, mut writer) = stream.split();
        let mut read = Vec::new();
        let mut tick = interval(Duration::from_millis(50));
        let drip = async {
            for byte in b"GET / HTTP/1.1\r\nx: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy" {
                tick.tick().await;
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = timeout(PATIENCE, reader.read_to_end(&mut read)) => { end.unwrap().unwrap(); }
            () = drip => {}
        }
        let statuses = statuses(&String::from_utf8(read).unwrap());
        // Some of the starts make it another kind of nonsense on the way.
        assert!(
            statuses.ends_with(&[408]) || statuses == [400],
            "{start:?}: {statuses:?}"
        );
        assert!(began.elapsed() >= Duration::from_millis(100));
    }
}

#[tokio::test]
async fn idle_connections_are_closed_without_a_word() {
    let mut timeouts = timeouts();
    timeouts.idle = millis(100);
    let running = run_with(limits(), timeouts).await;
    let mut stream = running.connect().await;
    for _ in 0..2 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut stream, "GET / 0\n").await;
    }
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let mut timeouts = timeouts();
    timeouts.body = millis(100);
    let running = run_with(limits(), timeouts).await;
    for head in [
        "Content-Length: 5\r\n\r\nab",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ] {
        let read = running
            .talk(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}"))
            .await;
        assert_eq!(statuses(&read), [408]);
        assert!(read.contains("connection: close"), "{read}");
    }
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let mut timeouts = timeouts();
    timeouts.body = millis(700);
    let running = run_with(limits(), timeouts).await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n")
        .await
        .unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut tick = interval(Duration::from_millis(100));
    let mut read = Vec::new();
    let drip = async {
        loop {
            tick.tick().await;
            if writer.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        end = timeout(PATIENCE, reader.read_to_end(&mut read)) => { end.unwrap().unwrap(); }
        () = drip => {}
    }
    assert_eq!(statuses(&String::from_utf8(read).unwrap()), [408]);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_dropped() {
    let mut timeouts = timeouts();
    timeouts.write = millis(200);
    let running = run_with(limits(), timeouts).await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    running.handler.began().await;
    running.falls_to("portcullis_connections_open", 0.0).await;
}
