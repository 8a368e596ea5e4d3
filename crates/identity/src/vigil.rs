//! Vigils: while somebody keeps an exchange open, it is asked again and again whether they still may.
//!
//! A request is judged once, when it comes. What lasts longer than a request (a WebSocket, a stream of events, a long
//! upload) would outlive a log-out, so whoever serves it keeps a [`Vigil`], which ends within [`BOUND`] of the token's
//! expiry, of the end of the session, of a revocation, and of the user's being disabled. What is opened with one token is
//! asked about together. While nobody answers, the last good answer holds until it is [`BOUND`] old, and no longer:
//! unknown is not active.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::clock::Clock;
use crate::identity::Identity;
use crate::redis::lock;
use crate::standing::{Lapse, Standing};

/// Ends when its bearer is no longer welcome. Dropped, it ends nothing.
pub struct Vigil {
    post: Arc<Post>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Why an exchange has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The token has expired.
    Expired,
    /// The bearer, or whoever the bearer acts for, may no longer act, or nobody could say so for too long.
    Lapsed(Lapse),
}

/// All vigils of a process.
pub(crate) struct Vigils {
    /// The longest time between two questions.
    every: Duration,
    clock: Clock,
    /// By the address of the identity, which a post keeps from being used again.
    posts: Mutex<HashMap<usize, Weak<Post>>>,
    jitter: RandomState,
    asked: AtomicU64,
    open: Option<IntGauge>,
}

/// What is asked about one token, however many exchanges are open with it.
struct Post {
    identity: Arc<Identity>,
    over: CancellationToken,
    end: OnceLock<End>,
    /// Asks at once, or finds that nobody waits any more.
    wake: Arc<Notify>,
    open: Option<IntGauge>,
}

/// The longest time from when somebody may no longer act to the end of what they have open.
pub const BOUND: Duration = Duration::from_secs(30);
/// The default of the longest time between two questions.
const EVERY: Duration = Duration::from_secs(10);
/// What may be read from memory in answer to a question, at most so old: together with the time to the next question it
/// stays within [`BOUND`].
pub(crate) const FRESH: Duration = Duration::from_secs(15);
/// The pause after a question that nobody answered.
const AGAIN: Duration = Duration::from_secs(1);

// === impl Standing ===

impl Standing {
    /// Keeps watch over somebody who was known to be welcome at `since`: where that is long ago, it is asked at once, and
    /// there is a second for the answer, however long it is.
    pub fn keep_vigil(self: &Arc<Self>, identity: &Arc<Identity>, since: Instant) -> Vigil {
        let key = Arc::as_ptr(identity).addr();
        let mut posts = lock(&self.vigils.posts);
        if let Some(post) = posts.get(&key).and_then(Weak::upgrade) {
            return Vigil::at(post);
        }
        let post = Arc::new(Post {
            identity: Arc::clone(identity),
            over: CancellationToken::new(),
            end: OnceLock::new(),
            wake: Arc::default(),
            open: self.vigils.open.clone(),
        });
        if let Some(open) = &post.open {
            open.inc();
        }
        posts.insert(key, Arc::downgrade(&post));
        drop(posts);
        let (identity, wake) = (Arc::clone(identity), Arc::clone(&post.wake));
        tokio::spawn(Arc::clone(self).stand(Arc::downgrade(&post), identity, wake, since));
        Vigil::at(post)
    }

    /// Has everything that a user keeps open asked about at once: `name` is a `sub`, or the name of a user in the pool.
    pub(crate) fn wake_vigils(&self, name: &str) {
        for post in lock(&self.vigils.posts).values() {
            if let Some(post) = post.upgrade()
                && concerns(&post.identity, name)
            {
                post.wake.notify_one();
            }
        }
    }

