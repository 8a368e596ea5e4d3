//! The bodies on their way in and out.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use thiserror::Error;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::connection::Connection;
use crate::stall;
use crate::ticket::Ticket;

/// A request's body, held to the limits of its listener. Trailers come last, as the client sent them.
#[derive(Debug)]
pub struct RequestBody {
    inner: Incoming,
    connection: Arc<Connection>,
    bytes_left: u64,
    timeout: Duration,
    pace: Pace,
    is_over: bool,
}

/// Why a request's body cannot be read to its end. The client's connection is closed after the answer, or its
/// HTTP/2 stream reset.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than `limits.body_bytes`; answer 413.
    #[error("the body is too large")]
    TooLarge,
    /// It came too slowly for `timeouts.body`; answer 408.
    #[error("the body came too slowly")]
    TimedOut,
    /// Its chunks are malformed; answer 400.
    #[error("the body is malformed")]
    Malformed,
    /// The client went away; there is nobody to answer.
    #[error("the body ended before its end")]
    Aborted,
}

/// How fast a body comes, counted only while somebody waits for it.
#[derive(Debug, Default)]
struct Pace {
    waiting_since: Option<Instant>,
    waited: Duration,
    bytes: u64,
    alarm: Alarm,
}

pin_project! {
    /// A response's body, which keeps the request's place among those in flight until it is sent.
    #[derive(Debug)]
    pub(crate) struct ResponseBody<B: Body> {
        #[pin]
        inner: B,
        // What is left of a piece that was too large to hand over at once.
        rest: Option<B::Data>,
        max_piece: usize,
        ticket: Option<Ticket>,
    }
}

/// h2 takes a whole piece as soon as its peer grants window for one byte of it, and then the body would seem to be
/// sent. So HTTP/2 gets it in pieces that do not outgrow what a stream may buffer anyway.
pub(crate) const H2_PIECE: usize = 32 * 1024;

/// Pieces that h2 copies behind the frames before them, where it is told that this is better ([`Calm::copying`]): those
/// shorter than 1 KiB.
///
/// [`Calm::copying`]: crate::calm::Calm::copying
pub(crate) const H2_COPIED: usize = 1000;

/// A body that took longer than its timeout in all must have come at this many bytes a second.
const MIN_BYTES_PER_SECOND: u64 = 256;

// === impl RequestBody ===

impl RequestBody {
    pub(crate) fn new(
        inner: Incoming,
        connection: Arc<Connection>,
        limit: u64,
        timeout: Duration,
    ) -> Self {
        Self {
            inner,
            connection,
            bytes_left: limit,
            timeout,
            pace: Pace::default(),
            is_over: false,
        }
    }

    fn poll_inner(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending if self.pace.poll_too_slow(cx, self.timeout) => {
                return Poll::Ready(Some(Err(BodyError::TimedOut)));
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {
                self.is_over = true;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => {
                return Poll::Ready(Some(Err(BodyError::of(&error))));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.bytes_left.checked_sub(length) {
            Some(left) => self.bytes_left = left,
            None => return Poll::Ready(Some(Err(BodyError::TooLarge))),
        }
        if !self.pace.arrived(length, self.timeout) {
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().poll_inner(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            self.connection.leave_body_unread();
        }
    }
}

// === impl Pace ===

impl Pace {
    /// The reader waits. Has it waited too long?
    fn poll_too_slow(&mut self, cx: &mut Context<'_>, timeout: Duration) -> bool {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        self.alarm.poll_passed(cx, since + timeout)
    }

    /// Some bytes came. Is the body fast enough so far?
    fn arrived(&mut self, bytes: u64, timeout: Duration) -> bool {
        self.bytes += bytes;
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        self.waited <= timeout || self.bytes >= MIN_BYTES_PER_SECOND * self.waited.as_secs()
    }
}

// === impl BodyError ===

impl BodyError {
    /// The guard, and hyper's own decoder, report broken framing as an IO error of these kinds.
    fn of(error: &hyper::Error) -> Self {
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return match error.kind() {
                    io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::Malformed,
                    _ => Self::Aborted,
                };
            }
            cause = error.source();
        }
        Self::Aborted
    }
}

// === impl ResponseBody ===

impl<B: Body> ResponseBody<B> {
    pub(crate) fn new(inner: B, max_piece: usize, ticket: Option<Ticket>) -> Self {
        Self {
            inner,
            rest: None,
            max_piece,
            ticket,
        }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let mut data = match this.rest.take() {
            Some(rest) => rest,
            None => match stall::note(this.inner.poll_frame(cx)) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    // Trailers, the only other kind, hold no data to convert.
                    Err(frame) => {
                        return Poll::Ready(Some(Ok(frame.map_data(|_| Bytes::new()))));
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            },
        };
        // Costs nothing for `Bytes`, which all our bodies are made of.
        let piece = data.copy_to_bytes(data.remaining().min(*this.max_piece));
        if data.has_remaining() {
            *this.rest = Some(data);
        }
        stall::note(Poll::Ready(Some(Ok(Frame::data(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let rest = self.rest.as_ref().map_or(0, |rest| rest.remaining() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
