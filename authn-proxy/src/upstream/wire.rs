//! One TCP connection to the upstream, and what has to be known about it afterwards

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::Uri;
use hyper::upgrade::Upgraded;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::excess::Excess;

/// Connects over TCP and watches each connection.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) HttpConnector);

/// A connection that remembers in [`Wire`] what has passed over it.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    wire: Wire,
    excess: Excess,
}

/// What is known of a connection: hyper puts it into each response's extensions and each error.
#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether anything was ever read, that is, whether a request has been answered here before.
    used: AtomicBool,
    /// Whether anything was read since the last write.
    answered: AtomicBool,
    /// Whether bytes have come behind a response without a body.
    exceeded: AtomicBool,
    /// Whether nothing may be sent or read any more.
    condemned: AtomicBool,
    reader: AtomicWaker,
}

// === impl Connector ===

impl Service<Uri> for Connector {
    type Response = TokioIo<Watched>;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            Ok(TokioIo::new(Watched {
                stream: connecting.await?.into_inner(),
                wire: Wire(Arc::default()),
                excess: Excess::default(),
            }))
        })
    }
}

/// The bare stream behind a `101`, and what was read of it already.
pub(crate) fn into_stream(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Watched>>().ok()?;
    Some((parts.io.into_inner().stream, parts.read_buf))
}

// === impl Wire ===

impl Wire {
    /// Whether the connection had served before and then died under a request without a single byte in answer. That is
    /// what happens when the upstream closes a kept connection just as it is used again.
    pub(super) fn died_unanswered(&self) -> bool {
        self.0.used.load(Ordering::Acquire) && !self.0.answered.load(Ordering::Acquire)
    }

    /// Whether more has come than the head of a response that has no body. Known by the time hyper hands that response
    /// out if it came in the same read as the end of the head, and perhaps if it came right behind. What comes later,
    /// hyper finds on a connection that should be idle, and closes it.
    pub(super) fn exceeded(&self) -> bool {
        self.0.exceeded.load(Ordering::Acquire)
    }

    /// Closes the connection: after a fault of framing nobody knows where the next response on it begins.
    pub(super) fn condemn(&self) {
        self.0.condemned.store(true, Ordering::Release);
        self.0.reader.wake();
    }

    fn check(&self) -> io::Result<()> {
        if self.0.condemned.load(Ordering::Acquire) {
            return Err(io::Error::other("closed after a malformed response"));
        }
        Ok(())
    }
}

// === impl Watched ===

impl Watched {
    fn note_sent(&mut self, bytes: &[u8]) {
        self.wire.0.answered.store(false, Ordering::Release);
        if self.excess.sent(bytes) {
            self.wire.0.exceeded.store(false, Ordering::Release);
        }
    }
}

impl Connection for Watched {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.wire.clone())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.wire.0.reader.register(cx.waker());
        self.wire.check()?;
        if self.excess.is_used_up() {
            // hyper takes it for an upstream that closes an idle connection, and uses it no more.
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.wire.0.used.store(true, Ordering::Release);
            self.wire.0.answered.store(true, Ordering::Release);
            let fresh = buf.filled().get(before..).unwrap_or_default();
            if self.excess.received(fresh) {
                self.wire.0.exceeded.store(true, Ordering::Release);
            }
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.check()?;
        self.note_sent(buf);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire.check()?;
        self.note_sent(bufs.first().map(|buf| &**buf).unwrap_or_default());
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
