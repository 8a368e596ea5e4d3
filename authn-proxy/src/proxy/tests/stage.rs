//! The parts on both sides of the proxy

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use listener::{DrainTrigger, Limits, Listener, Timeouts};
use prometheus::Registry;
use serde_json::json;
use settings::{Address, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{ForwardedConfig, RealmConfig, StreamsConfig, UpstreamConfig};
use crate::fixture::World;
use crate::proxy::{ReverseProxy, refuse};
use crate::rejection::Realm;

const ROUTES: &str = r#"
routes:
  - { match: "* /open/{*rest}", public: true }
  - { match: "* /tunnel/{*rest}", public: true, upgrade: [websocket, chat/2] }
  - { match: "* /users/{id}", action: view, resource: { type: User, id: "{id}" } }
"#;

const POLICIES: &str = r#"
@id("own") permit(principal, action == Fortress::Action::"view", resource) when { principal == resource };
"#;

/// Longest that anything in these tests may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy that is being served. Dropping it drains it.
pub(super) struct Stage {
    pub(super) address: SocketAddr,
    pub(super) registry: Registry,
    /// A token of alice's, with roles and scopes.
    pub(super) token: String,
    _running: DrainTrigger,
}

pub(super) struct Setup {
    pub(super) upstream: UpstreamConfig,
    pub(super) streams: StreamsConfig,
    pub(super) forwarded: ForwardedConfig,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
}

/// An upstream that does as each test says, and keeps what it received.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

/// One end of a connection that speaks raw HTTP/1.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    /// Which connection of the upstream this is, counted from 0.
    pub(super) index: usize,
    buffer: Vec<u8>,
    seen: Arc<Mutex<Vec<String>>>,
}

// === impl Stage ===

impl Stage {
    pub(super) async fn new(upstream: SocketAddr) -> Self {
        Self::with(upstream, |_| ()).await
    }

    pub(super) async fn with(upstream: SocketAddr, edit: impl FnOnce(&mut Setup)) -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), upstream, edit).await
    }

    pub(super) async fn on(
        at: SocketAddr,
        upstream: SocketAddr,
        edit: impl FnOnce(&mut Setup),
    ) -> Self {
        let mut setup = Setup {
            upstream: UpstreamConfig::new(format!("http://{upstream}")),
            streams: StreamsConfig::default(),
            forwarded: ForwardedConfig::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        };
        edit(&mut setup);
        let registry = Registry::new();
        let world = World::new(ROUTES, POLICIES);
        let token = world.token(
            "alice",
            json!({ "roles": ["dev", "100%"], "scope": "read write" }),
        );
        let proxy = ReverseProxy::new(
            Arc::new(world.gate),
            &setup.upstream,
            &setup.streams,
            &setup.forwarded,
            Realm::new(&RealmConfig::default()).unwrap(),
            &registry,
        )
        .unwrap();
        let metrics = listener::Metrics::register(&registry).unwrap();
        let listener = Listener::bind(
            "proxy",
            &Address::Tcp(at),
            setup.limits,
            setup.timeouts,
            metrics,
        )
        .await
        .unwrap();
        let Address::Tcp(address) = *listener.address() else {
            panic!("bound elsewhere");
        };
        let (trigger, drain) = listener::drain();
        tokio::spawn(listener.serve(proxy, refuse, drain));
        Stage {
            address,
            registry,
            token,
            _running: trigger,
        }
    }

    pub(super) async fn connect(&self) -> Wire {
        Wire::new(
            TcpStream::connect(self.address).await.unwrap(),
            0,
            Arc::default(),
        )
    }

    /// Sends one request on a connection of its own, and reads until the connection ends.
    pub(super) async fn ask(&self, request: &str) -> String {
        let mut wire = self.connect().await;
        wire.send(request).await;
        wire.rest().await
    }

    /// `GET` of this path on a connection that is closed afterwards, with further header lines.
    pub(super) async fn get(&self, path: &str, more: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: asked.example\r\nConnection: close\r\n{more}\r\n"
        ))
        .await
    }

    /// The value of a counter or gauge, summed over its labels, or of one code.
    pub(super) fn metric(&self, name: &str, code: Option<&str>) -> f64 {
        self.registry
            .gather()
            .iter()
            .filter(|family| family.name() == name)
            .flat_map(|family| family.get_metric())
            .filter(|metric| {
                code.is_none_or(|code| metric.get_label().iter().any(|label| label.value() == code))
            })
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }
}

