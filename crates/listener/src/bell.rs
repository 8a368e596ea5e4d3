//! Wakes that a task can do without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// Wakes a task, but while it is held, when a note is enough. A task that is woken within its own turn goes to the end of
/// the queue, and the runtime wakes another worker to take it: two system calls, and it goes on on another core.
#[derive(Debug)]
pub(crate) struct Bell {
    task: Waker,
    held: AtomicBool,
    rung: AtomicBool,
}

impl Bell {
    pub(crate) fn of(task: &Waker) -> Arc<Self> {
        Arc::new(Self {
            task: task.clone(),
            held: AtomicBool::new(false),
            rung: AtomicBool::new(false),
        })
    }

    pub(crate) fn is_of(&self, task: &Waker) -> bool {
        self.task.will_wake(task)
    }

    /// From here on it only notes that it was rung.
    pub(crate) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Whether it was rung since the last time, or since before it was held.
    pub(crate) fn take_ring(&self) -> bool {
        self.rung.swap(false, Ordering::SeqCst)
    }

    /// From here on it wakes the task; at once, if there is a ring that nobody has taken.
    pub(crate) fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
        if self.take_ring() {
            self.task.wake_by_ref();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order: either the note is seen at the release, or the release is seen here.
        self.rung.store(true, Ordering::SeqCst);
        if !self.held.load(Ordering::SeqCst) {
            self.task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn no_ring_is_lost_and_none_wakes_while_it_is_held() {
        let woken = Arc::new(Woken::default());
        let count = || woken.0.load(Ordering::SeqCst);
        let bell = Bell::of(&Waker::from(Arc::clone(&woken)));
        let ring = Waker::from(Arc::clone(&bell));
        ring.wake_by_ref();
        assert_eq!(count(), 1);

        bell.hold();
        assert!(bell.take_ring(), "what came before may be taken too");
        ring.wake_by_ref();
        assert!(bell.take_ring());
        assert!(!bell.take_ring());
        bell.release();
        assert_eq!(count(), 1, "it was taken");

        bell.hold();
        ring.wake_by_ref();
        bell.release();
        assert_eq!(count(), 2);
        ring.wake();
        assert_eq!(count(), 3);
    }

    /// Whoever rings from another thread finds it held, or the task is woken.
    #[test]
    fn a_ring_meets_the_release() {
        for _ in 0..1_000 {
            let woken = Arc::new(Woken::default());
            let bell = Bell::of(&Waker::from(Arc::clone(&woken)));
            bell.hold();
            let ring = Waker::from(Arc::clone(&bell));
            let both = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn(|| {
                    both.wait();
                    ring.wake_by_ref();
                });
                both.wait();
                bell.release();
            });
            assert_ne!(woken.0.load(Ordering::SeqCst), 0);
        }
    }
}
