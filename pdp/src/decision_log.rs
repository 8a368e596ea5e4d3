//! The one event that tells of a decision. What is written of it, and where, is the subscriber's.

use std::fmt;
use std::time::Duration;

use crate::answer::Answer;

/// The target of decision events.
pub const TARGET: &str = "portcullis::decision";

/// A decision and what it was about. Context and entities are left out: they hold what callers know
/// of people.
#[derive(Clone, Copy)]
pub struct Decided<'a> {
    /// The API that was asked, as in `native`.
    pub surface: &'static str,
    /// The id that the caller was told.
    pub request_id: &'a str,
    /// Who asked to act.
    pub principal: &'a dyn fmt::Display,
    /// What they asked to do.
    pub action: &'a dyn fmt::Display,
    /// What they asked to do it to.
    pub resource: &'a dyn fmt::Display,
    /// What was answered.
    pub answer: &'a Answer,
    /// How long it took, reading the question included.
    pub took: Duration,
}

/// One page of a search: many decisions that were made for one list. Each of them is that of the same
/// question asked by itself; of what is looked for, only the type or nothing is known beforehand.
#[derive(Clone, Copy)]
pub struct Searched<'a> {
    /// The API that was asked, as in `authzen`.
    pub surface: &'static str,
    /// The id that the caller was told.
    pub request_id: &'a str,
    /// What is looked for: `subject`, `resource` or `action`.
    pub sought: &'static str,
    /// Who would act, or the type of those looked for.
    pub principal: &'a dyn fmt::Display,
    /// What they would do, or nothing where actions are looked for.
    pub action: &'a dyn fmt::Display,
    /// What they would do it to, or the type of what is looked for.
    pub resource: &'a dyn fmt::Display,
    /// How many were decided.
    pub candidates: usize,
    /// How many of them were Allow.
    pub found: usize,
    /// Whether there may be more.
    pub more: bool,
    /// The content hash of what decided.
    pub revision: &'a str,
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
            latency_us = micros(self.took),
        );
    }
}

// === impl Searched ===

impl Searched<'_> {
    /// Tells of it.
    pub fn record(&self) {
        tracing::info!(
            target: TARGET,
            request_id = self.request_id,
            surface = self.surface,
            search = self.sought,
            principal = %self.principal,
            action = %self.action,
            resource = %self.resource,
            candidates = self.candidates,
            found = self.found,
            more = self.more,
            revision = self.revision,
            latency_us = micros(self.took),
        );
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
