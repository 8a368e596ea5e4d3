//! The state of many keys in bounded memory.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

use super::Key;

/// When each key has used up what it was let.
///
/// A key leaves only when nothing of it is counted any more, so nobody is forgotten for the sake of another. While there is no
/// room, keys that are not known share one count a shard, which is never more than each of them might have, and those that
/// are known keep what they have.
pub(super) struct Table {
    shards: [Mutex<Shard>; SHARDS],
    /// Places in each shard.
    room: usize,
    /// Chosen at random, so that nobody can aim at a shard.
    hasher: RandomState,
    /// Whether somebody found no room since room was last made.
    crowded: AtomicBool,
}

/// A table that a limiter and its owner hold together.
pub(super) struct Shared(pub(super) Arc<Table>);

#[derive(Default)]
struct Shard {
    known: HashMap<Key, Nanos>,
    /// The one count of those that found no room.
    others: Option<Nanos>,
}

/// Locks, so that requests of different keys seldom wait for each other.
const SHARDS: usize = 16;

// === impl Table ===

impl Table {
    pub(super) fn new(keys: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            room: (keys / SHARDS).max(1),
            hasher: RandomState::new(),
            crowded: AtomicBool::new(false),
        }
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, Shard>> {
        let count = u64::try_from(SHARDS).unwrap_or(1);
        let at = usize::try_from(self.hasher.hash_one(key) % count).unwrap_or(0);
        self.shards.get(at).map(lock)
    }
}

// === impl Shared ===

impl StateStore for Shared {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Some(mut shard) = self.0.shard(key) else {
            // There is a shard for each remainder; without one nothing could be counted, so nothing passes.
            return judge(Some(Nanos::new(u64::MAX))).map(|(outcome, _)| outcome);
        };
        let shard = &mut *shard;
        let has_room = shard.known.len() < self.0.room;
        match shard.known.entry(*key) {
            Entry::Occupied(mut known) => {
                let (outcome, next) = judge(Some(*known.get()))?;
                known.insert(next);
                Ok(outcome)
            }
            Entry::Vacant(place) if has_room => {
                let (outcome, next) = judge(None)?;
                place.insert(next);
                Ok(outcome)
            }
            Entry::Vacant(_) => {
                self.0.crowded.store(true, Ordering::Relaxed);
                let (outcome, next) = judge(shard.others)?;
                shard.others = Some(next);
                Ok(outcome)
            }
        }
    }
}

impl ShrinkableKeyedStateStore<Key> for Shared {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.crowded.store(false, Ordering::Relaxed);
        for shard in &self.0.shards {
            lock(shard).known.retain(|_, used_up| *used_up > drop_below);
        }
    }

    fn len(&self) -> usize {
        self.0
            .shards
            .iter()
            .map(|shard| lock(shard).known.len())
            .sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is counted is whole even where a thread has panicked: it is one number.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
