//! Where the streams of HTTP/2 connections run.
//!
//! A task for each is the runtime's way. For an answer of ten microseconds, which waits for nothing, that is much: a
//! place in a queue, another worker that is woken for it, and the connection woken by each answer. So where answers are
//! small a stream is first polled by its connection, in the turn that it began in, and becomes a task only when it has
//! to wait, or when the turn has lasted long enough.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use tokio::sync::Semaphore;
use tokio::task::coop::has_budget_remaining;
use tokio_util::task::TaskTracker;

use crate::bell::Bell;
use crate::stall::Impatient;

/// The streams of one connection, each with a limit to its patience.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Inner>);

struct Inner {
    /// Those of the whole listener.
    tasks: TaskTracker,
    /// Those of this connection among them.
    own: TaskTracker,
    patience: Duration,
    /// Among requests in flight.
    places: Arc<Semaphore>,
    at_once: bool,
    /// How long a turn is.
    turn: Duration,
    /// Streams that nobody has polled yet, while the connection is polled; else what begins is a task. They hold what
    /// holds this, so none may be left here.
    begun: Mutex<Option<Vec<Stream>>>,
}

/// Lets go of what has begun, also when polling the connection panics.
struct Close<'s>(&'s Streams);

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// For so long a connection polls streams in one turn. Those that are left become tasks, which other workers may take, and
/// other connections have their turns.
const TURN: Duration = Duration::from_micros(500);

impl Streams {
    /// `tasks` are those of the listener, `places` those among requests in flight. `at_once` has the connection poll its
    /// streams before they become tasks.
    pub(crate) fn new(
        tasks: TaskTracker,
        patience: Duration,
        places: Arc<Semaphore>,
        at_once: bool,
    ) -> Self {
        Self(Arc::new(Inner {
            tasks,
            own: TaskTracker::new(),
            patience,
            places,
            at_once,
            turn: TURN,
            begun: Mutex::default(),
        }))
    }

    /// Polls `connection`, to which these belong. A stream that is a task wakes it with its answer, and it would be next,
    /// before the other tasks, and would write this one answer; so while there are any it first lets all run that can.
    pub(crate) async fn with<F: Future>(&self, mut connection: Pin<&mut F>) -> F::Output {
        let mut waited = false;
        let mut bell: Option<Arc<Bell>> = None;
        poll_fn(|cx| {
            waited = !waited && !self.0.own.is_empty();
            if waited {
                // From within its own turn a task is woken to the end of the queue.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let known = bell.take().filter(|bell| bell.is_of(cx.waker()));
            let bell = bell.insert(known.unwrap_or_else(|| Bell::of(cx.waker())));
            bell.hold();
            let polled = self.turn(bell, connection.as_mut());
            bell.release();
            polled
        })
        .await
    }

    /// Polls the connection, which reads, then what began with that, and the connection again, which writes what was
    /// answered; until nothing begins.
    fn turn<F: Future>(&self, bell: &Arc<Bell>, mut connection: Pin<&mut F>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(bell));
        let mut cx = Context::from_waker(&waker);
        let ends = Instant::now() + self.0.turn;
        loop {
            // What rings from here on, but for the streams that are polled here, wakes the task at the release.
            bell.take_ring();
            let (polled, begun) = self.beginning(|| connection.as_mut().poll(&mut cx));
            let any = !begun.is_empty();
            self.poll_begun(begun, ends);
            // Without a budget everybody only says to come again.
            let over = Instant::now() > ends || !has_budget_remaining();
            if polled.is_ready() || !any || over {
                return polled;
            }
        }
    }

    /// What `poll` makes, and the streams that begin with it.
    fn beginning<T>(&self, poll: impl FnOnce() -> T) -> (T, Vec<Stream>) {
        let _close = Close(self);
        *self.begun() = self.0.at_once.then(Vec::new);
        let polled = poll();
        (polled, self.begun().take().unwrap_or_default())
    }

    /// Polls what has begun, each once, and makes tasks of those that are not over then, or whose turn does not come.
    fn poll_begun(&self, begun: Vec<Stream>, ends: Instant) {
        for stream in begun {
            let left = match Instant::now() < ends {
                true => poll_once(stream),
                false => Some(stream),
            };
            if let Some(stream) = left {
                self.spawn(stream);
            }
        }
    }

    fn begun(&self) -> MutexGuard<'_, Option<Vec<Stream>>> {
        self.0.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, stream: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(self.0.own.track_future(stream));
    }
}

impl Drop for Close<'_> {
    fn drop(&mut self) {
        let left = self.0.begun().take();
        // Not under the lock.
        drop(left);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let stream = Impatient::new(stream, self.0.patience, self.0.places.clone());
        match &mut *self.begun() {
            Some(begun) => begun.push(Box::pin(stream)),
            None => self.spawn(stream),
        }
    }
}

/// The stream, if it is not over. Nobody is told when it can go on: whoever polls it next finds out. A panic ends it, as it
/// ends a task, and nothing else.
fn poll_once(mut stream: Stream) -> Option<Stream> {
    let polled = catch_unwind(AssertUnwindSafe(move || {
        let mut cx = Context::from_waker(Waker::noop());
        match stream.as_mut().poll(&mut cx) {
            Poll::Ready(()) => None,
            Poll::Pending => Some(stream),
        }
    }));
    polled.unwrap_or_default()
}

#[cfg(test)]
mod tests;
