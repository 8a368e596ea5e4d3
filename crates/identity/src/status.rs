//! The status of users: asked of the pool seldom, known for thirty seconds, and never a moment longer.
//!
//! A fact is kept in memory and shared through Redis, and its age counts from before the pool was asked, wherever it is
//! found: the levels do not add up. One question at a time is asked about a user, by one instance where they can agree
//! on it, and soon enough before a fact expires that nobody has to wait. What has been invalidated is not believed
//! again, even when the answer to an earlier question comes in later.

mod shared;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use moka::sync::Cache;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::directory::{CognitoConfig, Directory, DirectoryHealth, NoAnswer};
use crate::redis::{Redis, Unanswered, lock};
use crate::standing::UserRecord;

use shared::{Seen, Shared};

/// The users of a pool, as far as their status has been asked for.
pub(crate) struct Users {
    directory: Directory,
    shared: Option<Shared>,
    /// How long one question may take, all levels together.
    deadline: Duration,
    together: u32,
    alone: Arc<Mutex<Allowance>>,
    memory: Cache<Arc<str>, Arc<Fact>>,
    flights: Mutex<HashMap<Arc<str>, Flight>>,
    flown: AtomicU64,
    room: Arc<Semaphore>,
    clock: Clock,
    jitter: RandomState,
    lookups: IntCounterVec,
}

/// What is known of a user; `record` is none for somebody whom the pool does not know.
#[derive(Debug)]
struct Fact {
    record: Option<Arc<UserRecord>>,
    /// Until when it holds, by the monotonic clock.
    good_until: Duration,
    /// From when on it is asked for anew while it still holds.
    refresh_at: Duration,
}

/// A question under way.
#[derive(Clone)]
struct Flight {
    number: u64,
    landed: watch::Receiver<Option<Outcome>>,
}

type Outcome = Result<Arc<Fact>, NoAnswer>;

/// So many in each second of the monotonic clock.
struct Allowance {
    per_second: u32,
    second: u64,
    used: u32,
}

/// The greatest age of a fact, over all levels.
pub(crate) const STALENESS: Duration = Duration::from_secs(30);
/// The age from which on a fact is asked for anew, between the two so that instances do not ask all at once.
const REFRESH_FROM: Duration = Duration::from_secs(18);
const REFRESH_SPREAD: Duration = Duration::from_secs(6);
/// The pause after a refresh that failed.
const REFRESH_AGAIN: Duration = Duration::from_secs(2);
/// What the facts of one pool may take up in memory, in bytes.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;
/// The most questions under way; more are not begun.
const FLIGHTS: usize = 512;
/// How often an instance looks whether another's question has been answered.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// The longest user name, in bytes (Cognito's own limit is 128 characters).
const MAX_NAME: usize = 512;

// === impl Users ===

