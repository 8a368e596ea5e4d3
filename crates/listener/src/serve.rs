//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::body::{H2_COPIED, H2_PIECE};
use crate::calm::Calm;
use crate::connection::Connection;
use crate::drain::Drain;
use crate::entrance::{Entrance, House, Version};
use crate::guard::Guard;
use crate::head::HeadLimits;
use crate::lots::Lots;
use crate::sniff::{Opening, sniff};
use crate::stall::Streams;
use crate::transport::{Socket, Transport};
use crate::{Fault, Limits, Peer, RequestBody};

/// What it takes to serve a connection.
pub(crate) struct Server<S, B> {
    pub(crate) service: S,
    pub(crate) faults: fn(Fault) -> Response<B>,
    pub(crate) house: Arc<House>,
    pub(crate) drain: Drain,
    /// Where the streams of HTTP/2 connections run.
    pub(crate) tasks: TaskTracker,
    /// Answers over HTTP/2 are worth copying to have them written together, and the first of them writing before all is read.
    pub(crate) small_answers: bool,
}

/// Once the drain has started, an idle connection may bring one more request for this long: its client may have
/// sent it before it could know, and would lose it. The answer then says that the connection closes.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// Windows of HTTP/2, which bound what a connection's unread bodies may take of memory.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What a stream may have written ahead of its peer.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// Streams that the peer reset before we looked at them, and that we reset for its mistakes, before the
/// connection is ended.
const H2_PENDING_RESETS: usize = 20;
const H2_LOCAL_RESETS: usize = 100;
/// A quarter of the places.
const H2_SHARE: usize = 4;

/// hyper's buffers hold a whole head, and this at least so that bodies move in large pieces.
const MIN_BUFFER: usize = 64 * 1024;

