use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use tokio::sync::Notify;
use tokio::task::yield_now;

use super::*;

/// A connection that ends so panics in its first turn.
const PANICS: usize = 0;

const LONG: Duration = Duration::from_secs(10);

/// How many streams are over.
type Over = Arc<AtomicUsize>;

/// A connection that begins these streams in its first turn, and counts its turns.
struct Connection {
    streams: Streams,
    begins: Vec<Stream>,
    turns: Arc<AtomicUsize>,
    ends_at: usize,
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for stream in mem::take(&mut self.begins) {
            // As h2 does when a stream answers.
            let answers = cx.waker().clone();
            self.streams.execute(async move {
                stream.await;
                answers.wake();
            });
        }
        let turns = self.turns.fetch_add(1, Ordering::SeqCst) + 1;
        assert_ne!(self.ends_at, PANICS, "a defect");
        match turns >= self.ends_at {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// Streams with turns that are long enough on any machine, or over at once.
fn streams(at_once: bool, turn: Duration) -> Streams {
    let places = Arc::new(Semaphore::new(1));
    let mut streams = Streams::new(TaskTracker::new(), LONG, places, at_once);
    Arc::get_mut(&mut streams.0).unwrap().turn = turn;
    streams
}

/// A stream that is over at once, and counts.
fn quick(over: &Over) -> Stream {
    let over = Arc::clone(over);
    Box::pin(async move {
        over.fetch_add(1, Ordering::SeqCst);
    })
}

/// The connection after a poll from outside, which is a turn.
async fn turn(streams: &Streams, connection: &mut Connection) -> Poll<()> {
    let mut with = Box::pin(streams.with(Pin::new(connection)));
    poll_fn(|cx| Poll::Ready(with.as_mut().poll(cx))).await
}

fn connection(streams: &Streams, begins: Vec<Stream>, ends_at: usize) -> Connection {
    Connection {
        streams: streams.clone(),
        begins,
        turns: Arc::default(),
        ends_at,
    }
}

#[tokio::test]
async fn what_waits_for_nothing_is_answered_in_the_turn_it_begins_in() {
    let (streams, over) = (streams(true, LONG), Over::default());
    let begins = (0..3).map(|_| quick(&over)).collect();
    let mut connection = connection(&streams, begins, 9);
    assert!(turn(&streams, &mut connection).await.is_pending());
    assert_eq!(over.load(Ordering::SeqCst), 3);
    assert!(streams.0.own.is_empty(), "none of them is a task");
    let turns = connection.turns.load(Ordering::SeqCst);
    assert_eq!(turns, 2, "the second writes what all of them answered");
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_answer_within_the_turn_wakes_nobody() {
    let (streams, over) = (streams(true, LONG), Over::default());
    let mut connection = connection(&streams, vec![quick(&over)], 9);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut with = Box::pin(streams.with(Pin::new(&mut connection)));
    assert!(
        with.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!(over.load(Ordering::SeqCst), 1);
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_waits_becomes_a_task() {
    for at_once in [true, false] {
        let (streams, over) = (streams(at_once, LONG), Over::default());
        let (go_on, woken) = (Arc::new(Notify::new()), Arc::clone(&over));
        let notified = Arc::clone(&go_on);
        let waits: Stream = Box::pin(async move {
            notified.notified().await;
            woken.fetch_add(1, Ordering::SeqCst);
        });
        let mut connection = connection(&streams, vec![waits, quick(&over)], 9);
        assert!(turn(&streams, &mut connection).await.is_pending());
        assert_eq!(streams.0.own.len(), if at_once { 1 } else { 2 });
        // Others go first, once.
        let before = connection.turns.load(Ordering::SeqCst);
        assert!(turn(&streams, &mut connection).await.is_pending());
        assert_eq!(connection.turns.load(Ordering::SeqCst), before);
        go_on.notify_one();
        while over.load(Ordering::SeqCst) < 2 {
            yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_a_turn_has_no_time_for_becomes_tasks() {
    let (streams, over) = (streams(true, Duration::ZERO), Over::default());
    let mut connection = connection(&streams, vec![quick(&over), quick(&over)], 9);
    assert!(turn(&streams, &mut connection).await.is_pending());
    assert_eq!((over.load(Ordering::SeqCst), streams.0.own.len()), (0, 2));
    while over.load(Ordering::SeqCst) < 2 {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_panic_ends_the_stream_that_it_is_of() {
    let (streams, over) = (streams(true, LONG), Over::default());
    let panics: Stream = Box::pin(async { panic!("a defect") });
    let mut connection = connection(&streams, vec![panics, quick(&over)], 9);
    assert!(turn(&streams, &mut connection).await.is_pending());
    assert_eq!((over.load(Ordering::SeqCst), streams.0.own.len()), (1, 0));
}

/// Streams hold what they wait in, which would keep both for ever.
#[tokio::test]
async fn nothing_is_kept_when_the_connection_ends() {
    for (ends_at, polled) in [(1, 1), (PANICS, 0)] {
        let (streams, over) = (streams(true, LONG), Over::default());
        let inner = Arc::downgrade(&streams.0);
        let mut connection = connection(&streams, vec![quick(&over)], ends_at);
        let mut with = Box::pin(streams.with(Pin::new(&mut connection)));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut cx = Context::from_waker(Waker::noop());
            with.as_mut().poll(&mut cx).is_ready()
        }));
        assert_eq!(ended.ok(), (ends_at != PANICS).then_some(true));
        drop(with);
        drop((connection, streams));
        assert!(inner.upgrade().is_none());
        assert_eq!(over.load(Ordering::SeqCst), polled);
    }
}