impl Users {
    pub(crate) fn new(
        config: &CognitoConfig,
        redis: Option<Arc<Redis>>,
        clock: Clock,
        registry: &Registry,
    ) -> Result<Arc<Self>, Vec<(String, String)>> {
        let directory = Directory::new(config, clock.clone(), registry)?;
        let lookups = IntCounterVec::new(
            Opts::new(
                "portcullis_user_lookups_total",
                "Where the status of a user was found: in memory, shared by another instance, or asked of the pool.",
            ),
            &["source"],
        );
        let registered = lookups.and_then(|lookups| {
            registry.register(Box::new(lookups.clone()))?;
            Ok(lookups)
        });
        let lookups =
            registered.map_err(|error| vec![(String::new(), format!("no metrics: {error}"))])?;
        let alone = config
            .requests_per_second_alone
            .unwrap_or_else(|| (config.max_requests_per_second / 10).max(1));
        Ok(Arc::new(Self {
            shared: redis.map(|redis| Shared::new(redis, &directory.pool)),
            directory,
            deadline: config.timeout.0,
            together: config.max_requests_per_second,
            alone: Arc::new(Mutex::new(Allowance {
                per_second: alone,
                second: 0,
                used: 0,
            })),
            memory: memory(),
            flights: Mutex::new(HashMap::new()),
            flown: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(FLIGHTS)),
            clock,
            jitter: RandomState::new(),
            lookups,
        }))
    }

    /// The users of another pool. Both spend from one budget, because the quota is that of the account.
    pub(crate) fn beside(&self, pool: &str) -> Arc<Self> {
        Arc::new(Self {
            shared: self.shared.as_ref().map(|shared| shared.beside(pool)),
            directory: self.directory.beside(pool),
            deadline: self.deadline,
            together: self.together,
            alone: Arc::clone(&self.alone),
            memory: memory(),
            flights: Mutex::new(HashMap::new()),
            flown: AtomicU64::new(0),
            room: Arc::clone(&self.room),
            clock: self.clock.clone(),
            jitter: RandomState::new(),
            lookups: self.lookups.clone(),
        })
    }

    /// What was known of a user less than `limit` ago, and how long ago; none for somebody whom the pool does not know.
    /// Waits at most for one question, or for two where less than everything that holds will do.
    pub(crate) async fn find_within(
        self: &Arc<Self>,
        username: &str,
        limit: Duration,
    ) -> Result<(Option<Arc<UserRecord>>, Duration), NoAnswer> {
        if username.is_empty() || username.len() > MAX_NAME {
            return Ok((None, Duration::ZERO));
        }
        let now = self.clock.elapsed();
        if let Some(fact) = self.memory.get(username)
            && fact.age(now) < limit
        {
            if now >= fact.refresh_at {
                // Nobody waits for it: the fact still holds.
                let _ = self.fly(username, REFRESH_FROM);
            }
            self.count("memory");
            return Ok((fact.record.clone(), fact.age(now)));
        }
        // The first may be one that somebody began who is content with more.
        let questions = if limit < STALENESS { 2 } else { 1 };
        for _ in 0..questions {
            let mut flight = self.fly(username, limit)?;
            let landed = flight.landed.wait_for(Option::is_some).await;
            let outcome = landed.ok().and_then(|outcome| outcome.clone());
            let fact = outcome.unwrap_or(Err(NoAnswer("the question was given up")))?;
            let age = fact.age(self.clock.elapsed());
            if age < limit {
                return Ok((fact.record.clone(), age));
            }
        }
        // It was under way for long, or found a fact that was about to expire.
        Err(NoAnswer("the user's status arrived too late"))
    }

    /// Forgets what is known of a user, here and on every instance that can be told. What was asked before now counts
    /// for nothing any more, even when it is answered later.
    pub(crate) async fn invalidate(&self, username: &str) -> Result<(), NoAnswer> {
        self.forget(username);
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let told = shared.invalidate(username).await;
        // A question begun in between may have found the old fact shared.
        self.forget(username);
        told.map_err(|Unanswered(cause)| NoAnswer(cause))
    }

    /// The id of the pool.
    pub(crate) fn pool(&self) -> &str {
        &self.directory.pool
    }

    pub(crate) fn health(&self) -> DirectoryHealth {
        self.directory.health()
    }

    /// Forgets what is known of a user here, and what is being asked.
    pub(crate) fn forget(&self, username: &str) {
        let mut flights = lock(&self.flights);
        // A flight that is no longer here keeps its answer to itself when it lands.
        flights.remove(username);
        self.memory.invalidate(username);
    }

    /// The question under way about a user, or a new one, to which a shared fact is an answer if it is younger than
    /// `enough`.
    fn fly(self: &Arc<Self>, username: &str, enough: Duration) -> Result<Flight, NoAnswer> {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(username) {
            return Ok(flight.clone());
        }
        let room = Arc::clone(&self.room)
            .try_acquire_owned()
            .map_err(|_| NoAnswer("too many users are being looked up"))?;
        let (landing, landed) = watch::channel(None);
        let number = self.flown.fetch_add(1, Ordering::Relaxed);
        let flight = Flight { number, landed };
        let username: Arc<str> = username.into();
        flights.insert(Arc::clone(&username), flight.clone());
        drop(flights);
        let users = Arc::clone(self);
        // A task of its own: whoever asked first may go away, and others wait for the same answer.
        tokio::spawn(async move {
            let asking = users.ask(&username, enough);
            let outcome = tokio::time::timeout(users.deadline, asking)
                .await
                .unwrap_or(Err(NoAnswer("the user's status was not to be had in time")));
            users.land(&username, number, &outcome);
            landing.send_replace(Some(outcome));
            drop(room);
        });
        Ok(flight)
    }

    /// Keeps the answer, unless it was invalidated meanwhile.
    fn land(&self, username: &Arc<str>, number: u64, outcome: &Outcome) {
        let mut flights = lock(&self.flights);
        if flights
            .get(username)
            .is_none_or(|flight| flight.number != number)
        {
            return;
        }
        flights.remove(username);
        let kept = match outcome {
            Ok(fact) => Some(Arc::clone(fact)),
            // What is known holds as long as before; only the next attempt to refresh it waits, so that a pool in
            // trouble is not asked at every request.
            Err(_) => self.memory.get(username).map(|known| {
                Arc::new(Fact {
                    record: known.record.clone(),
                    good_until: known.good_until,
                    refresh_at: self.clock.elapsed().saturating_add(REFRESH_AGAIN),
                })
            }),
        };
        if let Some(fact) = kept {
            self.memory.insert(Arc::clone(username), fact);
        }
    }

    /// Asks the other instances, then the pool.
    async fn ask(&self, username: &str, enough: Duration) -> Outcome {
        let Some(shared) = &self.shared else {
            return self.ask_alone(username).await;
        };
        // Once more when it was invalidated while we asked.
        for _ in 0..2 {
            let (begun, seen) = match self.wait_for_others(shared, username, enough).await {
                Ok(Ok(fact)) => return Ok(fact),
                Ok(Err(unknown)) => unknown,
                Err(Unanswered(_)) => return self.ask_alone(username).await,
            };
            match shared.spend(&seen, self.together).await {
                Ok(true) => {}
                Ok(false) => {
                    shared.release(username).await;
                    return Err(self.over_budget());
                }
                Err(Unanswered(_)) => return self.ask_alone(username).await,
            }
            self.count("pool");
            let found = match self.directory.ask(username).await {
                Ok(found) => found.map(Arc::new),
                Err(error) => {
                    shared.release(username).await;
                    return Err(error);
                }
            };
            // Without Redis nobody can have invalidated it there.
            if shared.put(username, found.as_deref(), &seen).await != Ok(false) {
                return Ok(Arc::new(self.fact(found, begun, Duration::ZERO)));
            }
        }
        Err(NoAnswer("the user keeps changing"))
    }

    /// A fact that another instance found, or when and at what state of things it is on us to ask.
    async fn wait_for_others(
        &self,
        shared: &Shared,
        username: &str,
        enough: Duration,
    ) -> Result<Result<Arc<Fact>, (Duration, Seen)>, Unanswered> {
        let patience = self.clock.elapsed().saturating_add(self.deadline / 2);
        let mut ours = false;
        loop {
            let begun = self.clock.elapsed();
            let mut seen = shared.look(username).await?;
            if let Some((record, age)) = seen.fact.take()
                && age < enough
            {
                if ours {
                    shared.release(username).await;
                }
                self.count("shared");
                return Ok(Ok(Arc::new(self.fact(record, begun, age))));
            }
            if ours || begun >= patience {
                return Ok(Err((begun, seen)));
            }
            // Looked at once more after the claim: the fact may have come between the two.
            ours = shared.claim(username, self.deadline).await?;
            if !ours {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    async fn ask_alone(&self, username: &str) -> Outcome {
        let begun = self.clock.elapsed();
        if !lock(&self.alone).take(begun) {
            return Err(self.over_budget());
        }
        self.count("pool");
        let found = self.directory.ask(username).await?;
        Ok(Arc::new(self.fact(
            found.map(Arc::new),
            begun,
            Duration::ZERO,
        )))
    }

    fn over_budget(&self) -> NoAnswer {
        self.count("over_budget");
        NoAnswer("the requests to the user pool are used up for this second")
    }

    /// A fact that had this age at this time.
    fn fact(&self, record: Option<Arc<UserRecord>>, at: Duration, age: Duration) -> Fact {
        let spread = self.jitter.hash_one(self.flown.load(Ordering::Relaxed)) % 1000;
        let share = u32::try_from(spread).unwrap_or(0);
        let refresh = REFRESH_FROM.saturating_add(REFRESH_SPREAD / 1000 * share);
        Fact {
            record,
            good_until: at.saturating_add(STALENESS.saturating_sub(age)),
            refresh_at: at.saturating_add(refresh.saturating_sub(age)),
        }
    }

    fn count(&self, source: &str) {
        self.lookups.with_label_values(&[source]).inc();
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

// === impl Fact ===

impl Fact {
    /// How long ago the pool was asked; [`STALENESS`] for one that no longer holds.
    fn age(&self, now: Duration) -> Duration {
        STALENESS.saturating_sub(self.good_until.saturating_sub(now))
    }
}

/// An empty memory, as large as that of one pool may become.
fn memory() -> Cache<Arc<str>, Arc<Fact>> {
    let weight = |name: &Arc<str>, fact: &Arc<Fact>| {
        let attributes = fact.record.iter().flat_map(|record| &record.attributes);
        let text: usize = attributes
            .map(|(name, value)| name.len() + value.len() + 64)
            .sum();
        u32::try_from(name.len() + text + 256).unwrap_or(u32::MAX)
    };
    Cache::builder()
        .max_capacity(MEMORY_BYTES)
        .weigher(weight)
        .time_to_live(STALENESS)
        .build()
}

// === impl Allowance ===

impl Allowance {
    /// Whether one more is allowed in this second; if so it is spent.
    fn take(&mut self, now: Duration) -> bool {
        if self.second != now.as_secs() {
            self.second = now.as_secs();
            self.used = 0;
        }
        let granted = self.used < self.per_second;
        self.used = self.used.saturating_add(u32::from(granted));
        granted
    }
}
