//! Reads each HTTP/1 request head before hyper does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::Fault;
use crate::alarm::Alarm;
use crate::connection::Connection;
use crate::head::HeadLimits;
use crate::requests::{Found, Requests};
use crate::serve::SETTLE;

/// A stream from which only whole, unambiguous requests can be read.
///
/// A head that is refused never reaches hyper. In its place hyper reads [`STAND_IN`], so that the refusal is
/// answered in its turn, behind the answers to the requests before it; what that request is for is written down
/// in [`Connection`] by its number, where nothing a client sends can be mistaken for it. After it the stream has
/// no more bytes.
#[derive(Debug)]
pub(crate) struct Guard<I> {
    io: I,
    requests: Requests,
    connection: Arc<Connection>,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// Bytes that hyper has not got yet: `cleared` ones that it may have, then the start of a head.
    held: BytesMut,
    cleared: usize,
    mode: Mode,
    head_began: Option<Instant>,
    last_active: Instant,
    /// hyper has bytes of a response that the peer does not take.
    write_blocked: bool,
    alarm: Alarm,
    shutdown: Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// The stand-in was put in; nothing more is read from the peer.
    Refused,
    /// A body broke its framing.
    Broken,
    /// The last request asked to leave HTTP and is not answered. What comes now came too early.
    Upgrading,
    /// The peer has no more to say, or had nothing to say for too long.
    Ended,
}

#[derive(Clone, Copy, Debug)]
enum Shutdown {
    NotYet,
    /// Our side is shut; what the peer still sends is thrown away for a while.
    Lingering {
        until: Instant,
        bytes_left: usize,
    },
    Done,
}

const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// Room for a read that continues a head.
const READ_BYTES: usize = 4096;

/// Closing a socket with unread bytes resets the connection, and a reset can overtake our last answer. So the
/// peer gets this long, and this many bytes, to notice that we are done.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

impl<I: AsyncRead + AsyncWrite + Unpin> Guard<I> {
    /// `began` is when the first byte of the first request came.
    pub(crate) fn new(
        io: I,
        limits: HeadLimits,
        header_timeout: Duration,
        idle_timeout: Duration,
        began: Instant,
        connection: Arc<Connection>,
    ) -> Self {
        Self {
            io,
            requests: Requests::new(limits),
            connection,
            header_timeout,
            idle_timeout,
            held: BytesMut::new(),
            cleared: 0,
            mode: Mode::Open,
            head_began: Some(began),
            last_active: began,
            write_blocked: false,
            alarm: Alarm::default(),
            shutdown: Shutdown::NotYet,
        }
    }

