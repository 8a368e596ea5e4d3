//! From the client to the upstream

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use listener::{BodyError, RequestBody};
use tokio::time::Instant;

use crate::headers::HeaderRules;
use crate::stay::Stay;

/// The request's body on its way to the upstream. Its trailers are stripped like headers.
pub struct UpstreamBody(Option<Source>);

struct Source {
    body: RequestBody,
    upload: Arc<Upload>,
    rules: Arc<HeaderRules>,
}

/// How far the request's body has got. The client library reads the body on a task of its own and reports nothing but
/// "the body failed", so what happened is noted here for the exchange to find.
#[derive(Debug)]
pub struct Upload {
    started: Instant,
    /// Milliseconds from `started` to when the upstream was last given something, or [`WAITING`].
    turn: AtomicU64,
    bytes: AtomicU64,
    /// What went wrong, as a number; 0 for nothing.
    fault: AtomicU8,
    /// Set when nothing more may be passed on.
    over: AtomicBool,
    /// Whose upload it is, once nobody else looks after them: an upstream may answer before it has read everything.
    alone: AtomicBool,
    stay: Mutex<Option<Stay>>,
}

/// The value of [`Upload::turn`] while the next move is the client's.
const WAITING: u64 = u64::MAX;

// === impl UpstreamBody ===

impl UpstreamBody {
    /// No body at all.
    pub fn none() -> Self {
        UpstreamBody(None)
    }

    /// The client's body, watched by `upload`.
    pub fn new(body: RequestBody, upload: Arc<Upload>, rules: Arc<HeaderRules>) -> Self {
        UpstreamBody(Some(Source {
            body,
            upload,
            rules,
        }))
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(source) = &mut self.get_mut().0 else {
            return Poll::Ready(None);
        };
        if source.upload.is_over(cx) {
            return Poll::Ready(Some(Err(BodyError::Aborted)));
        }
        let Poll::Ready(next) = Pin::new(&mut source.body).poll_frame(cx) else {
            source.upload.wait();
            return Poll::Pending;
        };
        source.upload.advance();
        Poll::Ready(match next {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    source.upload.count(data.len());
                }
                Some(Ok(match frame.into_trailers() {
                    Ok(mut trailers) => {
                        source.rules.strip_request_trailers(&mut trailers);
                        Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                }))
            }
            Some(Err(error)) => {
                source.upload.fail(&error);
                Some(Err(error))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|source| source.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |source| source.body.size_hint())
    }
}

// === impl Source ===

impl Drop for Source {
    /// Whoever stops reading the body no longer waits for the client.
    fn drop(&mut self) {
        self.upload.advance();
    }
}

// === impl Upload ===

impl Upload {
    /// A body of which nothing has been read.
    pub fn new() -> Self {
        Upload {
            started: Instant::now(),
            turn: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            fault: AtomicU8::new(0),
            over: AtomicBool::new(false),
            alone: AtomicBool::new(false),
            stay: Mutex::new(None),
        }
    }

    /// How much of `limit` the upstream has left before it counts as silent. While the client is the one who is waited
    /// for, all of it: a slow client must not be blamed on the upstream.
    pub fn patience(&self, limit: Duration) -> Duration {
        match self.turn.load(Ordering::Acquire) {
            WAITING => limit,
            given => {
                let silent = self
                    .started
                    .elapsed()
                    .saturating_sub(Duration::from_millis(given));
                limit.saturating_sub(silent)
            }
        }
    }

    /// Bytes read from the client.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What was wrong with the client's body, if anything was.
    pub fn fault(&self) -> Option<BodyError> {
        match self.fault.load(Ordering::Acquire) {
            1 => Some(BodyError::TooLarge),
            2 => Some(BodyError::TimedOut),
            3 => Some(BodyError::Malformed),
            4 => Some(BodyError::Aborted),
            _ => None,
        }
    }

    /// Has nothing more of the body passed on: the client library may go on reading it while it drops a response.
    pub(crate) fn stop(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Looks after the caller from now on: the response, which did so, is over.
    pub(super) fn keep(&self, stay: Stay) {
        *self.stay.lock().unwrap_or_else(PoisonError::into_inner) = Some(stay);
        self.alone.store(true, Ordering::Release);
    }

    /// Whether nothing more may be passed on. Nothing is passed on without asking, so nothing else has to wake anybody.
    fn is_over(&self, cx: &mut Context<'_>) -> bool {
        if self.alone.load(Ordering::Acquire) {
            let mut stay = self.stay.lock().unwrap_or_else(PoisonError::into_inner);
            if stay
                .as_mut()
                .is_some_and(|stay| stay.poll_over(cx).is_ready())
            {
                self.stop();
            }
        }
        self.over.load(Ordering::Acquire)
    }

    pub(super) fn fail(&self, error: &BodyError) {
        let fault = match error {
            BodyError::TooLarge => 1,
            BodyError::TimedOut => 2,
            BodyError::Malformed => 3,
            BodyError::Aborted => 4,
        };
        self.fault.store(fault, Ordering::Release);
    }

    pub(super) fn wait(&self) {
        self.turn.store(WAITING, Ordering::Release);
    }

    pub(super) fn advance(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(WAITING - 1);
        self.turn.store(now, Ordering::Release);
    }

    pub(crate) fn count(&self, bytes: usize) {
        self.bytes
            .fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Default for Upload {
    fn default() -> Self {
        Self::new()
    }
}
