//! The decision of Cedar's authorizer, at the cost of the policies that could match.
//!
//! A scope never errs: it only says whether a policy applies. So a policy whose scope does not match
//! has no part in the answer, be it the decision, the policies that determined it or the errors,
//! and need not be looked at. The index finds the others, by looking up what the
//! question's principal, action and resource are, and only their conditions are evaluated, by
//! Cedar's own evaluator.

mod axis;
mod index;

use std::sync::Arc;

use cedar_policy::Decision;
use cedar_policy_core::ast::{
    ActionConstraint, Effect, EntityUID, Expr, Literal, Policy, PolicySet, Request, SlotEnv,
    SlotId, ValueKind,
};
use cedar_policy_core::entities::{Dereference, Entities};
use cedar_policy_core::evaluator::{EvaluationError, Evaluator};
use cedar_policy_core::extensions::Extensions;

use self::axis::{ANY, Axis};
use self::index::{Entry, Index, Met};
use crate::question::Question;

/// Policies, made ready to decide.
#[derive(Debug)]
pub(crate) struct Engine {
    /// In the order of their ids, so that what is found in order is reported in order.
    rules: Vec<Rule>,
    principals: Axis,
    actions: Axis,
    resources: Axis,
    index: Index,
}

/// What a policy says to a question that its scope matches.
#[derive(Debug)]
struct Rule {
    id: Arc<str>,
    effect: Effect,
    /// Every `when` and `unless`; shared by all links of a template. `None` holds always.
    condition: Option<Arc<Expr>>,
}

/// What the policies say to one question.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    /// The policies that determined it, sorted.
    pub(crate) determining: Vec<Arc<str>>,
    /// The policies that could not be evaluated, sorted by id.
    pub(crate) errors: Vec<(Arc<str>, EvaluationError)>,
}

// === impl Engine ===

impl Engine {
    pub(crate) fn new(policies: &PolicySet) -> Self {
        Self::with_short(policies, index::SHORT)
    }

    fn with_short(policies: &PolicySet, short: usize) -> Self {
        let mut policies: Vec<&Policy> = policies.policies().collect();
        policies.sort_unstable_by_key(|policy| policy.id());
        let mut engine = Self {
            rules: Vec::with_capacity(policies.len()),
            principals: Axis::default(),
            actions: Axis::default(),
            resources: Axis::default(),
            index: Index::default(),
        };
        let mut entries = Vec::with_capacity(policies.len());
        for (policy, rule) in policies.into_iter().zip(0..) {
            engine.take(policy, rule, &mut entries);
        }
        engine.index = Index::new(entries, short);
        engine
    }

    /// Enters a policy. One that lists actions is entered for each of them.
    fn take(&mut self, policy: &Policy, rule: u32, entries: &mut Vec<Entry>) {
        let template = policy.template();
        let slot = |slot: SlotId| policy.env().get(&slot);
        let principal = self.principals.enter(
            template.principal_constraint().as_inner(),
            slot(SlotId::principal()),
        );
        let resource = self.resources.enter(
            template.resource_constraint().as_inner(),
            slot(SlotId::resource()),
        );
        let mut condition = policy.non_scope_constraints_arc().map(Arc::clone);
        let mut enter = |principal, action, resource| {
            entries.push(Entry {
                principal,
                resource,
                action,
                rule,
            });
        };
        match (principal, resource, policy.action_constraint()) {
            (Some(principal), Some(resource), ActionConstraint::Any) => {
                enter(principal, ANY, resource);
            }
            (Some(principal), Some(resource), ActionConstraint::Eq(action)) => {
                enter(principal, self.actions.exactly(action), resource);
            }
            (Some(principal), Some(resource), ActionConstraint::In(actions)) => {
                for action in actions {
                    enter(principal, self.actions.within(action), resource);
                }
            }
            // A slot that nothing fills, which linking refuses: the evaluator is to say so.
            (None, _, _) | (_, None, _) => {
                condition = Some(Arc::new(policy.condition()));
                enter(ANY, ANY, ANY);
            }
        }
        self.rules.push(Rule {
            id: Arc::from(policy.id().as_ref()),
            effect: policy.effect(),
            condition,
        });
    }

    /// Decides. `request` says the same as `question`; `entities` hold all that it can see.
    pub(crate) fn decide(
        &self,
        question: &Question,
        request: Request,
        entities: &Entities,
    ) -> Verdict {
        self.judge(&self.met_by(question, entities), request, entities)
    }

    /// The constraints that a question meets.
    fn met_by(&self, question: &Question, entities: &Entities) -> Met {
        let met = |axis: &Axis, uid: &EntityUID| match entities.entity(uid) {
            Dereference::Data(entity) => axis.met_by(uid, entity.ancestors()),
            Dereference::NoSuchEntity | Dereference::Residual(_) => {
                axis.met_by(uid, std::iter::empty())
            }
        };
        Met {
            principal: met(&self.principals, question.principal.as_ref()),
            action: met(&self.actions, question.action.as_ref()),
            resource: met(&self.resources, question.resource.as_ref()),
        }
    }

    /// Evaluates the conditions of the policies whose scopes are met, and draws the conclusion.
    fn judge(&self, met: &Met, request: Request, entities: &Entities) -> Verdict {
        let evaluator = Evaluator::new(request, entities, Extensions::all_available());
        let mut permits = Vec::new();
        let mut forbids = Vec::new();
        let mut errors = Vec::new();
        for rule in self.index.candidates(met) {
            let Some(rule) = self.rules.get(rule as usize) else {
                continue;
            };
            let satisfied = match &rule.condition {
                None => Ok(true),
                Some(condition) => holds(&evaluator, condition),
            };
            match (satisfied, rule.effect) {
                (Ok(true), Effect::Permit) => permits.push(Arc::clone(&rule.id)),
                (Ok(true), Effect::Forbid) => forbids.push(Arc::clone(&rule.id)),
                (Ok(false), _) => {}
                (Err(error), _) => errors.push((Arc::clone(&rule.id), error)),
            }
        }
        let (decision, determining) = match (permits.is_empty(), forbids.is_empty()) {
            (false, true) => (Decision::Allow, permits),
            (_, _) => (Decision::Deny, forbids),
        };
        Verdict {
            decision,
            determining,
            errors,
        }
    }
}

#[expect(
    clippy::result_large_err,
    reason = "Cedar's own, handed on as it comes"
)]
fn holds(evaluator: &Evaluator<'_>, condition: &Arc<Expr>) -> Result<bool, EvaluationError> {
    // They stand in scopes only.
    let slots = SlotEnv::new();
    match evaluator.interpret(condition, &slots)?.value_kind() {
        ValueKind::Lit(Literal::Bool(holds)) => Ok(*holds),
        // No boolean, which `&&` makes an error of as Cedar's authorizer does.
        _ => {
            let condition = Expr::and(Expr::val(true), Expr::clone(condition));
            evaluator.interpret(&condition, &slots).map(|_| false)
        }
    }
}

#[cfg(test)]
mod tests;
