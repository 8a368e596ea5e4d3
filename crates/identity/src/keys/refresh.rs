//! One source's keys: the current set, when it is fetched again, and who may ask for that.
//!
//! Keys are fetched in the background about every ten minutes. Besides, a token that names an
//! unknown key, or whose signature fails, may cause a fetch; that has an allowance of its own, so
//! that nobody can hammer the issuer or hold a real rotation up. A set that cannot be read never
//! replaces one that could.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tracing::{Instrument as _, error, info, info_span, warn};

use super::allowance::{Allowance, EARN_EVERY};
use super::source::{self, Fetched, Source, Stamp};
use super::unknown::UnknownKids;
use super::{Key, Keys, SetError, parse_set};
use crate::clock::Clock;
use crate::error::TokenError;
use crate::metrics::FetchMetrics;

/// How old keys may be and still verify.
const USABLE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a good set stands before it is fetched again. A publisher's `max-age` can shorten it.
const REFRESH_EVERY: Duration = Duration::from_secs(10 * 60);
/// The shortest time that `max-age` can ask for.
const REFRESH_AT_MOST_EVERY: Duration = Duration::from_secs(5 * 60);
/// The longest pause between attempts while the source fails.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// How long the background task sleeps at most, and so how soon it sees that a file changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a request waits for a fetch at most. The sources' own deadlines are shorter.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How many requests may wait for a fetch; the others are told to come back.
const WAITING: usize = 64;

/// The keys of one source.
#[derive(Debug)]
pub(crate) struct KeyStore {
    name: Arc<str>,
    source: Source,
    clock: Clock,
    metrics: FetchMetrics,
    /// Read by each request, replaced whole. `None` until a first good set.
    current: ArcSwapOption<KeySet>,
    /// A plain mutex: it is held for a few map operations and never across an await.
    state: Mutex<State>,
    /// Changes when a fetch ends, well or not.
    ended: watch::Sender<u64>,
    waiting: Semaphore,
}

/// A set of keys as of one fetch.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Arc<Keys>,
    /// Grows when the keys change, and only then.
    generation: u64,
    /// The number of the fetch that brought it.
    fetch: u64,
    /// When that fetch began, on the monotonic clock.
    asked_at: Duration,
}

/// What a store says to a key id.
pub(crate) enum Lookup {
    /// The key, and the generation of the set that holds it.
    Found(Arc<Key>, u64),
    /// The keys are there, this one is not among them.
    Unknown,
    /// No usable keys at all.
    Unavailable,
}

#[derive(Debug)]
struct State {
    /// How many fetches have begun.
    begun: u64,
    fetching: bool,
    next_refresh: Duration,
    failures: u32,
    last_error: Option<String>,
    /// The file that was read last; `None` when there was none.
    seen: Option<Stamp>,
    allowance: Allowance,
    unknown: UnknownKids,
}

/// A fetch under way. Dropping it, however that comes about, lets the next one begin.
struct Fetch {
    store: Arc<KeyStore>,
    number: u64,
    began: Duration,
}

// === impl KeyStore ===

impl KeyStore {
    pub(crate) fn new(
        name: Arc<str>,
        source: Source,
        clock: Clock,
        metrics: FetchMetrics,
    ) -> Arc<Self> {
        let now = clock.elapsed();
        Arc::new(Self {
            name,
            source,
            clock,
            metrics,
            current: ArcSwapOption::empty(),
            state: Mutex::new(State {
                begun: 0,
                fetching: false,
                next_refresh: now,
                failures: 0,
                last_error: None,
                seen: None,
                allowance: Allowance::full(now),
                unknown: UnknownKids::default(),
            }),
            ended: watch::Sender::new(0),
            waiting: Semaphore::new(WAITING),
        })
    }

    /// Finds a key. Reads one pointer; never waits.
    pub(crate) fn find(&self, kid: &str) -> Lookup {
        self.usable(|set| match set.keys.get(kid) {
            Some(key) => Lookup::Found(Arc::clone(key), set.generation),
            None => Lookup::Unknown,
        })
        .unwrap_or(Lookup::Unavailable)
    }

