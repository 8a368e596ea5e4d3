//! Lines on their way to a slow sink: a bounded buffer, and the thread that empties it.
//!
//! Waking a thread for each line is dear: without it the proxy took 54 µs of processor time for a
//! request instead of 77 (`benches/`, one run of each, on two cores that others used too, so the
//! size of the gain is rough). So the writer is woken once, lets lines gather for [`WINDOW`], and
//! takes them all together.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes that may wait for the writer. A line that does not fit is dropped and counted.
const CAPACITY: usize = 8 << 20;
/// How long lines gather before they are written.
const WINDOW: Duration = Duration::from_millis(5);
/// Bytes at which the writer stops waiting for more.
const ENOUGH: usize = 256 << 10;

/// Where lines are put. Clones share one buffer.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

/// Ends the writer when it is dropped, after the last line.
pub(crate) struct Writer {
    queue: Queue,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    /// The writer has nothing to do and must be woken.
    idle: bool,
    closed: bool,
}

// === impl Queue ===

impl Queue {
    /// Starts the thread that writes to `sink`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(sink: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        let shared = Shared {
            state: Mutex::default(),
            work: Condvar::new(),
        };
        let queue = Self(Arc::new(shared));
        let writer = queue.clone();
        let thread = thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(move || writer.write_to(sink))?;
        Ok((
            queue.clone(),
            Writer {
                queue,
                thread: Some(thread),
            },
        ))
    }

    /// Puts a line in the queue; never waits for the sink.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.lines.len() + line.len() > CAPACITY {
            state.dropped += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        let enough = state.lines.len() >= ENOUGH && state.lines.len() - line.len() < ENOUGH;
        if std::mem::take(&mut state.idle) || enough {
            drop(state);
            self.0.work.notify_one();
        }
    }

    /// How many lines were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.state().dropped
    }

    fn write_to(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.state();
            while state.lines.is_empty() && !state.closed {
                state.idle = true;
                state = self
                    .0
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.lines.is_empty() {
                return;
            }
            let gathering = |state: &mut State| state.lines.len() < ENOUGH && !state.closed;
            let (mut state, _) = self
                .0
                .work
                .wait_timeout_while(state, WINDOW, gathering)
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut state.lines, &mut batch);
            drop(state);
            // A sink that is gone (a closed pipe, a full disk) must not end the service.
            if let Err(error) = sink.write_all(&batch).and_then(|()| sink.flush()) {
                tracing::warn!(%error, "decisions could not be logged");
            }
            batch.clear();
            batch.shrink_to(2 * ENOUGH);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves the state half changed.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Writer ===

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.state().closed = true;
        self.queue.0.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // It only panics if the sink did, and then there is nothing left to write to.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink that keeps what it got, and takes it only while it is open.
    #[derive(Clone, Default)]
    struct Gate(Arc<Valve>);

    #[derive(Default)]
    struct Valve {
        open: Mutex<bool>,
        opened: Condvar,
        taken: Mutex<Vec<u8>>,
    }

    impl Gate {
        fn open(&self) {
            *self.0.open.lock().unwrap() = true;
            self.0.opened.notify_all();
        }
        fn taken(&self) -> Vec<u8> {
            self.0.taken.lock().unwrap().clone()
        }
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let open = self.0.open.lock().unwrap();
            drop(self.0.opened.wait_while(open, |open| !*open).unwrap());
            self.0.taken.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_in_order_before_the_writer_ends() {
        let sink = Gate::default();
        sink.open();
        let (queue, writer) = Queue::start(sink.clone()).unwrap();
        let lines: Vec<String> = (0..10_000).map(|n| format!("line {n}\n")).collect();
        for line in &lines {
            queue.push(line.as_bytes());
        }
        drop(writer);
        assert_eq!(sink.taken(), lines.concat().into_bytes());
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn a_sink_that_hangs_costs_lines_and_no_memory_and_no_wait() {
        let sink = Gate::default();
        let (queue, writer) = Queue::start(sink.clone()).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            queue.push(&line);
        }
        let dropped = queue.dropped();
        // What the writer holds and what waits for it, at most.
        assert!(
            dropped >= 100 - 2 * (CAPACITY as u64 >> 20),
            "{dropped} dropped"
        );
        sink.open();
        drop(writer);
        assert_eq!(sink.taken().len() as u64, (100 - dropped) << 20);
    }
}
