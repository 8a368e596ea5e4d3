use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use settings::Address;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::support::{
    PATIENCE, limits, metric, read_to_end, read_until, run, run_at, run_with, statuses, timeouts,
};
use crate::{Listener, Metrics};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn requests_in_flight_finish_and_close() {
    let running = run().await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    running.handler.began().await;
    running.trigger.start(PATIENCE);
    tokio::task::yield_now().await;
    running.handler.go_on.add_permits(1);
    let read = read_to_end(&mut stream).await;
    assert_eq!(statuses(&read), [200]);
    assert!(read.contains("connection: close"), "{read}");
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_may_bring_one_more_request() {
    let running = run().await;
    let mut busy = running.connect().await;
    busy.write_all(GET).await.unwrap();
    read_until(&mut busy, "GET / 0\n").await;
    let mut idle = running.connect().await;
    idle.write_all(GET).await.unwrap();
    read_until(&mut idle, "GET / 0\n").await;
    running.trigger.start(PATIENCE);
    busy.write_all(GET).await.unwrap();
    let read = read_to_end(&mut busy).await;
    assert!(
        read.contains("connection: close") && read.ends_with("GET / 0\n"),
        "{read}"
    );
    assert_eq!(read_to_end(&mut idle).await, "");
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
}

/// Connected, but not accepted, when the drain starts.
#[tokio::test]
async fn the_kernels_queue_is_served() {
    let mut limits = limits();
    limits.connections = 1;
    let running = run_with(limits, timeouts()).await;
    let mut first = running.connect().await;
    first
        .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    running.handler.began().await;
    let mut queued = running.connect().await;
    queued.write_all(GET).await.unwrap();
    assert_eq!(
        running.handler.calls(),
        1,
        "above the limit a connection waits"
    );
    running.trigger.start(PATIENCE);
    running.handler.go_on.add_permits(1);
    assert_eq!(statuses(&read_to_end(&mut first).await), [200]);
    drop(first);
    let read = read_to_end(&mut queued).await;
    assert!(
        read.contains("connection: close") && read.ends_with("GET / 0\n"),
        "{read}"
    );
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    let running = run().await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    running.handler.began().await;
    let began = Instant::now();
    running.trigger.start(Duration::from_millis(100));
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    let mut read = Vec::new();
    _ = stream.read_to_end(&mut read).await;
    assert_eq!(read, b"");
    assert_eq!(
        metric(&running.registry, "portcullis_requests_in_flight"),
        0.0
    );
    assert_eq!(
        metric(&running.registry, "portcullis_connections_open"),
        0.0
    );
}

#[tokio::test]
async fn silent_connections_do_not_hold_up_the_drain() {
    let running = run().await;
    let mut stream = running.connect().await;
    running.trigger.start(PATIENCE);
    assert_eq!(read_to_end(&mut stream).await, "");
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sock");
    let at = Address::Unix(path.clone());
    // A process that died left its socket behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let running = run_at(&at, limits(), timeouts()).await;
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o660
    );

    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let taken = Listener::bind("other", &at, limits(), timeouts(), metrics).await;
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);

    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut read = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut read))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(statuses(&read), [200]);

    running.trigger.start(PATIENCE);
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
    assert!(!path.exists());
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_is_not_replaced_by_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, "precious").unwrap();
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let bound = Listener::bind(
        "other",
        &Address::Unix(path.clone()),
        limits(),
        timeouts(),
        metrics,
    )
    .await;
    assert_eq!(bound.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
}