    /// The generation of the keys, while they may be used.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.usable(|set| set.generation)
    }

    /// How long ago the keys were asked for; `None` before a first good set.
    pub(crate) fn age(&self) -> Option<Duration> {
        let set = self.current.load();
        set.as_ref()
            .map(|set| self.clock.elapsed().saturating_sub(set.asked_at))
    }

    /// How many keys can be used.
    pub(crate) fn count(&self) -> usize {
        self.current.load().as_ref().map_or(0, |set| set.keys.len())
    }

    /// Why the last fetch failed; `None` once one has succeeded.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.state().last_error.clone()
    }

    /// Reads a file source at once, so that a start finds its keys or says why not.
    pub(crate) fn read_now(self: &Arc<Self>) -> Result<(), String> {
        let Source::File(path) = &self.source else {
            return Ok(());
        };
        let Some(fetch) = self.begin() else {
            return Ok(());
        };
        fetch.end(source::read_file(path));
        self.last_error().map_or(Ok(()), Err)
    }

    /// Waits until the keys are known well enough to judge an unknown key id: `Ok` means that the
    /// set has it now.
    pub(crate) async fn await_kid(self: &Arc<Self>, kid: &str) -> Result<(), TokenError> {
        let mut ended = self.ended.subscribe();
        if let Some(verdict) = self.judge_kid(kid) {
            return verdict;
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(TokenError::KeysRefreshing);
        };
        if !self.request_fetch() {
            return Err(TokenError::KeysRefreshing);
        }
        // Whether the fetch went well or the wait was too long, the set at hand tells.
        let _ = tokio::time::timeout(LONGEST_WAIT, ended.changed()).await;
        self.judge_kid(kid)
            .unwrap_or(Err(TokenError::KeysRefreshing))
    }

    /// Tells that a signature failed under a known key: perhaps the issuer replaced the key and
    /// kept its id. The token at hand stays refused; a fetch may help the next one.
    pub(crate) fn suspect(self: &Arc<Self>) {
        if self.age().is_some_and(|age| age >= EARN_EVERY) {
            self.request_fetch();
        }
    }

    /// Fetches if it is time to, and returns how long to sleep until it may be again.
    pub(crate) async fn refresh_if_due(self: &Arc<Self>) -> Duration {
        let now = self.clock.elapsed();
        let stamp = self.source.stamp().await;
        let due = {
            let state = self.state();
            now >= state.next_refresh || stamp != state.seen
        };
        if due && let Some(fetch) = self.begin() {
            // A read that succeeds records what it read itself; one that fails is not to be
            // repeated before its time, or before the file changes again.
            self.state().seen = stamp;
            fetch.run().await;
        }
        self.state()
            .next_refresh
            .saturating_sub(self.clock.elapsed())
            .min(LOOK_EVERY)
    }

    /// Keeps the keys fresh until it is dropped.
    pub(crate) async fn keep_fresh(self: Arc<Self>) {
        let span = info_span!("jwks", issuer = %self.name);
        async {
            loop {
                let pause = self.refresh_if_due().await;
                // Not zero even when a request's fetch is under way and ours is due.
                tokio::time::sleep(pause.max(Duration::from_millis(50))).await;
            }
        }
        .instrument(span)
        .await;
    }

    /// Reads the current set, if there is one and it is not too old.
    fn usable<T>(&self, read: impl FnOnce(&KeySet) -> T) -> Option<T> {
        let current = self.current.load();
        let set = current.as_ref()?;
        (self.clock.elapsed().saturating_sub(set.asked_at) < USABLE_FOR).then(|| read(set))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; a poisoned state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges a key id by the current set: it is there, or a fetch newer than the first sight of
    /// the id lacks it, or nothing can be said yet.
    fn judge_kid(&self, kid: &str) -> Option<Result<(), TokenError>> {
        // Both from one set, which another may replace at any time.
        let held = self.usable(|set| (set.keys.contains_key(kid), set.fetch));
        match held {
            None => Some(Err(TokenError::KeysUnavailable)),
            Some((true, _)) => Some(Ok(())),
            Some((false, fetch)) => {
                let now = self.clock.elapsed();
                let mut state = self.state();
                let begun = state.begun;
                let refuted = state.unknown.refuted(kid, fetch, begun, now);
                refuted.then_some(Err(TokenError::Invalid("unknown key id")))
            }
        }
    }

    /// Sees to it that a fetch is under way, if the allowance permits one. It runs as a task of its
    /// own, so that a caller who hangs up does not waste it for the others.
    fn request_fetch(self: &Arc<Self>) -> bool {
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        {
            let now = self.clock.elapsed();
            let mut state = self.state();
            if state.fetching {
                return true;
            }
            if !state.allowance.take(now) {
                return false;
            }
        }
        if let Some(fetch) = self.begin() {
            let span = info_span!("jwks", issuer = %self.name);
            runtime.spawn(async move { fetch.run().await }.instrument(span));
        }
        true
    }

    /// Begins a fetch, unless one is under way.
    fn begin(self: &Arc<Self>) -> Option<Fetch> {
        let began = self.clock.elapsed();
        let mut state = self.state();
        if state.fetching {
            return None;
        }
        state.fetching = true;
        state.begun += 1;
        Some(Fetch {
            store: Arc::clone(self),
            number: state.begun,
            began,
        })
    }
}

