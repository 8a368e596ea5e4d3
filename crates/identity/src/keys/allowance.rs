//! How often requests may cause a fetch of keys.

use std::time::Duration;

/// How many fetches in a row.
const BURST: u32 = 3;
/// How long one takes to be allowed again.
pub(crate) const EARN_EVERY: Duration = Duration::from_secs(10);

/// A token bucket. The background's own fetches take nothing from it, so that junk cannot starve
/// them.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: u32,
    earned_at: Duration,
}

impl Allowance {
    /// A full bucket at `now` of the monotonic clock.
    pub(crate) fn full(now: Duration) -> Self {
        Self {
            left: BURST,
            earned_at: now,
        }
    }

    /// Whether one more fetch is allowed; if so it is spent.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let earned = now.saturating_sub(self.earned_at).as_secs() / EARN_EVERY.as_secs();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.earned_at = self
                .earned_at
                .saturating_add(EARN_EVERY.saturating_mul(earned));
        }
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}
