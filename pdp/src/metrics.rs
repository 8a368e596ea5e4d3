//! What the decision point counts. Every label has a fixed set of values.

use std::time::Duration;

use prometheus::{
    Error, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::answer::{Answer, Source};
use crate::search::Ended;

/// The decision point's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    allowed: IntCounter,
    denied: IntCounter,
    allowed_again: IntCounter,
    denied_again: IntCounter,
    failed_closed: IntCounter,
    errors: IntCounter,
    seconds: Histogram,
    /// By what is looked for, and why the page ended.
    searches: IntCounterVec,
    /// By what is looked for.
    candidates: IntCounterVec,
    reloaded: IntCounter,
    reload_failed: IntCounter,
    policies: IntGauge,
    entities: IntGauge,
    loaded_at: IntGauge,
    verified_at: IntGauge,
}

/// What searches look for.
const SOUGHT: [&str; 3] = ["subject", "resource", "action"];

// === impl Metrics ===

impl Metrics {
    /// # Errors
    /// When the registry already holds metrics of these names.
    pub(crate) fn register(registry: &Registry) -> Result<Self, Error> {
        let decisions = IntCounterVec::new(
            Opts::new(
                "portcullis_decisions_total",
                "Decisions, by outcome and by who decided",
            ),
            &["decision", "source"],
        )?;
        let reloads = IntCounterVec::new(
            Opts::new(
                "portcullis_policy_reloads_total",
                "Changes of the policy source, by whether they could be used",
            ),
            &["result"],
        )?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new("portcullis_decision_seconds", "Time to decide").buckets(vec![
                2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 2e-1,
            ]),
        )?;
        let searches = IntCounterVec::new(
            Opts::new(
                "portcullis_searches_total",
                "Pages of searches, by what was looked for and why the page ended: there was no more (complete), it was full, or it would have cost more than its ceiling",
            ),
            &["sought", "ended"],
        )?;
        let candidates = IntCounterVec::new(
            Opts::new(
                "portcullis_search_candidates_total",
                "Candidates that searches decided about, by what was looked for",
            ),
            &["sought"],
        )?;
        for sought in SOUGHT {
            candidates.with_label_values(&[sought]);
            for ended in Ended::ALL {
                searches.with_label_values(&[sought, ended.name()]);
            }
        }
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        let metrics = Self {
            allowed: decisions.with_label_values(&["ALLOW", Source::Engine.name()]),
            denied: decisions.with_label_values(&["DENY", Source::Engine.name()]),
            allowed_again: decisions.with_label_values(&["ALLOW", Source::Cache.name()]),
            denied_again: decisions.with_label_values(&["DENY", Source::Cache.name()]),
            failed_closed: decisions.with_label_values(&["DENY", Source::FailClosed.name()]),
            errors: IntCounter::new(
                "portcullis_decision_errors_total",
                "Decisions during which some policy could not be evaluated, or that could not be asked",
            )?,
            seconds,
            searches,
            candidates,
            reloaded: reloads.with_label_values(&["ok"]),
            reload_failed: reloads.with_label_values(&["failed"]),
            policies: gauge("portcullis_policies", "Policies that decide")?,
            entities: gauge(
                "portcullis_entities",
                "Stored entities, the actions of the schema included",
            )?,
            loaded_at: gauge(
                "portcullis_policies_loaded_timestamp_seconds",
                "When the policies that decide were loaded",
            )?,
            verified_at: gauge(
                "portcullis_policies_verified_timestamp_seconds",
                "When the source of the policies was last read",
            )?,
        };
        registry.register(Box::new(decisions))?;
        registry.register(Box::new(reloads))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.searches.clone()))?;
        registry.register(Box::new(metrics.candidates.clone()))?;
        for gauge in [
            &metrics.policies,
            &metrics.entities,
            &metrics.loaded_at,
            &metrics.verified_at,
        ] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(metrics)
    }

    pub(crate) fn decided(&self, answer: &Answer, took: Duration) {
        match (answer.source, answer.is_allow()) {
            (Source::FailClosed, _) => &self.failed_closed,
            (Source::Engine, true) => &self.allowed,
            (Source::Engine, false) => &self.denied,
            (Source::Cache, true) => &self.allowed_again,
            (Source::Cache, false) => &self.denied_again,
        }
        .inc();
        if !answer.errors.is_empty() {
            self.errors.inc();
        }
        self.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn searched(&self, sought: &'static str, candidates: usize, ended: Ended) {
        let labels = [sought, ended.name()];
        self.searches.with_label_values(&labels).inc();
        self.candidates
            .with_label_values(&[sought])
            .inc_by(candidates as u64);
    }

    pub(crate) fn loaded(&self, policies: usize, entities: usize) {
        self.policies
            .set(i64::try_from(policies).unwrap_or(i64::MAX));
        self.stored(entities);
        self.loaded_at.set(unix_seconds());
    }

    pub(crate) fn stored(&self, entities: usize) {
        self.entities
            .set(i64::try_from(entities).unwrap_or(i64::MAX));
    }

    pub(crate) fn reloaded(&self) {
        self.reloaded.inc();
    }

    pub(crate) fn reload_failed(&self) {
        self.reload_failed.inc();
    }

    pub(crate) fn verified(&self) {
        self.verified_at.set(unix_seconds());
    }
}

fn unix_seconds() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
