//! The one event that tells of a decision. What is written of it, and where, is the subscriber's.

use std::time::Duration;

use cedar_policy::EntityUid;

use crate::answer::Answer;

/// The target of decision events.
pub const TARGET: &str = "portcullis::decision";

/// A decision and what it was about. Context and entities are left out: they hold what callers know
/// of people.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    /// The API that was asked, as in `native`.
    pub surface: &'static str,
    /// The id that the caller was told.
    pub request_id: &'a str,
    /// Who asked to act.
    pub principal: &'a EntityUid,
    /// What they asked to do.
    pub action: &'a EntityUid,
    /// What they asked to do it to.
    pub resource: &'a EntityUid,
    /// What was answered.
    pub answer: &'a Answer,
    /// How long it took, reading the question included.
    pub took: Duration,
}

// === impl Decided ===

impl Decided<'_> {
    /// Tells of it.
    pub fn record(&self) {
        if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return;
        }
        let answer = self.answer;
        // Which policies failed, not why: a cause can quote what the question held.
        let errors: Vec<&str> = answer
            .errors
            .iter()
            .map(|error| error.policy.as_deref().unwrap_or("(question)"))
            .collect();
        tracing::info!(
            target: TARGET,
            request_id = self.request_id,
            surface = self.surface,
            principal = %self.principal,
            action = %self.action,
            resource = %self.resource,
            decision = answer.decision_name(),
            source = answer.source.name(),
            policies = answer.determining_policies.join(","),
            errors = errors.join(","),
            revision = &*answer.revision,
            latency_us = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
        );
    }
}
