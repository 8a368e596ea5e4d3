//! Answers, given again to questions that are the same in all that the policies can read.
//!
//! The key is a digest of the revision, the policies that could match, and what their conditions can
//! read: so a new revision finds nothing of the old one, a changed entity only misses where it was
//! read, and what nobody reads may be different every time. Looking up pays only where evaluating
//! is dear; other questions go past.

use std::mem::size_of;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use foldhash::quality::RandomState;
use moka::Expiry;
use moka::sync::Cache as Bounded;
use smol_str::SmolStr;

pub(crate) use self::metrics::CacheMetrics;
use crate::answer::{Answer, PolicyError, Source};
use crate::config::CacheConfig;
use crate::engine::Digest;
use crate::question::{Consistency, Question};
use crate::snapshot::{Judged, Seen, Snapshot};

mod metrics;

/// What evaluating a question must cost, in operations, for its answer to be kept: that of 50 policies
/// of 21 operations each. Finding a kept answer takes as long as evaluating 30 of those, with 100 it
/// takes less than half (`benches/README.md`).
const DEAR: u64 = 1000;

/// Bytes that an entry takes: what is larger counts as several.
const ENTRY: usize = 512;

/// Answers of one policy store.
#[derive(Debug)]
pub(crate) struct Cache {
    kept: Entries,
    ttl: Duration,
    /// What an evaluation must cost, in operations.
    dear: u64,
    metrics: CacheMetrics,
}

type Entries = Bounded<Digest, Arc<Kept>, RandomState>;

/// An answer, and how long it may be given again.
#[derive(Debug)]
struct Kept {
    answer: Answer,
    lasts: Duration,
}

/// Each entry ends when it says.
struct Ending;

// === impl Cache ===

impl Cache {
    /// `None` where the configuration says that none is kept.
    pub(crate) fn new(config: CacheConfig, metrics: CacheMetrics) -> Option<Self> {
        Self::of(config, metrics, DEAR)
    }

    fn of(config: CacheConfig, metrics: CacheMetrics, dear: u64) -> Option<Self> {
        if config.max_entries == 0 {
            return None;
        }
        let kept = Bounded::builder()
            .max_capacity(config.max_entries)
            .weigher(|_, kept: &Arc<Kept>| kept.weight())
            .expire_after(Ending)
            .build_with_hasher(RandomState::default());
        metrics.watch(&kept);
        Some(Self {
            kept,
            ttl: config.ttl.0,
            dear,
            metrics,
        })
    }

    /// Decides as [`Snapshot::decide_over`] does, or as it did.
    pub(crate) fn decide(
        &self,
        snapshot: &Snapshot,
        question: &Question,
        seen: &mut Seen<'_>,
    ) -> Answer {
        let mut matter = match snapshot.matter(question, seen) {
            Ok(matter) => matter,
            Err(refused) => return refused,
        };
        if question.consistency == Consistency::FullyConsistent {
            self.metrics.fully_consistent.inc();
            return matter.judge().answer();
        }
        let digest = match matter.digest(self.dear) {
            Ok(digest) => digest,
            Err(why) => {
                self.metrics.undigested(why).inc();
                return matter.judge().answer();
            }
        };
        if let Some(kept) = self.kept.get(&digest) {
            self.metrics.hits.inc();
            return kept.answer.clone();
        }
        self.metrics.misses.inc();
        let judged = matter.judge();
        if let Judged::Answered(answer) = &judged
            && answer.source == Source::Engine
            && let Some(lasts) = self.lasts(question)
        {
            let source = Source::Cache;
            let answer = Answer {
                source,
                ..answer.clone()
            };
            self.kept.insert(digest, Arc::new(Kept { answer, lasts }));
        }
        judged.answer()
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        self.kept.invalidate_all();
    }

    /// Makes every answer say the opposite.
    #[cfg(test)]
    pub(crate) fn spoil(&self) {
        let all: Vec<_> = self.kept.iter().collect();
        for (digest, kept) in all {
            let mut answer = kept.answer.clone();
            answer.decision = match answer.is_allow() {
                true => cedar_policy::Decision::Deny,
                false => cedar_policy::Decision::Allow,
            };
            let lasts = kept.lasts;
            self.kept.insert(*digest, Arc::new(Kept { answer, lasts }));
        }
    }

    /// How long the answer to a question may be given again.
    fn lasts(&self, question: &Question) -> Option<Duration> {
        match question.expires_at {
            None => Some(self.ttl),
            // None is left of what has ended already.
            Some(end) => end
                .duration_since(SystemTime::now())
                .ok()
                .map(|left| left.min(self.ttl)),
        }
    }
}

// === impl Kept ===

impl Kept {
    /// How many entries it counts as.
    fn weight(&self) -> u32 {
        let answer = &self.answer;
        let messages: usize = answer.errors.iter().map(|error| error.message.len()).sum();
        let bytes = size_of::<(Digest, Self)>()
            + answer.determining_policies.len() * size_of::<SmolStr>()
            + answer.errors.len() * size_of::<PolicyError>()
            + messages;
        u32::try_from(bytes.div_ceil(ENTRY)).unwrap_or(u32::MAX)
    }
}

// === impl Ending ===

impl Expiry<Digest, Arc<Kept>> for Ending {
    fn expire_after_create(&self, _: &Digest, kept: &Arc<Kept>, _: Instant) -> Option<Duration> {
        Some(kept.lasts)
    }

    fn expire_after_update(
        &self,
        _: &Digest,
        kept: &Arc<Kept>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(kept.lasts)
    }
}

#[cfg(test)]
mod tests;