// === impl Fetch ===

impl Fetch {
    async fn run(self) {
        let outcome = self.store.source.fetch().await;
        self.end(outcome);
    }

    fn end(self, outcome: Result<Fetched, source::FetchError>) {
        let issuer = &self.store.name;
        match outcome {
            Ok(fetched) => match parse_set(&fetched.bytes) {
                Ok(keys) => self.succeed(keys, &fetched),
                Err(refused) => {
                    self.store.metrics.refused();
                    if refused == SetError::Private {
                        error!(%issuer, "key set refused: {refused}");
                    } else {
                        warn!(%issuer, "key set refused: {refused}");
                    }
                    self.fail(refused.to_string());
                }
            },
            Err(failed) => {
                self.store.metrics.failed();
                warn!(%issuer, "keys could not be fetched: {failed}");
                self.fail(failed.to_string());
            }
        }
    }

    fn succeed(&self, keys: Keys, fetched: &Fetched) {
        let store = &self.store;
        let previous = store.current.load_full();
        let (keys, generation) = match &previous {
            Some(set) if *set.keys == keys => (Arc::clone(&set.keys), set.generation),
            Some(set) => (Arc::new(keys), set.generation + 1),
            None => (Arc::new(keys), 1),
        };
        if previous.is_none_or(|set| set.generation != generation) {
            info!(issuer = %store.name, keys = keys.len(), generation, "keys loaded");
        }
        store.metrics.succeeded(store.clock.unix(), keys.len());
        let set = KeySet {
            keys,
            generation,
            fetch: self.number,
            asked_at: self.began,
        };
        store.current.store(Some(Arc::new(set)));
        let every = fetched.max_age.map_or(REFRESH_EVERY, |age| {
            age.clamp(REFRESH_AT_MOST_EVERY, REFRESH_EVERY)
        });
        let mut state = store.state();
        state.seen = fetched.stamp;
        state.failures = 0;
        state.last_error = None;
        state.next_refresh = store.clock.elapsed() + with_jitter(every);
    }

    fn fail(&self, reason: String) {
        let store = &self.store;
        let mut state = store.state();
        let backoff = Duration::from_secs(1 << state.failures.min(6)).min(LONGEST_BACKOFF);
        state.failures = state.failures.saturating_add(1);
        state.last_error = Some(reason);
        let now = store.clock.elapsed();
        let retry = now + with_jitter(backoff);
        // A fetch that a request caused may bring the background's next one forward, not put it off.
        if state.next_refresh <= now || retry < state.next_refresh {
            state.next_refresh = retry;
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.store.state().fetching = false;
        self.store.ended.send_modify(|ended| *ended += 1);
    }
}

/// Up to a tenth less, so that instances started together do not fetch together.
fn with_jitter(time: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the instances merely stay in step.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    time - time * u32::from(byte.into_iter().next().unwrap_or(0)) / 2560
}
