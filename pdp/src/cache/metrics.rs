//! What the cache counts.

use std::sync::{Arc, OnceLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::Entries;
use crate::engine::Undigested;

/// The cache's metrics. They are there, and zero, where nothing is cached.
#[derive(Debug, Clone)]
pub(crate) struct CacheMetrics {
    pub(super) hits: IntCounter,
    pub(super) misses: IntCounter,
    pub(super) fully_consistent: IntCounter,
    cheap: IntCounter,
    now: IntCounter,
    elsewhere: IntCounter,
    large: IntCounter,
    unseen: IntCounter,
    watched: Arc<OnceLock<Entries>>,
}

/// How many answers are kept, counted when it is asked for.
struct Count {
    watched: Arc<OnceLock<Entries>>,
    gauge: IntGauge,
}

// === impl CacheMetrics ===

impl CacheMetrics {
    /// # Errors
    /// When the registry already holds metrics of these names.
    pub(crate) fn register(registry: &Registry) -> Result<Self, Error> {
        let questions = IntCounterVec::new(
            Opts::new(
                "portcullis_decision_cache_total",
                "Questions put to the cache of decisions, by what became of them: hit, miss, or why they went past it (cheap to evaluate, a policy reads the time, fully_consistent was asked for, entities that only evaluation finds, large inputs, unseen entities)",
            ),
            &["result"],
        )?;
        let of = |result: &str| questions.with_label_values(&[result]);
        let metrics = Self {
            hits: of("hit"),
            misses: of("miss"),
            fully_consistent: of("fully_consistent"),
            cheap: of("cheap"),
            now: of("now"),
            elsewhere: of("elsewhere"),
            large: of("large"),
            unseen: of("unseen"),
            watched: Arc::default(),
        };
        registry.register(Box::new(questions.clone()))?;
        registry.register(Box::new(Count {
            watched: Arc::clone(&metrics.watched),
            gauge: IntGauge::new(
                "portcullis_decision_cache_entries",
                "Answers kept in the cache of decisions",
            )?,
        }))?;
        Ok(metrics)
    }

    /// From now on these entries are counted; only the first call has an effect.
    pub(super) fn watch(&self, entries: &Entries) {
        self.watched.get_or_init(|| entries.clone());
    }

    pub(super) fn undigested(&self, why: Undigested) -> &IntCounter {
        match why {
            Undigested::Cheap => &self.cheap,
            Undigested::Now => &self.now,
            Undigested::Elsewhere => &self.elsewhere,
            Undigested::Large => &self.large,
            Undigested::Unseen => &self.unseen,
        }
    }
}

// === impl Count ===

impl Collector for Count {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(entries) = self.watched.get() {
            // Those that have ended are still counted until then.
            entries.run_pending_tasks();
            let count = i64::try_from(entries.entry_count()).unwrap_or(i64::MAX);
            self.gauge.set(count);
        }
        self.gauge.collect()
    }
}
