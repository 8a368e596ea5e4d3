//! Long requests take turns with others.

use std::time::{Duration, Instant};

/// How long deciding may keep other requests of this thread waiting.
const TURN: Duration = Duration::from_micros(500);

/// The turn that a request has.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
}

// === impl Pace ===

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Lets others have theirs when this one has been long enough.
    pub(super) async fn pause(&mut self) {
        if self.began.elapsed() >= TURN {
            tokio::task::yield_now().await;
            self.began = Instant::now();
        }
    }
}