    async fn stand(
        self: Arc<Self>,
        post: Weak<Post>,
        identity: Arc<Identity>,
        wake: Arc<Notify>,
        since: Instant,
    ) {
        let vigils = &self.vigils;
        // A token may be good for some seconds after its expiry (`leeway`): what is opened then gets as long as what is
        // not asked about yet.
        let begun_late = vigils.left(&identity).is_none();
        let mut good = Instant::now()
            .checked_sub(BOUND.saturating_sub(AGAIN))
            .map_or(since, |earliest| since.max(earliest));
        let mut next = since + vigils.pace();
        let mut first = begun_late;
        let mut unanswered = Lapse::StatusUnavailable("it was not to be had in time");
        loop {
            let expires = match vigils.left(&identity) {
                Some(left) => Instant::now() + left,
                None if first => next,
                None => Instant::now(),
            };
            tokio::select! {
                () = sleep_until(next.min(expires)) => first = false,
                () = wake.notified() => {}
            }
            let Some(post) = post.upgrade() else { break };
            if vigils.left(&identity).is_none() && !first {
                post.finish(End::Expired);
                break;
            }
            let asked = Instant::now();
            let latest = good + BOUND;
            let answer = timeout_at(latest, self.look_up(&identity, FRESH)).await;
            match answer.unwrap_or(Err(unanswered)) {
                Ok(welcome) => {
                    good = welcome.as_of;
                    next = asked + vigils.pace();
                }
                Err(lapse) if lapse.is_unknown() && Instant::now() < latest => {
                    unanswered = lapse;
                    next = (Instant::now() + AGAIN.min(vigils.every)).min(latest);
                }
                Err(lapse) => {
                    post.finish(End::Lapsed(lapse));
                    break;
                }
            }
        }
        let mut posts = lock(&vigils.posts);
        let key = Arc::as_ptr(&identity).addr();
        // Somebody may have begun another vigil in its place.
        if posts
            .get(&key)
            .is_some_and(|known| Weak::ptr_eq(known, &post))
        {
            posts.remove(&key);
        }
    }
}

// === impl Vigils ===

impl Vigils {
    pub(crate) fn new(open: Option<IntGauge>) -> Self {
        Self {
            every: EVERY,
            clock: Clock::system(),
            posts: Mutex::default(),
            jitter: RandomState::new(),
            asked: AtomicU64::new(0),
            open,
        }
    }

    pub(crate) fn set_pace(&mut self, every: Duration) {
        self.every = every;
    }

    /// The time to the next question: up to a fifth less than the longest, so that what began together is not asked
    /// about together for ever.
    fn pace(&self) -> Duration {
        let spread = self
            .jitter
            .hash_one(self.asked.fetch_add(1, Ordering::Relaxed))
            % 200;
        let share = u32::try_from(spread).unwrap_or(0);
        self.every.saturating_sub(self.every / 1000 * share)
    }

    /// How long the token is good for; none when it is not any more.
    fn left(&self, identity: &Identity) -> Option<Duration> {
        let left = identity.expires_at.checked_sub(self.clock.unix())?;
        (left > 0).then(|| Duration::from_secs(left))
    }
}

impl Default for Vigils {
    fn default() -> Self {
        Self::new(None)
    }
}

// === impl Vigil ===

impl Vigil {
    fn at(post: Arc<Post>) -> Self {
        let over = Box::pin(post.over.clone().cancelled_owned());
        Self { post, over }
    }

    /// Ready once the exchange has to end.
    pub fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.over
            .as_mut()
            .poll(cx)
            .map(|()| self.post.end.get().copied().unwrap_or(End::Expired))
    }
}

impl fmt::Debug for Vigil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vigil")
            .field("end", &self.post.end.get())
            .finish_non_exhaustive()
    }
}

// === impl Post ===

impl Post {
    fn finish(&self, end: End) {
        // Only the first counts.
        let _ = self.end.set(end);
        self.over.cancel();
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.dec();
        }
        self.wake.notify_one();
    }
}

/// Whether a change of this user may end what the bearer has open.
fn concerns(identity: &Identity, name: &str) -> bool {
    let is = |subject: &str, username: Option<&str>| subject == name || username == Some(name);
    is(&identity.subject, identity.username.as_deref())
        || identity
            .on_behalf_of
            .as_ref()
            .is_some_and(|user| is(&user.subject, user.username.as_deref()))
}
