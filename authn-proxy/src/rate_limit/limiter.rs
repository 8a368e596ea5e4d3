//! One rate for many keys.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference as _};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota as Bucket, RateLimiter};

use super::table::{Shared, Table};
use super::{Key, Quota};
use crate::config::Rate;

/// Lets through so many requests of each key.
pub(super) struct Limiter<C: Clock = DefaultClock> {
    rate: Rate,
    limiter: RateLimiter<Key, Shared, C, StateInformationMiddleware>,
    table: Arc<Table>,
    clock: C,
    start: C::Instant,
    /// When room was last made, in nanoseconds since the start.
    swept: AtomicU64,
}

/// Room is made at most this often, in nanoseconds: going through a full table takes milliseconds.
const SWEEP_INTERVAL: u64 = 1_000_000_000;

// === impl Limiter ===

impl Limiter {
    pub(super) fn new(rate: Rate, keys: usize) -> Self {
        Self::with_clock(rate, keys, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    pub(super) fn with_clock(rate: Rate, keys: usize, clock: C) -> Self {
        let bucket = match rate.window {
            1 => Bucket::per_second(rate.requests),
            60 => Bucket::per_minute(rate.requests),
            _ => Bucket::per_hour(rate.requests),
        };
        let table = Arc::new(Table::new(keys));
        Self {
            rate,
            limiter: RateLimiter::new(bucket, Shared(Arc::clone(&table)), clock.clone()),
            table,
            start: clock.now(),
            clock,
            swept: AtomicU64::new(0),
        }
    }

    /// Counts one request, and says what is left to the key afterwards.
    ///
    /// # Errors
    /// When it has none left; that request is not counted.
    pub(super) fn count(&self, key: &Key) -> Result<Quota, Quota> {
        self.make_room();
        let quota = |remaining, wait: Duration| Quota {
            requests: self.rate.requests.get(),
            window: self.rate.window,
            remaining,
            reset: seconds(wait),
        };
        match self.limiter.check_key(key) {
            Ok(state) => Ok(quota(
                state.remaining_burst_capacity(),
                state.quota().replenish_interval(),
            )),
            Err(until) => Err(quota(0, until.wait_time_from(self.clock.now()))),
        }
    }

    /// How many keys are counted each by itself.
    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.limiter.len()
    }

    /// Drops the keys whose bucket is full again, when there was no room for another.
    fn make_room(&self) {
        if !self.table.is_crowded() {
            return;
        }
        let now = self.clock.now().duration_since(self.start).as_u64();
        let last = self.swept.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= SWEEP_INTERVAL;
        let ours = || {
            let swap = self
                .swept
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed);
            swap.is_ok()
        };
        if due && ours() {
            self.limiter.retain_recent();
        }
    }
}

impl<C: Clock> fmt::Debug for Limiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

/// Whole seconds, rounded up, so that nobody comes back too early.
fn seconds(wait: Duration) -> u16 {
    let whole = u16::try_from(wait.as_secs()).unwrap_or(u16::MAX);
    whole
        .saturating_add(u16::from(wait.subsec_nanos() > 0))
        .max(1)
}
