//! Answers into JSON.

use cedar_policy::Effect;

use super::wire::{DecidedBody, ExplanationBody, PolicyBody, PolicyErrorBody};
use crate::answer::{Answer, Source};
use crate::snapshot::Snapshot;

/// The answer as it stands on the wire; with an explanation from the snapshot that gave it where
/// one is asked for.
pub(super) fn body<'a>(answer: &'a Answer, explain: Option<&'a Snapshot>) -> DecidedBody<'a> {
    let errors = answer.errors.iter().map(|error| PolicyErrorBody {
        policy: error.policy.as_deref(),
        message: &error.message,
    });
    DecidedBody {
        decision: answer.decision_name(),
        determining_policies: &answer.determining_policies,
        errors: errors.collect(),
        source: answer.source.name(),
        explanation: explain.map(|snapshot| explanation(answer, snapshot)),
    }
}

fn explanation<'a>(answer: &'a Answer, snapshot: &'a Snapshot) -> ExplanationBody<'a> {
    let policies = answer.determining_policies.iter().filter_map(|id| {
        let (effect, annotations) = snapshot.describe(id)?;
        let effect = match effect {
            Effect::Permit => "permit",
            Effect::Forbid => "forbid",
        };
        Some(PolicyBody {
            id,
            effect,
            annotations: annotations.into_iter().collect(),
        })
    });
    ExplanationBody {
        reason: reason(answer),
        policies: policies.collect(),
    }
}

/// In a word.
pub(super) fn reason(answer: &Answer) -> &'static str {
    match (answer.source, answer.is_allow()) {
        (Source::FailClosed, _) => "cannot_decide",
        (Source::Engine | Source::Cache, true) => "permitted",
        (Source::Engine | Source::Cache, false) => {
            if !answer.determining_policies.is_empty() {
                "forbidden"
            } else if answer.errors.iter().any(|error| error.policy.is_none()) {
                "outside_schema"
            } else if !answer.errors.is_empty() {
                "policy_error"
            } else {
                "not_permitted"
            }
        }
    }
}