    /// Reads straight into hyper's buffer and takes back what is not cleared. Used while nothing is held, which
    /// is nearly always: then a byte is copied once, by the kernel.
    fn poll_direct(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            self.mode = Mode::Ended;
            return Poll::Ready(Ok(()));
        }
        let found = self.requests.advance(fresh);
        let (cleared, rest_is_head) = self.judge(&found);
        if rest_is_head {
            let rest = fresh.get(cleared..).unwrap_or_default();
            self.held.extend_from_slice(rest);
        }
        buf.set_filled(before + cleared);
        self.finish(cleared, found);
        Poll::Ready(Ok(()))
    }

    /// Reads more of a head whose start is held.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.reserve(READ_BYTES);
        let length = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.held))?;
        if length == 0 {
            self.held.clear();
            self.mode = Mode::Ended;
            return Poll::Ready(Ok(()));
        }
        let found = self.requests.advance(&self.held);
        let (cleared, rest_is_head) = self.judge(&found);
        if !rest_is_head {
            self.held.truncate(cleared);
        }
        self.cleared = cleared;
        self.finish(cleared, found);
        Poll::Ready(Ok(()))
    }

    /// How many bytes may be passed on, and whether those after them are the start of a head.
    fn judge(&self, found: &Found) -> (usize, bool) {
        match *found {
            Found::Good(cleared) => (cleared, true),
            Found::Refused(cleared, _) | Found::Malformed(cleared) => (cleared, false),
        }
    }

    fn finish(&mut self, cleared: usize, found: Found) {
        self.last_active = Instant::now();
        let head_has_begun = !self.held.is_empty() && self.held.len() > self.cleared;
        match self.head_began {
            _ if !head_has_begun => self.head_began = None,
            // The same head, or the next one?
            Some(_) if cleared == 0 => {}
            _ => self.head_began = Some(self.last_active),
        }
        if self.requests.asks_upgrade() && self.mode == Mode::Open {
            self.mode = Mode::Upgrading;
            self.head_began = None;
            self.connection
                .ask_upgrade(self.requests.passed().saturating_sub(1));
            if head_has_begun {
                self.connection.speak_early();
            }
        }
        match found {
            Found::Good(_) => {}
            Found::Refused(_, fault) => self.refuse(fault),
            Found::Malformed(_) => self.mode = Mode::Broken,
        }
    }

    fn refuse(&mut self, fault: Fault) {
        self.connection.refuse(self.requests.passed(), fault);
        self.held.truncate(self.cleared);
        self.held.extend_from_slice(STAND_IN);
        self.cleared = self.held.len();
        self.mode = Mode::Refused;
    }

    /// Looks whether the client leaves, or speaks, before it is told whether it may. What it says is kept from
    /// everyone: nobody knows yet in which protocol it is meant.
    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.spoke_early() || self.connection.is_switching() {
            return Poll::Pending;
        }
        let mut byte = [0; 1];
        let mut buf = ReadBuf::new(&mut byte);
        match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
            Ok(()) if !buf.filled().is_empty() => {
                self.held.extend_from_slice(buf.filled());
                self.connection.speak_early();
                Poll::Pending
            }
            _ => {
                self.mode = Mode::Ended;
                Poll::Ready(())
            }
        }
    }

    /// The stream behind a request for an upgrade that was granted, from the first byte that was not read before;
    /// `None` if one was.
    pub(crate) fn into_inner(self) -> Option<I> {
        (self.mode == Mode::Upgrading && self.held.is_empty()).then_some(self.io)
    }

    /// The peer sends nothing now. How long may it?
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The reader of a body has a timer of its own.
        if !self.requests.at_head() {
            return Poll::Pending;
        }
        if let (Some(began), false) = (self.head_began, self.held.is_empty()) {
            if !self.alarm.poll_passed(cx, began + self.header_timeout) {
                return Poll::Pending;
            }
            self.refuse(Fault::TIMEOUT);
            return Poll::Ready(());
        }
        // hyper takes the end of the stream for a peer who left, and drops what it was about to write.
        let deadline = if self.connection.is_busy() || self.write_blocked {
            Instant::now() + self.idle_timeout
        } else {
            let idle_at = self.last_active + self.idle_timeout;
            let drained_at = self.connection.closes_idle_at();
            drained_at.map_or(idle_at, |at| idle_at.min(at.max(self.last_active + SETTLE)))
        };
        if !self.alarm.poll_passed(cx, deadline) {
            return Poll::Pending;
        }
        self.mode = Mode::Ended;
        // Nothing was said that a reset could overtake.
        self.shutdown = Shutdown::Done;
        Poll::Ready(())
    }

    fn note_write(&mut self, progressed: bool) {
        self.write_blocked = !progressed;
        if progressed {
            self.last_active = Instant::now();
        }
    }

    fn poll_linger(
        &mut self,
        cx: &mut Context<'_>,
        until: Instant,
        mut bytes_left: usize,
    ) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            let length = match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) => buf.filled().len(),
                Poll::Ready(Err(_)) => 0,
                Poll::Pending if self.alarm.poll_passed(cx, until) => 0,
                Poll::Pending => {
                    self.shutdown = Shutdown::Lingering { until, bytes_left };
                    return Poll::Pending;
                }
            };
            bytes_left = bytes_left.saturating_sub(length);
            if length == 0 || bytes_left == 0 || until <= Instant::now() {
                self.shutdown = Shutdown::Done;
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.cleared > 0 {
                let length = this.cleared.min(buf.remaining());
                buf.put_slice(this.held.get(..length).unwrap_or_default());
                this.held.advance(length);
                this.cleared -= length;
                return Poll::Ready(Ok(()));
            }
            match this.mode {
                Mode::Open => {}
                // An end of the stream would look like a peer who left and does not want the answer.
                Mode::Refused => return Poll::Pending,
                Mode::Upgrading => {
                    ready!(this.poll_early(cx));
                    continue;
                }
                Mode::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Mode::Ended => return Poll::Ready(Ok(())),
            }
            let before = buf.filled().len();
            let read = match this.held.is_empty() {
                true => this.poll_direct(cx, buf),
                false => this.poll_held(cx),
            };
            match read {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if buf.filled().len() > before => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => ready!(this.poll_patience(cx)),
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.note_write(written.is_ready());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.note_write(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Shutdown::Lingering { until, bytes_left } = this.shutdown {
            return this.poll_linger(cx, until, bytes_left);
        }
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        match (this.shutdown, this.mode) {
            (Shutdown::Done, _) | (_, Mode::Ended) => Poll::Ready(Ok(())),
            _ => this.poll_linger(cx, Instant::now() + LINGER, LINGER_BYTES),
        }
    }
}

#[cfg(test)]
mod tests;
