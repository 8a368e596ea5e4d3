//! Ends HTTP/2 connections on which too many useless frames come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::flood::Budget;
use crate::frames::{DATA, Frames, GOAWAY};
use crate::lots::Lots;

/// A stream that passes frames on byte for byte until the peer's [`Budget`] is spent. Then the peer is told so
/// with GOAWAY, behind the frame that h2 may be in the middle of writing, and gets a while to read it; h2 learns
/// of it all as an error of the stream.
#[derive(Debug)]
pub(crate) struct Calm<I> {
    io: I,
    budget: Budget,
    outgoing: Frames,
    state: State,
    floods: IntCounter,
    alarm: Alarm,
    /// How much is read at once, where answers are small and written together.
    lots: Option<Lots>,
}

#[derive(Debug)]
enum State {
    Open,
    /// What is left to say, and until when.
    Telling {
        goaway: Bytes,
        until: Instant,
    },
    /// Our side is shut; what the peer still sends is thrown away.
    Lingering {
        bytes_left: usize,
        until: Instant,
    },
    Over,
}

/// From the frame that was too many to the end of the connection; see also `guard.rs`.
const PARTING: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

const ENHANCE_YOUR_CALM: u32 = 0xb;
const REASON: &[u8] = b"too many frames of no use";

impl<I: AsyncRead + AsyncWrite + Unpin> Calm<I> {
    /// `floods` counts connections that were ended.
    pub(crate) fn new(io: I, floods: IntCounter) -> Self {
        Self {
            io,
            budget: Budget::new(),
            outgoing: Frames::after(0),
            state: State::Open,
            floods,
            alarm: Alarm::default(),
            lots: None,
        }
    }

    /// The same for small answers. It reads in lots, and takes what is written as one piece of memory: of a stream that takes
    /// several pieces h2 believes that they cost nothing, and has every body of 256 bytes or more written by itself, right
    /// behind its head; of any other it copies those below 1 KiB, and writes what has come together.
    pub(crate) fn with_small_answers(self, lots: Lots) -> Self {
        Self {
            lots: Some(lots),
            ..self
        }
    }

    fn give_up(&mut self) {
        self.floods.inc();
        self.state = State::Telling {
            goaway: goaway(self.budget.last_stream()),
            until: Instant::now() + PARTING,
        };
    }

    /// h2 has written this.
    fn note_written(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (read, frame) = self.outgoing.step(rest);
            if let Some(frame) = frame.filter(|frame| frame.kind == DATA) {
                self.budget.sent(frame.content);
            }
            at += read;
        }
    }

    /// Takes leave, with the error that ends the connection at last. Polled by whatever h2 does next, reading or
    /// writing: it may wait for one to do the other.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            match &mut self.state {
                State::Open => return Poll::Pending,
                State::Over => return Poll::Ready(io::ErrorKind::ConnectionAborted.into()),
                State::Telling { until, .. } | State::Lingering { until, .. }
                    if self.alarm.poll_passed(cx, *until) =>
                {
                    self.state = State::Over;
                }
                State::Telling { .. } if !self.outgoing.at_boundary() => return Poll::Pending,
                State::Telling { goaway, until } => {
                    while goaway.has_remaining() {
                        match ready!(Pin::new(&mut self.io).poll_write(cx, goaway)) {
                            Ok(0) => return Poll::Ready(io::ErrorKind::WriteZero.into()),
                            Ok(written) => goaway.advance(written),
                            Err(error) => return Poll::Ready(error),
                        }
                    }
                    if let Err(error) = ready!(Pin::new(&mut self.io).poll_shutdown(cx)) {
                        return Poll::Ready(error);
                    }
                    self.state = State::Lingering {
                        bytes_left: LINGER_BYTES,
                        until: *until,
                    };
                }
                State::Lingering { bytes_left, .. } => {
                    let mut scratch = [0; 4096];
                    let mut buf = ReadBuf::new(&mut scratch);
                    if let Err(error) = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                        return Poll::Ready(error);
                    }
                    *bytes_left = bytes_left.saturating_sub(buf.filled().len());
                    if buf.filled().is_empty() || *bytes_left == 0 {
                        self.state = State::Over;
                    }
                }
            }
        }
    }

    /// Writes what belongs to the frame that has begun; after it comes the farewell.
    fn poll_finish_frame(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = self.outgoing.until_boundary(bytes);
        let allowed = bytes.get(..allowed).filter(|allowed| !allowed.is_empty());
        let Some(allowed) = allowed else {
            return self.poll_leave(cx).map(Err);
        };
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, allowed))?;
        self.note_written(allowed.get(..written).unwrap_or_default());
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(written))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Calm<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !matches!(this.state, State::Open) {
            return this.poll_leave(cx).map(Err);
        }
        let before = buf.filled().len();
        ready!(match &mut this.lots {
            Some(lots) => lots.poll_read(&mut this.io, cx, buf),
            None => Pin::new(&mut this.io).poll_read(cx, buf),
        })?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if let Err(good) = this.budget.received(fresh) {
            buf.set_filled(before + good);
            this.give_up();
            // Nothing read would mean that the peer has left.
            if good == 0 {
                return this.poll_leave(cx).map(Err);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Calm<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !matches!(this.state, State::Open) {
            return this.poll_finish_frame(cx, bytes);
        }
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?;
        this.note_written(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !matches!(this.state, State::Open) {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return this.poll_finish_frame(cx, first.map_or(&[], |slice| slice));
        }
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, slices))?;
        let mut left = written;
        for slice in slices {
            let taken = left.min(slice.len());
            this.note_written(slice.get(..taken).unwrap_or_default());
            left -= taken;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.lots.is_none() && self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

fn goaway(last_stream: u32) -> Bytes {
    let length = u32::try_from(8 + REASON.len()).unwrap_or_default();
    let [_, length @ ..] = length.to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([GOAWAY, 0, 0, 0, 0, 0]);
    frame.extend(last_stream.to_be_bytes());
    frame.extend(ENHANCE_YOUR_CALM.to_be_bytes());
    frame.extend(REASON);
    frame.into()
}

#[cfg(test)]
mod tests;
