//! Some decisions, made again by Cedar's own authorizer.
//!
//! The authorizer evaluates every policy there is, over every entity that could be reached from the
//! question: that takes as long as it takes, on the thread that answers. A difference means that the
//! engine or Cedar is wrong, and the answer is Deny.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cedar_policy_core::ast::{Expr, ExprKind, Literal, Request};
use cedar_policy_core::authorizer::{AuthorizationError, Authorizer};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::ValidatorSchema;
use prometheus::{Error, IntCounterVec, Opts, Registry};
use serde_json::{Map, Value as Json, json};
use smol_str::SmolStr;

use crate::answer::{Answer, Source};
use crate::engine::{Verdict, with_stack};
use crate::question::Question;
use crate::slice;
use crate::snapshot::Snapshot;
use crate::uid::{ByUid, Uid};
use crate::value::Value;

/// Entities that the authorizer is given at most. Where more could be reached nothing is verified.
const MAX_ENTITIES: usize = 10_000;

/// The share of decisions that is verified, and what came of it.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// As a part of 2^64.
    share: AtomicU64,
    asked: AtomicU64,
    results: IntCounterVec,
}

// === impl Verifier ===

impl Verifier {
    /// # Errors
    /// When the registry already holds metrics of these names.
    pub(crate) fn register(registry: &Registry) -> Result<Self, Error> {
        let results = IntCounterVec::new(
            Opts::new(
                "portcullis_engine_verifications_total",
                "Decisions made again by Cedar's own authorizer, by result: it agreed, it did not, or it was not asked because too many entities could be reached",
            ),
            &["result"],
        )?;
        for result in ["equal", "different", "skipped"] {
            results.with_label_values(&[result]);
        }
        registry.register(Box::new(results.clone()))?;
        Ok(Self {
            share: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            results,
        })
    }

