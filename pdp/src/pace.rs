//! Long requests take turns with others.

use std::time::{Duration, Instant};

/// How long deciding may keep other requests of this thread waiting.
const TURN: Duration = Duration::from_micros(500);

/// The turn that a request has, and the time that it has in all.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When this turn began.
    began: Instant,
    /// What the turns before it took.
    spent: Duration,
    budget: Duration,
}

// === impl Pace ===

impl Pace {
    pub(crate) fn new() -> Self {
        Self::within(Duration::MAX, Instant::now())
    }

    /// Of work that began at `began` and may take `budget`, the turns of others not counted.
    pub(crate) fn within(budget: Duration, began: Instant) -> Self {
        Self {
            began,
            spent: Duration::ZERO,
            budget,
        }
    }

    /// Lets others have theirs when this one has been long enough.
    pub(crate) async fn pause(&mut self) {
        self.step().await;
    }

    /// Stands between two steps: pauses when it is time to, and says whether there is time for another.
    pub(crate) async fn step(&mut self) -> bool {
        let turn = self.began.elapsed();
        if self.spent + turn >= self.budget {
            return false;
        }
        if turn >= TURN {
            self.spent += turn;
            tokio::task::yield_now().await;
            self.began = Instant::now();
        }
        true
    }
}
