//! Whether a caller may still have what they opened a while ago.
//!
//! Nearly every exchange is over before it is asked for the first time, and costs nothing more than a look at the clock.
//! What was decided is not decided again: only whether the caller is still somebody who may act.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use identity::{BOUND, End, Identity, Standing, Vigil};
use tokio::time::Instant;

use crate::active::ActiveUser;
use crate::rejection::{Reason, Rejection};

/// One exchange's caller.
pub(crate) struct Stay {
    standing: Arc<Standing>,
    identity: Arc<Identity>,
    /// When the caller was known to be welcome.
    since: Instant,
    /// When it is asked for the first time.
    due: Instant,
    vigil: Option<Vigil>,
}

/// So long before what was known is too old it is asked again.
const TO_ASK: Duration = Duration::from_secs(1);

// === impl Stay ===

impl Stay {
    /// Of somebody who has just been admitted, and of whom nothing is asked before `pause` is over, the token expires, or
    /// what was known of them is too old.
    pub(crate) fn new(standing: Arc<Standing>, user: &ActiveUser, pause: Duration) -> Self {
        let identity = Arc::clone(user.shared_identity());
        let (begun, since) = (Instant::now(), user.as_of());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let left = Duration::from_secs(identity.expires_at).saturating_sub(now);
        // An expired one is within its leeway, and gets as long as the others.
        let first = if left.is_zero() {
            pause
        } else {
            pause.min(left)
        };
        Self {
            standing,
            identity,
            since,
            due: (begun + first).min(since + BOUND.saturating_sub(TO_ASK)),
            vigil: None,
        }
    }

    /// When [`Stay::poll_over`] has to be called at the latest; none once it wakes its caller by itself.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.vigil.is_none().then_some(self.due)
    }

    /// Has it asked from now on.
    pub(crate) fn begin(&mut self) -> &mut Vigil {
        self.vigil
            .get_or_insert_with(|| self.standing.keep_vigil(&self.identity, self.since))
    }

    /// Ready once the exchange has to end.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.vigil.is_none() && Instant::now() < self.due {
            return Poll::Pending;
        }
        self.begin().poll_over(cx)
    }
}

impl fmt::Debug for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stay")
            .field("identity", &self.identity)
            .field("vigil", &self.vigil)
            .finish_non_exhaustive()
    }
}

impl From<End> for Rejection {
    fn from(end: End) -> Self {
        match end {
            End::Expired => Self::new(Reason::TokenExpired).because("it expired meanwhile"),
            End::Lapsed(lapse) => lapse.into(),
        }
    }
}
