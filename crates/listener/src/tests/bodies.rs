use tokio::io::AsyncWriteExt as _;

use super::support::{limits, read_to_end, read_until, run, run_with, statuses, timeouts};

#[tokio::test]
async fn continues_when_the_body_is_wanted() {
    let running = run().await;
    let mut stream = running.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(statuses(&read_until(&mut stream, "\r\n\r\n").await), [100]);
    stream.write_all(b"abc").await.unwrap();
    let read = read_to_end(&mut stream).await;
    assert_eq!(statuses(&read), [200]);
    assert!(read.ends_with("abc"));
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_closes() {
    let running = run().await;
    let read = running
        .talk("POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        .await;
    assert_eq!(statuses(&read), [200]);
    assert!(read.contains("connection: close"), "{read}");
}

/// The client goes on sending what nobody reads, and still gets the answer, not a reset.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let running = run().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n".to_owned();
    let read = running.talk(head + &"x".repeat(500_000)).await;
    assert_eq!(statuses(&read), [413]);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let running = run().await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    running.handler.began().await;
    assert_eq!(running.metric("portcullis_requests_in_flight"), 1.0);
    drop(stream);
    running.falls_to("portcullis_requests_in_flight", 0.0).await;
}

#[tokio::test]
async fn more_than_may_be_in_flight_is_refused() {
    let mut limits = limits();
    limits.in_flight = 1;
    let running = run_with(limits, timeouts()).await;
    let mut first = running.connect().await;
    first
        .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    running.handler.began().await;
    let mut second = running.connect().await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    second.write_all(request).await.unwrap();
    assert_eq!(
        statuses(&read_until(&mut second, "overloaded").await),
        [503]
    );
    running.handler.go_on.add_permits(1);
    assert_eq!(statuses(&read_to_end(&mut first).await), [200]);
    second.write_all(request).await.unwrap();
    assert_eq!(statuses(&read_until(&mut second, "GET / 0\n").await), [200]);
    assert_eq!(running.handler.calls(), 2);
}
