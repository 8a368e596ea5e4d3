//! Time, so that tests can set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the time comes from. Claims are judged by the wall clock, the age of keys by the
/// monotonic one, so that a step of the wall clock neither revives nor kills a key.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { started: Instant },
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    unix: AtomicU64,
    elapsed: AtomicU64,
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System {
            started: Instant::now(),
        })
    }

    /// A clock that stands still at `unix` seconds until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(unix: u64) -> Self {
        Self(Source::Manual(Arc::new(Manual {
            unix: AtomicU64::new(unix),
            elapsed: AtomicU64::new(0),
        })))
    }

    /// Wall-clock seconds since 1970. A machine set before then reads 0, where no token is valid.
    #[must_use]
    pub fn unix(&self) -> u64 {
        match &self.0 {
            Source::System { .. } => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            Source::Manual(manual) => manual.unix.load(Ordering::Relaxed),
        }
    }

    /// Monotonic time since the clock was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { started } => started.elapsed(),
            Source::Manual(manual) => Duration::from_secs(manual.elapsed.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock on by whole seconds; the system's clocks move by themselves.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            manual.unix.fetch_add(by.as_secs(), Ordering::Relaxed);
            manual.elapsed.fetch_add(by.as_secs(), Ordering::Relaxed);
        }
    }

    /// Steps a manual clock's wall time alone, as an administrator or NTP may.
    pub fn set_unix(&self, unix: u64) {
        if let Source::Manual(manual) = &self.0 {
            manual.unix.store(unix, Ordering::Relaxed);
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}
