//! From the upstream, or from here, to the client

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::Upload;
use crate::headers::HeaderRules;
use crate::request_log::Exchange;

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
    /// Runs while the upstream is waited for. The allocation is made only once that happens.
    pub(crate) silence: Option<Pin<Box<Sleep>>>,
    pub(crate) waiting: bool,
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

impl Relay {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            ready!(self.poll_silence(cx));
            self.exchange.fail("upstream_timeout", "silent in the body");
            return Poll::Ready(Some(Err(ResponseBodyError::Silent)));
        };
        self.waiting = false;
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

    /// Ready once the upstream has been silent for too long, although it was its turn.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let silence = match &mut self.silence {
            Some(silence) => {
                if !self.waiting {
                    silence.as_mut().reset(Instant::now() + self.limit);
                }
                silence
            }
            none => none.insert(Box::pin(sleep(self.limit))),
        };
        self.waiting = true;
        loop {
            ready!(silence.as_mut().poll(cx));
            let patience = self
                .upload
                .as_ref()
                .map_or(Duration::ZERO, |upload| upload.patience(self.limit));
            if patience.is_zero() {
                return Poll::Ready(());
            }
            silence.as_mut().reset(Instant::now() + patience);
        }
    }
}
