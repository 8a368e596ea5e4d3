//! An upstream that keeps every byte it was sent, and answers as the test says.

use super::http1::{Body, Head, read_body, read_head};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A recording HTTP/1.1 server on its own port; stops accepting on drop.
pub(crate) struct Upstream {
    address: SocketAddr,
    recorded: Arc<Recorded>,
}

/// One request as it arrived, before its body is read, and the connection to answer it on.
pub(crate) struct Exchange {
    pub(crate) head: Head,
    pub(crate) connection: Tap,
    /// Cleared by a handler that closes or misuses the connection.
    pub(crate) keep_open: bool,
}

/// A request that the upstream read to its end.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Body,
}

/// A connection whose every read is recorded.
pub(crate) struct Tap {
    stream: TcpStream,
    recorded: Arc<Recorded>,
}

struct Recorded {
    bytes: AtomicUsize,
    open: AtomicUsize,
    accepted: AtomicUsize,
    /// Set when the upstream is dropped: the accept loop ends.
    closed: AtomicBool,
    /// Heads of all requests begun, and whole requests.
    heads: Mutex<Vec<Head>>,
    requests: Mutex<Vec<Request>>,
}

type Handler = dyn Fn(&mut Exchange) + Send + Sync;

// === impl Upstream ===

impl Upstream {
    /// Answers every request with `200 ok`.
    pub(crate) fn start() -> Upstream {
        Self::with(Exchange::answer_ok)
    }

    /// Answers as `handler` does.
    pub(crate) fn with(handler: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let recorded = Arc::new(Recorded {
            bytes: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            heads: Mutex::default(),
            requests: Mutex::default(),
        });
        let handler: Arc<Handler> = Arc::new(handler);
        let shared = recorded.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let (shared, handler) = (shared.clone(), handler.clone());
                thread::spawn(move || {
                    converse(stream, &shared, &*handler);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Upstream { address, recorded }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every byte received on any connection.
    pub(crate) fn bytes(&self) -> usize {
        self.recorded.bytes.load(Ordering::SeqCst)
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.recorded.open.load(Ordering::SeqCst)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.recorded.accepted.load(Ordering::SeqCst)
    }

    /// Heads of the requests begun so far, in order of arrival.
    pub(crate) fn heads(&self) -> Vec<Head> {
        self.recorded.heads.lock().unwrap().clone()
    }

    /// Requests read to their end so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.recorded.requests.lock().unwrap().clone()
    }

    /// The request that ended last.
    pub(crate) fn last(&self) -> Request {
        self.requests().pop().expect("a request reached the upstream")
    }

    /// Not one byte.
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(self.bytes(), 0, "the upstream was sent: {:#?}", self.heads());
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.recorded.closed.store(true, Ordering::SeqCst);
        // Wakes the accept loop; it may have ended with its thread already.
        let _ = TcpStream::connect(self.address);
    }
}

fn converse(stream: TcpStream, recorded: &Arc<Recorded>, handler: &Handler) {
    // A forgotten connection must not hold a thread for ever.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut connection = Tap { stream, recorded: recorded.clone() };
    while let Ok(Some(head)) = read_head(&mut connection) {
        recorded.heads.lock().unwrap().push(head.clone());
        let mut exchange = Exchange { head, connection, keep_open: true };
        handler(&mut exchange);
        if !exchange.keep_open {
            exchange.connection.close();
            return;
        }
        connection = exchange.connection;
    }
}

// === impl Exchange ===

impl Exchange {
    /// Reads the body, then answers `200 ok`.
    pub(crate) fn answer_ok(&mut self) {
        if self.read_request().is_none() {
            return;
        }
        let ok: &[u8] =
            if self.head.method() == "HEAD" { b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" } else { b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" };
        self.write(ok);
    }

    /// Reads the body and records the whole request; `None` when it broke off.
    pub(crate) fn read_request(&mut self) -> Option<Request> {
        match read_body(&mut self.connection, &self.head) {
            Ok(body) => {
                let request = Request { head: self.head.clone(), body };
                self.connection.recorded.requests.lock().unwrap().push(request.clone());
                Some(request)
            }
            Err(_) => {
                self.keep_open = false;
                None
            }
        }
    }

    /// Sends `bytes`; a peer that is gone ends the connection.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.connection.write_all(bytes).is_err() {
            self.keep_open = false;
        }
    }

    /// Ends the connection after this exchange.
    pub(crate) fn close(&mut self) {
        self.keep_open = false;
    }
}

// === impl Tap ===

impl Tap {
    fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Whether the peer has closed or reset; reads, so only for a peer that should send nothing more.
    pub(crate) fn peer_is_gone(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let mut byte = [0; 4096];
        loop {
            match self.read(&mut byte) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                }
            }
        }
    }
}

impl Read for Tap {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(into)?;
        self.recorded.bytes.fetch_add(read, Ordering::SeqCst);
        Ok(read)
    }
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