impl<S, B> Server<S, B>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Serves until the peer, a timeout or the drain ends the connection.
    pub(crate) async fn serve(self, mut socket: Socket, peer: Peer) {
        let connection = Arc::new(Connection::new());
        let signaled = self.drain.signaled();
        let opening = tokio::select! {
            biased;
            opening = sniff(&mut socket, self.house.timeouts.header.0) => opening,
            () = async { signaled.await; tokio::time::sleep(SETTLE).await } => Ok(Opening::Silence),
        };
        match opening {
            Ok(Opening::Http1(prefix, began)) => {
                self.http1(socket, prefix, began, peer, connection).await;
            }
            Ok(Opening::Http2(prefix)) => self.http2(socket, prefix, peer, connection).await,
            Ok(Opening::Silence) => {}
            Err(error) => debug!("connection ended: {error}"),
        }
    }

    async fn http1(
        self,
        socket: Socket,
        prefix: Bytes,
        began: Instant,
        peer: Peer,
        connection: Arc<Connection>,
    ) {
        let (limits, timeouts) = (&self.house.limits, &self.house.timeouts);
        let head_limits = HeadLimits::from(limits);
        let guard = Guard::new(
            Transport::new(socket, prefix, timeouts.write.0),
            head_limits,
            timeouts.header.0,
            timeouts.idle.0,
            began,
            connection.clone(),
        );
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // The guard times heads and idleness; hyper only ever sees whole heads, and its own timer would
            // cost an allocation with each request.
            .header_read_timeout(None)
            .max_headers(head_limits.headers)
            .max_buf_size(head_limits.bytes.saturating_mul(2).max(MIN_BUFFER))
            // The end of the client's side is how its leaving is noticed, so that work for nobody stops.
            .half_close(false)
            .pipeline_flush(false);
        let signaled = self.drain.signaled();
        let entrance = self.entrance(peer, connection.clone(), Version::Http1);
        let mut served = builder.serve_connection(TokioIo::new(guard), entrance);
        let mut signaled = std::pin::pin!(signaled);
        let mut draining = false;
        let end = loop {
            tokio::select! {
                biased;
                // First, so that a request that comes together with the drain is already told to close.
                _ = signaled.as_mut(), if !draining => {
                    draining = true;
                    connection.drain(Instant::now() + SETTLE);
                }
                // Its answer may have begun before, and so not have said that it is the last. Whoever reads for the next
                // request looks anew at how long that may take.
                () = connection.request_over(), if draining => {}
                end = &mut served => break end,
            }
        };
        let is_whole = end.is_ok();
        report(end);
        if connection.upgrade().is_none() {
            return;
        }
        // hyper leaves the stream open behind a request for an upgrade, whatever was answered.
        let mut guard = served.into_parts().io.into_inner();
        match connection.take_tunnel() {
            Some(tunnel) if is_whole => {
                if let Some(stream) = guard.into_inner() {
                    tunnel.run(stream).await;
                }
            }
            _ => {
                if let Err(error) = guard.shutdown().await {
                    debug!("connection ended: {error}");
                }
            }
        }
    }

    async fn http2(self, socket: Socket, prefix: Bytes, peer: Peer, connection: Arc<Connection>) {
        let (limits, timeouts) = (&self.house.limits, &self.house.timeouts);
        let (idle, header) = (timeouts.idle.0, timeouts.header.0);
        let socket = Transport::new(socket, prefix, timeouts.write.0);
        let floods = self.house.metrics.floods.clone();
        let transport = if self.small_answers {
            Calm::new(socket, floods).with_small_answers(Lots::new(connection.clone()))
        } else {
            Calm::new(socket, floods)
        };
        let head_bytes = u32::try_from(limits.header_bytes.0).unwrap_or(u32::MAX);
        let mut builder = http2::Builder::new(Streams {
            tasks: self.tasks.clone(),
            patience: timeouts.write.0,
            places: self.house.places.clone(),
        });
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_send_buf_size(H2_SEND_BUFFER)
            .max_concurrent_streams(streams(limits))
            .max_header_list_size(head_bytes)
            .max_pending_accept_reset_streams(H2_PENDING_RESETS)
            .max_local_error_reset_streams(H2_LOCAL_RESETS)
            // A peer that is silent, or stops within a header block, cannot answer a ping.
            .keep_alive_interval(header)
            .keep_alive_timeout(header);
        let signaled = self.drain.signaled();
        let entrance = self.entrance(peer, connection.clone(), Version::Http2);
        let served = builder.serve_connection(TokioIo::new(transport), entrance);
        let mut served = std::pin::pin!(served);
        let mut signaled = std::pin::pin!(signaled);
        let mut quiet = std::pin::pin!(sleep_until(connection.idle_at(idle)));
        let mut closing = false;
        loop {
            tokio::select! {
                biased;
                end = behind_streams(served.as_mut(), &connection) => return report(end),
                _ = signaled.as_mut(), if !closing => {
                    closing = true;
                    served.as_mut().graceful_shutdown();
                }
                () = quiet.as_mut() => {
                    let idle_at = connection.idle_at(idle);
                    if idle_at > Instant::now() {
                        quiet.as_mut().reset(idle_at);
                    } else if closing {
                        return debug!("connection ended: the peer did not let go");
                    } else {
                        closing = true;
                        served.as_mut().graceful_shutdown();
                        quiet.as_mut().reset(Instant::now() + header);
                    }
                }
            }
        }
    }

    fn entrance(self, peer: Peer, connection: Arc<Connection>, version: Version) -> Entrance<S, B> {
        Entrance {
            service: self.service,
            faults: self.faults,
            house: self.house,
            connection,
            peer,
            version,
            piece: if self.small_answers {
                H2_COPIED
            } else {
                H2_PIECE
            },
            calls: AtomicU64::new(0),
        }
    }
}

/// Lets everything that can run now run before `served`. A stream that has its answer wakes the connection, which would
/// be next, before all other streams, and would write this one answer; so it waits for one turn, and writes all that there are.
async fn behind_streams<F: Future>(mut served: Pin<&mut F>, connection: &Connection) -> F::Output {
    let mut waited = false;
    poll_fn(|cx| {
        waited = !waited;
        if waited {
            // From within its own turn a task is woken to the end of the queue.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        connection.begin_turn();
        served.as_mut().poll(cx)
    })
    .await
}

/// No one connection gets more than its share of the places among requests in flight.
fn streams(limits: &Limits) -> u32 {
    let share = (limits.in_flight / H2_SHARE).max(1);
    limits
        .h2_streams
        .min(u32::try_from(share).unwrap_or(u32::MAX))
}

fn report(end: hyper::Result<()>) {
    if let Err(error) = end {
        debug!("connection ended: {error}");
    }
}
