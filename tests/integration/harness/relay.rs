//! A stretch of wire between the sidecar and a peer that tests can spoil.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Passes bytes between connections to its own port and a peer, as long as it is told to.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What becomes of what the peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Everything passes.
    Good,
    /// The peer's answers wait until the wire is another.
    Held,
    /// New connections are closed at once, and so are the old ones.
    Cut,
    /// Connections stay, and nothing passes any more in either direction.
    Silent,
    /// The peer's answers are replaced by bytes that mean nothing.
    Garbage,
    /// Each of the peer's answers is followed by one to a question that nobody asked.
    Shifted,
}

struct Shared {
    wire: Mutex<Wire>,
    accepted: AtomicUsize,
    held: AtomicUsize,
    closed: AtomicBool,
}

/// How often a thread that waits for bytes looks whether the wire has changed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

// === impl Relay ===

impl Relay {
    pub(crate) fn to(peer: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { wire: Mutex::new(Wire::Good), accepted: AtomicUsize::new(0), held: AtomicUsize::new(0), closed: AtomicBool::new(false) });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.closed.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = stream else { continue };
                accepting.accepted.fetch_add(1, Ordering::SeqCst);
                if accepting.wire() == Wire::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(peer) else { continue };
                let ends = [(client.try_clone().unwrap(), server.try_clone().unwrap(), false), (server, client, true)];
                for (from, to, answers) in ends {
                    let shared = accepting.clone();
                    thread::spawn(move || pass(from, to, answers, &shared));
                }
            }
        });
        Relay { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many answers have had to wait.
    pub(crate) fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, wire: Wire) {
        *self.shared.wire.lock().unwrap() = wire;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // The accept loop wakes up and sees it.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn wire(&self) -> Wire {
        *self.wire.lock().unwrap()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, answers: bool, shared: &Shared) {
    from.set_read_timeout(Some(LOOK_EVERY)).unwrap();
    let mut chunk = [0; 16 * 1024];
    while !shared.closed.load(Ordering::SeqCst) && shared.wire() != Wire::Cut {
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        if answers && shared.wire() == Wire::Held {
            shared.held.fetch_add(1, Ordering::SeqCst);
            while !shared.closed.load(Ordering::SeqCst) && shared.wire() == Wire::Held {
                thread::park_timeout(LOOK_EVERY);
            }
        }
        let passed = match (shared.wire(), answers) {
            (Wire::Silent, _) => Ok(()),
            (Wire::Garbage, true) => to.write_all(b"\x00\xff{]not an answer\n\r\n\r\n"),
            (Wire::Shifted, true) => to.write_all(&chunk[..read]).and_then(|()| to.write_all(b":0\r\n")),
            _ => to.write_all(&chunk[..read]),
        };
        if passed.is_err() {
            break;
        }
    }
    // A connection that is gone already cannot be closed again.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
