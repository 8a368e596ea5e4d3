//! A listener with a service that counts, and clients that speak bytes.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::Service;
use settings::{Address, ByteSize, Span};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{
    BodyError, DrainTrigger, Fault, Limits, Listener, Metrics, Peer, RequestBody, Timeouts, drain,
};

/// Long enough for a loaded machine, and never waited for where all is well.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Running {
    pub(super) address: Address,
    pub(super) handler: Handler,
    pub(super) registry: prometheus::Registry,
    pub(super) trigger: DrainTrigger,
    pub(super) served: JoinHandle<()>,
}

/// `/echo` answers with the body, `/ignore` leaves it unread, `/wait` answers when told to, `/big` answers more
/// than sockets buffer, `/hold` takes the body's first piece and then answers, `/block` lets nothing else run until told to go on.
#[derive(Clone)]
pub(super) struct Handler {
    calls: Arc<AtomicUsize>,
    began: Arc<Semaphore>,
    pub(super) go_on: Arc<Semaphore>,
}

pub(super) const BIG: usize = 32 * 1024 * 1024;
static ZEROS: [u8; BIG] = [0; BIG];

pub(super) fn limits() -> Limits {
    Limits {
        header_bytes: ByteSize(16 * 1024),
        uri_bytes: ByteSize(1024),
        body_bytes: ByteSize(1000),
        ..Limits::default()
    }
}

pub(super) fn timeouts() -> Timeouts {
    let patient = Span(PATIENCE);
    Timeouts {
        header: patient,
        idle: patient,
        body: patient,
        write: patient,
        drain: patient,
    }
}

pub(super) fn millis(milliseconds: u64) -> Span {
    Span(Duration::from_millis(milliseconds))
}

pub(super) async fn run() -> Running {
    run_with(limits(), timeouts()).await
}

pub(super) async fn run_with(limits: Limits, timeouts: Timeouts) -> Running {
    run_at(&anywhere(), limits, timeouts).await
}

/// The same twice: the second has small answers.
pub(super) async fn run_both(limits: Limits, timeouts: Timeouts) -> [Running; 2] {
    let (limits_too, timeouts_too) = (limits.clone(), timeouts.clone());
    [
        run_with(limits, timeouts).await,
        run_changed(
            &anywhere(),
            limits_too,
            timeouts_too,
            Listener::with_small_answers,
        )
        .await,
    ]
}

fn anywhere() -> Address {
    Address::Tcp("127.0.0.1:0".parse().unwrap())
}

pub(super) async fn run_at(at: &Address, limits: Limits, timeouts: Timeouts) -> Running {
    run_changed(at, limits, timeouts, |listener| listener).await
}

async fn run_changed(
    at: &Address,
    limits: Limits,
    timeouts: Timeouts,
    change: fn(Listener) -> Listener,
) -> Running {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let listener = Listener::bind("test", at, limits, timeouts, metrics)
        .await
        .unwrap();
    let address = listener.address().clone();
    let (trigger, drain) = drain();
    let handler = Handler {
        calls: Arc::default(),
        began: Arc::new(Semaphore::new(0)),
        go_on: Arc::new(Semaphore::new(0)),
    };
    let served = tokio::spawn(change(listener).serve(handler.clone(), fault, drain));
    Running {
        address,
        handler,
        registry,
        trigger,
        served,
    }
}

fn fault(fault: Fault) -> Response<Full<Bytes>> {
    answer(fault.status, fault.code)
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

impl Handler {
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Until another request has reached the service.
    pub(super) async fn began(&self) {
        timeout(PATIENCE, self.began.acquire())
            .await
            .unwrap()
            .unwrap()
            .forget();
    }

    async fn answer(self, request: Request<RequestBody>) -> Response<Full<Bytes>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.began.add_permits(1);
        assert_eq!(request.extensions().get::<Peer>().unwrap().listener, "test");
        assert!(
            !request.headers().contains_key("never"),
            "a head that must not pass"
        );
        let (parts, mut body) = request.into_parts();
        match parts.uri.path() {
            "/ignore" => return answer(StatusCode::UNAUTHORIZED, "ignored"),
            "/big" => return answer(StatusCode::OK, Bytes::from_static(&ZEROS)),
            "/wait" => self.go_on.acquire().await.unwrap().forget(),
            "/block" => {
                let began = Instant::now();
                while self
                    .go_on
                    .try_acquire()
                    .map(SemaphorePermit::forget)
                    .is_err()
                {
                    if began.elapsed() > PATIENCE {
                        return answer(StatusCode::INTERNAL_SERVER_ERROR, "not told to go on");
                    }
                    std::thread::yield_now();
                }
            }
            "/hold" => {
                body.frame().await.unwrap().unwrap();
                return answer(StatusCode::OK, "held");
            }
            _ => {}
        }
        match body.collect().await {
            Ok(body) if parts.uri.path() == "/echo" => answer(StatusCode::OK, body.to_bytes()),
            Ok(body) => {
                let line = format!("{} {} {}\n", parts.method, parts.uri, body.to_bytes().len());
                answer(StatusCode::OK, line)
            }
            Err(error) => {
                let status = match error {
                    BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                    BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
                    BodyError::Malformed | BodyError::Aborted => StatusCode::BAD_REQUEST,
                };
                answer(status, error.to_string())
            }
        }
    }
}

impl Service<Request<RequestBody>> for Handler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move { Ok(handler.answer(request).await) })
    }
}

impl Running {
    pub(super) async fn connect(&self) -> TcpStream {
        let Address::Tcp(address) = &self.address else {
            panic!("not over TCP");
        };
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends all bytes and reads until the listener closes.
    pub(super) async fn talk(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        read_to_end(&mut stream).await
    }

    pub(super) fn metric(&self, family: &str) -> f64 {
        metric(&self.registry, family)
    }

    /// Until a metric, which nothing announces, is no more than `most`.
    pub(super) async fn falls_to(&self, family: &str, most: f64) {
        let fallen = async {
            while self.metric(family) > most {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(2 * PATIENCE, fallen)
            .await
            .unwrap_or_else(|_| panic!("{family} stays above {most}"));
    }
}

/// The sum over all labels.
pub(super) fn metric(registry: &prometheus::Registry, family: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|found| found.name() == family);
    family
        .into_iter()
        .flat_map(|family| family.get_metric())
        .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
        .sum()
}

pub(super) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut read))
        .await
        .expect("the connection stays open")
        .expect("the connection was reset");
    String::from_utf8(read).unwrap()
}

/// Reads one answer whose body ends in `end`.
pub(super) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let length = timeout(PATIENCE, stream.read_buf(&mut read))
            .await
            .unwrap()
            .unwrap();
        assert!(
            length > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&read)
        );
    }
    String::from_utf8(read).unwrap()
}

/// The status codes of the answers in `read`.
pub(super) fn statuses(read: &str) -> Vec<u16> {
    read.split("HTTP/1.")
        .skip(1)
        .map(|answer| answer.get(2..5).unwrap().parse().unwrap())
        .collect()
}
