//! HTTP/2 streams whose peer takes no bytes.
//!
//! A peer that grants a stream no window keeps its response, and the request's place among those in flight, for
//! as long as it likes; the socket itself never blocks. hyper tells nobody that a stream waits for window, but
//! it asks our side for more only when there is some. So a stream that is polled, stays pending and did not ask
//! us for anything waits for its peer.
//!
//! Such a stream costs nobody anything until places run short; from then on it gets only a part of the time.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::alarm::Alarm;

/// Runs the streams of HTTP/2 connections, each with a limit to its patience.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) tasks: TaskTracker,
    pub(crate) patience: Duration,
    /// Among requests in flight.
    pub(crate) places: Arc<Semaphore>,
}

pin_project! {
    struct Impatient<F> {
        #[pin]
        stream: F,
        patience: Duration,
        places: Arc<Semaphore>,
        stalled_since: Option<Instant>,
        alarm: Alarm,
    }
}

/// What the service's side was asked during one poll of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// For more, and had it.
    More,
    /// For more, and had none yet.
    Wait,
}

/// A stream that waits for its peer gets this part of the time while no place is free.
const HURRY: u32 = 10;

thread_local! {
    /// Set and read within one poll, so by one stream at a time.
    static ASKED: Cell<Asked> = const { Cell::new(Asked::Nothing) };
}

/// Notes that the service's side was polled, with this outcome.
pub(crate) fn note<T>(polled: Poll<T>) -> Poll<T> {
    ASKED.set(match polled {
        Poll::Ready(_) => Asked::More,
        Poll::Pending => Asked::Wait,
    });
    polled
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.tasks.spawn(Impatient {
            stream,
            patience: self.patience,
            places: self.places.clone(),
            stalled_since: None,
            alarm: Alarm::default(),
        });
    }
}

impl<F: Future<Output = ()>> Future for Impatient<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        ASKED.set(Asked::Nothing);
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let since = match (ASKED.get(), *this.stalled_since) {
            (Asked::Wait, _) => {
                *this.stalled_since = None;
                return Poll::Pending;
            }
            (Asked::Nothing, Some(since)) => since,
            (Asked::More, _) | (Asked::Nothing, None) => *this.stalled_since.insert(Instant::now()),
        };
        let hurried = *this.patience / HURRY;
        let patience = match this.places.available_permits() {
            0 => hurried,
            _ => *this.patience,
        };
        let left = patience.saturating_sub(since.elapsed());
        // Places may become short meanwhile; nobody tells us.
        let look_again = Instant::now() + left.min(hurried);
        if left.is_zero() || this.alarm.poll_passed(cx, look_again) {
            debug!("a peer took no bytes of its response in time");
            // Dropping the stream resets it.
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
