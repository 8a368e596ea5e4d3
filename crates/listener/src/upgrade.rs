//! Connections that leave HTTP/1.1 for another protocol (RFC 9110 section 7.8).
//!
//! A request that asks for it is the last one of its connection, whatever the answer. The client has to wait for the
//! answer: what it sends before is passed on to nobody, neither as a request nor as the other protocol, so that no two
//! parties can take the same bytes for different things. A `101` hands the bare connection to the service; any other
//! answer closes it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::Connection;
use crate::metrics::{Held, ListenerMetrics};
use crate::transport::Transport;

/// The way out of HTTP; among the extensions of a request that asks for it. Dropped, it is not taken.
#[derive(Clone, Debug)]
pub struct Upgrade {
    connection: Arc<Connection>,
    place: Arc<Place>,
}

/// The connection after the `101`: what the client sends from then on, and to the client. Writing fails when the client
/// takes nothing for `timeouts.write`.
#[derive(Debug)]
pub struct Switched(Transport);

/// What a connection is after its last answer.
pub(crate) struct Tunnel {
    serve: Serve,
    place: Arc<Place>,
}

type Serve = Box<dyn FnOnce(Switched) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// One of `limits.tunnels`.
#[derive(Debug)]
struct Place {
    /// How many there are in all.
    of: usize,
    _permit: OwnedSemaphorePermit,
    _counted: Held,
}

// === impl Upgrade ===

impl Upgrade {
    /// `None` if all places are taken.
    pub(crate) fn take(
        places: &Arc<Semaphore>,
        of: usize,
        connection: &Arc<Connection>,
        metrics: &ListenerMetrics,
    ) -> Option<Self> {
        let permit = places.clone().try_acquire_owned().ok()?;
        Some(Self {
            connection: connection.clone(),
            place: Arc::new(Place {
                of,
                _permit: permit,
                _counted: Held::new(&metrics.tunnels),
            }),
        })
    }

    /// Whether the client sent something behind its request without waiting for the answer. Such a request must be
    /// refused.
    #[must_use]
    pub fn spoke_early(&self) -> bool {
        self.connection.spoke_early()
    }

    /// How many connections of the listener may have left HTTP at one time.
    #[must_use]
    pub fn places(&self) -> usize {
        self.place.of
    }

    /// Has the connection served by `serve` once the answer is out, which has to be a `101`. The future is dropped when
    /// the listener's drain is over.
    pub fn switch<F, S>(self, serve: S)
    where
        F: Future<Output = ()> + Send + 'static,
        S: FnOnce(Switched) -> F + Send + 'static,
    {
        self.connection.set_tunnel(Some(Tunnel {
            serve: Box::new(|stream| Box::pin(serve(stream))),
            place: self.place,
        }));
    }
}

// === impl Tunnel ===

impl Tunnel {
    pub(crate) async fn run(self, stream: Transport) {
        let _until_closed = self.place;
        (self.serve)(Switched(stream)).await;
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

// === impl Switched ===

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Switched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