// === impl Upstream ===

impl Upstream {
    /// Serves each connection as `serve` says.
    pub(super) async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(Wire) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Upstream {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, connections) = (
            Arc::clone(&upstream.seen),
            Arc::clone(&upstream.connections),
        );
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let index = connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(Wire::new(stream, index, Arc::clone(&seen))));
            }
        });
        upstream
    }

    /// Answers every request with the same bytes and keeps the connection.
    pub(super) async fn answering(response: &'static str) -> Self {
        Self::start(move |mut wire| async move {
            while wire.message().await.is_some() {
                wire.send(response).await;
            }
        })
        .await
    }

    /// What came, request by request.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The one request that came.
    pub(super) fn only(&self) -> String {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }

    /// How many connections were made.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

// === impl Wire ===

impl Wire {
    fn new(stream: TcpStream, index: usize, seen: Arc<Mutex<Vec<String>>>) -> Self {
        stream.set_nodelay(true).unwrap();
        Wire {
            stream,
            index,
            buffer: Vec::new(),
            seen,
        }
    }

    /// Writes; that the other side may be gone is for what follows to find out.
    pub(super) async fn send(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// The next whole message, request or response: a head and, as its headers say, a body. None at the end of the
    /// connection.
    pub(super) async fn message(&mut self) -> Option<String> {
        let head = self.head().await?;
        let lower = head.to_lowercase();
        let length = lower
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next())
            .map_or(0, |length| length.parse().unwrap());
        let mut message = head;
        if lower.contains("transfer-encoding: chunked") {
            while !(message.ends_with("\r\n\r\n") && message.contains("\r\n0\r\n")) {
                message.push_str(&self.take_or_read(1).await?);
            }
        } else if length > 0 {
            message.push_str(&self.take_or_read(length).await?);
        }
        self.seen.lock().unwrap().push(message.clone());
        Some(message)
    }

    /// The next head, including the empty line.
    pub(super) async fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n").await
    }

    /// What comes up to and including `end`; none if the connection ends before.
    pub(super) async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = find(&self.buffer, end.as_bytes()) {
                return Some(self.take(at + end.len()));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Everything until the connection ends.
    pub(super) async fn rest(&mut self) -> String {
        while self.fill().await {}
        self.take(self.buffer.len())
    }

    /// Whether the other side has gone away, as it should soon.
    pub(super) async fn is_gone(&mut self) -> bool {
        while self.fill().await {}
        true
    }

    async fn take_or_read(&mut self, count: usize) -> Option<String> {
        while self.buffer.len() < count {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.take(count))
    }

    fn take(&mut self, count: usize) -> String {
        let rest = self.buffer.split_off(count);
        let taken = std::mem::replace(&mut self.buffer, rest);
        String::from_utf8_lossy(&taken).into_owned()
    }

    /// Reads some more; false at the end.
    async fn fill(&mut self) -> bool {
        let mut more = [0; 16 * 1024];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut more))
            .await
            .expect("nothing came for too long");
        match read {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&more[..count]);
                true
            }
        }
    }
}

/// Waits for what should soon be true.
pub(super) async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is_true() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

pub(super) fn millis(millis: u64) -> Span {
    Span(Duration::from_millis(millis))
}

/// The status of a response.
pub(super) fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or(response)
}

/// The values of a header, in order.
pub(super) fn header<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    let head = message.split("\r\n\r\n").next().unwrap();
    head.split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
