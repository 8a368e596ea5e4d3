//! Telling listeners to finish: one trigger, any number of listeners.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Starts the drain. Dropped without [`start`](Self::start), it never starts.
#[derive(Debug)]
pub struct DrainTrigger {
    deadline: watch::Sender<Option<Instant>>,
}

/// Given to each [`Listener::serve`](crate::Listener::serve), and to whoever else should stop when it starts.
#[derive(Clone, Debug)]
pub struct Drain {
    deadline: watch::Receiver<Option<Instant>>,
}

/// A trigger and what it triggers.
#[must_use]
pub fn drain() -> (DrainTrigger, Drain) {
    let (sender, receiver) = watch::channel(None);
    (
        DrainTrigger { deadline: sender },
        Drain { deadline: receiver },
    )
}

impl DrainTrigger {
    /// Stops accepting, lets requests in flight finish for at most `within`, then closes what is left. Call it
    /// after readiness is gone and nobody routes new connections here any more.
    pub fn start(self, within: Duration) {
        self.deadline.send_replace(Some(Instant::now() + within));
    }
}

impl Drain {
    /// Ends when the drain starts, with the moment by which it must be over.
    pub fn signaled(&self) -> impl Future<Output = Instant> + Send + use<> {
        let mut deadline = self.deadline.clone();
        async move {
            let started = deadline
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|at| *at);
            match started {
                Some(at) => at,
                None => std::future::pending().await,
            }
        }
    }
}
