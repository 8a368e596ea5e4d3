//! Connections that leave HTTP: the way there, and what is carried then
//!
//! A request for an upgrade passes the gate like any other. It goes on to the upstream with the one protocol that its
//! route names, and only a `101` that names it, too, opens the tunnel; any other answer is an ordinary response, and the
//! last one of its connection. From then on bytes are carried as they come, because nobody here knows where a frame of
//! another protocol ends. So there is one way to end a tunnel whose caller may no longer have it: both connections are
//! closed.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, TE, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use listener::{Switched, Upgrade};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::share::{Share, Shares};
use crate::active::ActiveUser;
use crate::body::Upload;
use crate::config::Protocol;
use crate::decide::Permit;
use crate::headers::elements;
use crate::rate_limit::Key;
use crate::rejection::{Reason, Rejection};
use crate::request_log::Exchange;
use crate::stay::Stay;
use crate::upstream;

/// A request for an upgrade that was admitted.
#[derive(Debug)]
pub(super) struct Handshake {
    upgrade: Upgrade,
    /// The protocol, as the client wrote it.
    protocol: HeaderValue,
    /// The caller's, for as long as it is open.
    share: Share,
}

/// The two connections of one tunnel, and the account of them.
pub(super) struct Tunnel {
    upstream: OnUpgrade,
    stay: Option<Stay>,
    idle: Duration,
    meter: Arc<Meter>,
    exchange: Exchange,
}

/// What has passed through a tunnel.
#[derive(Debug)]
struct Meter {
    opened: Instant,
    /// When something last did, in milliseconds since `opened`.
    active: AtomicU64,
    /// Bytes to the client.
    sent: AtomicU64,
    /// Bytes from the client.
    received: Arc<Upload>,
}

/// The upstream's side of a tunnel, metered.
struct Metered {
    stream: TcpStream,
    /// What the upstream sent together with its `101`.
    ahead: Bytes,
    meter: Arc<Meter>,
}

/// What is read from one side before it is written to the other, in bytes.
const BUFFER: usize = 16 * 1024;

/// How long the client library may take to hand out the connection behind a `101`, which it has.
const HAND_OVER: Duration = Duration::from_secs(5);

// === impl Handshake ===

impl Handshake {
    /// Whether the request may be sent on as one for an upgrade.
    pub(super) fn admit(
        upgrade: Upgrade,
        permit: &Permit,
        head: &request::Parts,
        upstream: Protocol,
        shares: &Shares,
        address: Option<IpAddr>,
    ) -> Result<Self, Rejection> {
        let protocol = permit
            .route()
            .upgrade_to(offered(&head.headers))
            .and_then(|protocol| HeaderValue::from_str(protocol).ok())
            .filter(|_| upstream == Protocol::Http1)
            .ok_or_else(|| Rejection::new(Reason::NotImplemented).because("an upgrade"))?;
        if head.method != Method::GET {
            return Err(malformed("an upgrade by another method than `GET`"));
        }
        let caller = match permit.user().map(ActiveUser::identity) {
            Some(identity) => Key::of_principal(&identity.principal_type, &identity.principal_id),
            None => Key::of_address(address),
        };
        let share = shares.take(caller, upgrade.places()).ok_or_else(|| {
            Rejection::new(Reason::Overloaded).because("the caller has a quarter of all tunnels")
        })?;
        let handshake = Self {
            upgrade,
            protocol,
            share,
        };
        handshake.check()?;
        Ok(handshake)
    }

    /// Whether the client waits for its answer, as it must.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        if self.upgrade.spoke_early() {
            return Err(malformed("bytes behind a request for an upgrade"));
        }
        Ok(())
    }

    /// Puts what was stripped of the request with the rest of `Connection` back in: one protocol, and nothing else.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        headers.remove(TE);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }

    /// The same in the answer.
    pub(super) fn grant(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }

    /// Has the connection carry `tunnel` from the end of the answer on.
    pub(super) fn open(self, tunnel: Tunnel) {
        let share = self.share;
        self.upgrade.switch(|client| async move {
            tunnel.carry(client).await;
            drop(share);
        });
    }
}

// === impl Tunnel ===

impl Tunnel {
    /// A tunnel to where this response came from.
    pub(super) fn new(
        response: Response<Incoming>,
        stay: Option<Stay>,
        idle: Duration,
        mut exchange: Exchange,
    ) -> Self {
        let received = Arc::new(Upload::new());
        exchange.uploading(&received);
        // Unless it ends in another way.
        exchange.fail("drained", "still open when the process ended");
        Self {
            upstream: hyper::upgrade::on(response),
            stay,
            idle,
            meter: Arc::new(Meter {
                opened: Instant::now(),
                active: AtomicU64::new(0),
                sent: AtomicU64::new(0),
                received,
            }),
            exchange,
        }
    }

    /// Carries bytes both ways until both sides have ended, one breaks off, nothing passes for too long, or the caller may
    /// no longer have it.
    async fn carry(mut self, mut client: Switched) {
        let handed = timeout(HAND_OVER, &mut self.upstream).await;
        let Some((stream, ahead)) = handed
            .ok()
            .and_then(Result::ok)
            .and_then(upstream::into_stream)
        else {
            self.exchange
                .fail("upstream_unavailable", "broke off behind its `101`");
            return;
        };
        let mut upstream = Metered {
            stream,
            ahead,
            meter: Arc::clone(&self.meter),
        };
        let mut vigil = self.stay.as_mut().map(Stay::begin);
        let over = std::future::poll_fn(|cx| match &mut vigil {
            Some(vigil) => vigil.poll_over(cx),
            None => Poll::Pending,
        });
        let carried = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER);
        tokio::select! {
            biased;
            end = over => {
                let rejection = Rejection::from(end);
                self.exchange.fail(rejection.code(), "the caller may no longer have it");
            }
            () = self.meter.idle(self.idle) => {
                self.exchange.fail("idle_timeout", "nothing passed for too long");
            }
            carried = carried => match carried {
                Ok(_) => self.exchange.succeed(),
                Err(_) => self.exchange.fail("broke_off", "one side broke off"),
            },
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let sent = self.meter.sent.load(Ordering::Relaxed);
        self.exchange
            .sent(usize::try_from(sent).unwrap_or(usize::MAX));
    }
}

// === impl Meter ===

impl Meter {
    fn note(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active.store(now, Ordering::Relaxed);
    }

    /// Ends when nothing has passed for `limit`.
    async fn idle(&self, limit: Duration) {
        loop {
            let active = Duration::from_millis(self.active.load(Ordering::Relaxed));
            let silent = self.opened.elapsed().saturating_sub(active);
            match limit.checked_sub(silent) {
                None | Some(Duration::ZERO) => return,
                Some(left) => sleep(left).await,
            }
        }
    }
}

// === impl Metered ===

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = if self.ahead.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        } else {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(self.ahead.get(..length).unwrap_or_default());
            self.ahead.advance(length);
            Poll::Ready(Ok(()))
        };
        let fresh = buf.filled().len().saturating_sub(before);
        if fresh > 0 {
            let fresh = u64::try_from(fresh).unwrap_or(u64::MAX);
            self.meter.sent.fetch_add(fresh, Ordering::Relaxed);
            self.meter.note();
        }
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(length)) = &written {
            self.meter.received.count(*length);
            self.meter.note();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Whether the response opens a tunnel.
pub(super) fn is_switch<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// The protocols that a request would like to go on in, best first.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(UPGRADE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(elements)
}

fn malformed(cause: &'static str) -> Rejection {
    Rejection::new(Reason::InvalidRequest).because(cause)
}
