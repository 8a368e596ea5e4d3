//! From the upstream, or from here, to the client

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Upload;
use crate::headers::HeaderRules;
use crate::rejection::Rejection;
use crate::request_log::Exchange;
use crate::stay::Stay;

/// A response's body: one of our own, or one that is relayed piece by piece.
pub struct ResponseBody(Kind);

enum Kind {
    Own(Full<Bytes>),
    Relayed(Box<Relay>),
}

/// The upstream's body, watched until its end. Dropping it early ends the upstream's side as well.
pub(crate) struct Relay {
    pub(crate) incoming: Incoming,
    /// Longest silence of the upstream.
    pub(crate) limit: Duration,
    /// The request's body, while which is awaited the upstream may be silent.
    pub(crate) upload: Option<Arc<Upload>>,
    pub(crate) rules: Arc<HeaderRules>,
    /// The account of the exchange; it is closed when this is dropped.
    pub(crate) exchange: Exchange,
    /// Whose response it is; none on a public route.
    pub(crate) stay: Option<Stay>,
    /// Runs while the upstream is waited for. The allocation is made only once that happens.
    pub(crate) clock: Option<Pin<Box<Sleep>>>,
    /// When the upstream that is waited for has been silent for too long.
    pub(crate) silent_at: Option<Instant>,
}

/// Why a response breaks off. Its head is out by then, so the client learns it from the connection: it is closed, or
/// the stream reset, before the end of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseBodyError {
    /// The upstream broke off, or broke the rules of framing.
    #[error("the upstream broke off in the middle of the response")]
    BrokenOff,
    /// The upstream was silent for longer than `upstream.body_timeout`.
    #[error("the upstream fell silent in the middle of the response")]
    Silent,
    /// The caller may no longer have it.
    #[error("the caller may no longer have the response")]
    Over,
}

// === impl ResponseBody ===

impl ResponseBody {
    /// A body made here.
    pub fn own(body: Full<Bytes>) -> Self {
        ResponseBody(Kind::Own(body))
    }

    pub(crate) fn relayed(mut relay: Relay) -> Self {
        if relay.incoming.is_end_stream() {
            relay.exchange.complete();
        }
        ResponseBody(Kind::Relayed(Box::new(relay)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        match &mut self.get_mut().0 {
            Kind::Own(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Kind::Relayed(relay) => relay.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(body) => body.is_end_stream(),
            Kind::Relayed(relay) => relay.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(body) => body.size_hint(),
            Kind::Relayed(relay) => relay.incoming.size_hint(),
        }
    }
}

// === impl Relay ===

impl Drop for Relay {
    /// What is still being sent to the upstream is the same caller's.
    fn drop(&mut self) {
        if let (Some(upload), Some(stay)) = (&self.upload, self.stay.take()) {
            upload.keep(stay);
        }
    }
}

impl Relay {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        if self.poll_over(cx).is_ready() {
            return Poll::Ready(Some(Err(ResponseBodyError::Over)));
        }
        let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return Poll::Ready(Some(Err(ready!(self.poll_wait(cx)))));
        };
        self.silent_at = None;
        Poll::Ready(match next {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.exchange.sent(data.len());
                }
                let frame = match frame.into_trailers() {
                    Ok(mut trailers) => {
                        self.rules.strip_response_trailers(&mut trailers);
                        self.exchange.complete();
                        Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                };
                if self.incoming.is_end_stream() {
                    self.exchange.complete();
                }
                Some(Ok(frame))
            }
            Some(Err(_)) => {
                self.exchange
                    .fail("upstream_unavailable", "broke off in the body");
                Some(Err(ResponseBodyError::BrokenOff))
            }
            None => {
                self.exchange.complete();
                None
            }
        })
    }

    /// Ready once the caller may no longer have the response.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stay) = &mut self.stay else {
            return Poll::Pending;
        };
        let rejection = Rejection::from(ready!(stay.poll_over(cx)));
        if let Some(upload) = &self.upload {
            upload.stop();
        }
        self.exchange
            .fail(rejection.code(), "the caller may no longer have it");
        Poll::Ready(())
    }

    /// Ready once the upstream has been silent for too long, although it was its turn, or the caller has to go.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<ResponseBodyError> {
        loop {
            let silent_at = *self
                .silent_at
                .get_or_insert_with(|| Instant::now() + self.limit);
            let due = self.stay.as_ref().and_then(Stay::due);
            let at = due.map_or(silent_at, |due| due.min(silent_at));
            let clock = self.clock.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if clock.deadline() != at {
                clock.as_mut().reset(at);
            }
            ready!(clock.as_mut().poll(cx));
            if due.is_some_and(|due| due <= Instant::now()) {
                if self.poll_over(cx).is_ready() {
                    return Poll::Ready(ResponseBodyError::Over);
                }
                continue;
            }
            let patience = self
                .upload
                .as_ref()
                .map_or(Duration::ZERO, |upload| upload.patience(self.limit));
            if patience.is_zero() {
                self.exchange.fail("upstream_timeout", "silent in the body");
                return Poll::Ready(ResponseBodyError::Silent);
            }
            self.silent_at = Some(Instant::now() + patience);
        }
    }
}