    /// From now on, the share of decisions to verify: 0 for none, 1 for all.
    pub(crate) fn set_share(&self, share: f64) {
        // A cast from a float stays within the bounds of the integer.
        let share = (share.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
        self.share.store(share, Ordering::Relaxed);
    }

    /// Whether any are verified.
    pub(crate) fn is_on(&self) -> bool {
        self.share.load(Ordering::Relaxed) > 0
    }

    /// The answer, if Cedar agrees or is not asked this time.
    ///
    /// # Errors
    /// When it does not: the Deny that is the answer instead.
    pub(crate) fn verify(
        &self,
        snapshot: &Snapshot,
        question: &Question,
        answer: Answer,
    ) -> Result<Answer, Answer> {
        if !self.is_next() {
            return Ok(answer);
        }
        let count = |result| self.results.with_label_values(&[result]).inc();
        let Some(expected) = snapshot.by_authorizer(question) else {
            count("skipped");
            return Ok(answer);
        };
        if answer.repeats(&expected) {
            count("equal");
            return Ok(answer);
        }
        count("different");
        tracing::error!(
            engine = summary(&answer),
            source = answer.source.name(),
            authorizer = summary(&expected),
            revision = &**snapshot.revision(),
            request = %reproduction(question),
            "the engine and Cedar's authorizer disagree, so the answer is Deny; `portcullis authorize` takes the request, in which texts are left out"
        );
        let message = "the engine and Cedar's authorizer disagree";
        Err(Answer::refused(
            Source::FailClosed,
            snapshot.revision(),
            message,
        ))
    }

    fn is_next(&self) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        if share == 0 {
            return false;
        }
        // Evenly spread, whatever the share (multiples of the golden ratio).
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        asked.wrapping_mul(0x9e37_79b9_7f4a_7c15) <= share
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// What Cedar's authorizer answers. `None` when more entities could be reached than it is given.
    pub(crate) fn by_authorizer(&self, question: &Question) -> Option<Answer> {
        let schema: Option<&ValidatorSchema> = self.held_to().map(AsRef::as_ref);
        let request = Request::new(
            (question.principal.as_ref().clone(), None),
            (question.action.as_ref().clone(), None),
            (question.resource.as_ref().clone(), None),
            question.context.as_ref().clone(),
            schema,
            Extensions::all_available(),
        );
        let request = match request {
            Ok(request) => request,
            Err(error) => return Some(self.refused(&error.to_string())),
        };
        let entities = match self.reachable(question)? {
            Ok(entities) => entities,
            Err(message) => return Some(self.refused(&message)),
        };
        let policies = self.policies().as_ref();
        let response = with_stack(self.stack_needed(), || {
            Authorizer::new().is_authorized(request, policies, &entities)
        });
        let mut determining: Vec<SmolStr> = response
            .diagnostics
            .reason
            .iter()
            .map(SmolStr::new)
            .collect();
        determining.sort_unstable();
        let mut errors: Vec<_> = response
            .diagnostics
            .errors
            .into_iter()
            .map(|AuthorizationError::PolicyEvaluationError { id, error }| {
                (SmolStr::new(id), error)
            })
            .collect();
        errors.sort_unstable_by(|(one, _): &(SmolStr, _), (other, _)| one.cmp(other));
        Some(self.answer(Verdict {
            decision: response.decision,
            determining,
            errors,
        }))
    }

    /// Every entity that a policy could get to from the question.
    fn reachable(&self, question: &Question) -> Option<Result<Entities, String>> {
        let stored = self.entities();
        let view = match slice::view(stored, self.rulebook().types.as_deref(), &question.entities) {
            Ok(view) => view,
            Err(error) => return Some(Err(error.to_string())),
        };
        let mut waiting: Vec<Uid> = [&question.principal, &question.action, &question.resource]
            .map(|uid| stored.name(uid.as_ref()))
            .to_vec();
        let policies: &cedar_policy_core::ast::PolicySet = self.policies().as_ref();
        for policy in policies.policies() {
            if let Some(condition) = policy.non_scope_constraints() {
                waiting.extend(literals(condition));
            }
        }
        if let cedar_policy_core::ast::Context::Value(context) = question.context.as_ref() {
            let mut name = |uid: &Uid| waiting.push(uid.clone());
            for value in context.values() {
                Value::of(value).names(&mut name);
            }
        }
        let mut seen: HashSet<Uid, ByUid> = HashSet::default();
        let mut reached = Vec::new();
        while let Some(uid) = waiting.pop() {
            if !seen.insert(uid.clone()) {
                continue;
            }
            if seen.len() > MAX_ENTITIES {
                return None;
            }
            if let Some(entity) = view.entity(&uid) {
                entity.names(&mut |uid| waiting.push(uid.clone()));
                reached.push(Arc::new(entity.to_cedar()));
            }
        }
        if let Some(error) = view.failure() {
            return Some(Err(error.to_string()));
        }
        let entities = Entities::new().add_entities(
            reached,
            None::<&NoEntitiesSchema>,
            TCComputation::AssumeAlreadyComputed,
            Extensions::all_available(),
        );
        Some(entities.map_err(|error| error.to_string()))
    }
}

fn literals(condition: &Expr) -> impl Iterator<Item = Uid> {
    condition
        .subexpressions()
        .filter_map(|expression| match expression.expr_kind() {
            ExprKind::Lit(Literal::EntityUID(uid)) => Some(Uid::of(uid)),
            _ => None,
        })
}

/// `ALLOW`, the policies that determined it, and `!` before those that failed: no message, because
/// one can quote what the question held.
fn summary(answer: &Answer) -> String {
    let mut summary = answer.decision_name().to_owned();
    for policy in &answer.determining_policies {
        summary = format!("{summary} {policy}");
    }
    for error in &answer.errors {
        summary = format!(
            "{summary} !{}",
            error.policy.as_deref().unwrap_or("(question)")
        );
    }
    summary
}

/// The question as `portcullis authorize` takes it. Texts in context and attributes are left out:
/// they can be claims.
fn reproduction(question: &Question) -> Json {
    let uid = |uid: &cedar_policy::EntityUid| json!({ "type": uid.type_name().to_string(), "id": uid.id().unescaped() });
    let context = question.context.to_json_value().map(without_texts);
    let entities = question.entities.iter().filter_map(|entity| {
        let Json::Object(mut entity) = entity.to_json_value().ok()? else {
            return None;
        };
        for part in ["attrs", "tags"] {
            if let Some(values) = entity.get_mut(part) {
                *values = without_texts(values.take());
            }
        }
        Some(Json::Object(entity))
    });
    json!({
        "principal": uid(&question.principal),
        "action": uid(&question.action),
        "resource": uid(&question.resource),
        "context": context.unwrap_or_else(|_| Json::Object(Map::new())),
        "entities": entities.collect::<Vec<_>>(),
    })
}

fn without_texts(value: Json) -> Json {
    match value {
        Json::String(_) => Json::String("(left out)".to_owned()),
        Json::Array(items) => items.into_iter().map(without_texts).collect(),
        Json::Object(members) if members.contains_key("__entity") => Json::Object(members),
        Json::Object(members) if members.contains_key("__extn") => Json::Object(members),
        Json::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, without_texts(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
