//! The decision of Cedar's authorizer, at the cost of the policies that could match.
//!
//! A scope never errs: it only says whether a policy applies. So a policy whose scope does not match
//! has no part in the answer, be it the decision, the policies that determined it or the errors,
//! and need not be looked at. The index finds the others, by looking up what the
//! question's principal, action and resource are, and only their conditions are evaluated, by
//! Cedar's own evaluator.

mod axis;
mod index;

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::Decision;
use cedar_policy_core::ast::{
    ActionConstraint, Effect, Entity, EntityUID, Expr, ExprKind, Literal, Policy, PolicySet,
    Request, SlotEnv, SlotId, ValueKind,
};
use cedar_policy_core::entities::Entities;
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
    /// `None` holds always.
    condition: Option<Arc<Condition>>,
}

/// Every `when` and `unless` of a policy, or of all links of a template.
#[derive(Debug)]
struct Condition {
    expression: Arc<Expr>,
    /// The entities that it names.
    literals: Box<[EntityUID]>,
}

/// The policies whose scopes match a question.
pub(crate) struct Candidates<'a> {
    rules: &'a [Rule],
    /// Which of them, in order.
    matching: Vec<u32>,
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
        let mut conditions = HashMap::new();
        for (policy, rule) in policies.into_iter().zip(0..) {
            engine.take(policy, rule, &mut entries, &mut conditions);
        }
        engine.index = Index::new(entries, short);
        engine
    }

    /// Enters a policy. One that lists actions is entered for each of them.
    /// `conditions` are those of the policies before, by where their expressions are.
    fn take(
        &mut self,
        policy: &Policy,
        rule: u32,
        entries: &mut Vec<Entry>,
        conditions: &mut HashMap<*const Expr, Arc<Condition>>,
    ) {
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
        let mut condition = policy.non_scope_constraints_arc().map(|expression| {
            let known = conditions.entry(Arc::as_ptr(expression));
            Arc::clone(known.or_insert_with(|| Arc::new(Condition::new(Arc::clone(expression)))))
        });
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
                condition = Some(Arc::new(Condition::new(Arc::new(policy.condition()))));
                enter(ANY, ANY, ANY);
            }
        }
        self.rules.push(Rule {
            id: Arc::from(policy.id().as_ref()),
            effect: policy.effect(),
            condition,
        });
    }

    /// The policies whose scopes match. `entity` finds the question's principal, action and resource,
    /// with all of their ancestors.
    pub(crate) fn candidates<'e>(
        &self,
        question: &Question,
        entity: impl Fn(&EntityUID) -> Option<&'e Entity>,
    ) -> Candidates<'_> {
        self.matching(&self.met_by(question, entity))
    }

    /// The constraints that a question meets.
    fn met_by<'e>(
        &self,
        question: &Question,
        entity: impl Fn(&EntityUID) -> Option<&'e Entity>,
    ) -> Met {
        let met = |axis: &Axis, uid: &EntityUID| {
            let ancestors = entity(uid).into_iter().flat_map(Entity::ancestors);
            axis.met_by(uid, ancestors)
        };
        Met {
            principal: met(&self.principals, question.principal.as_ref()),
            action: met(&self.actions, question.action.as_ref()),
            resource: met(&self.resources, question.resource.as_ref()),
        }
    }

    fn matching(&self, met: &Met) -> Candidates<'_> {
        Candidates {
            rules: &self.rules,
            matching: self.index.candidates(met),
        }
    }
}

// === impl Candidates ===

impl<'a> Candidates<'a> {
    /// The entities that their conditions name.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &'a EntityUID> {
        self.rules()
            .filter_map(|rule| rule.condition.as_ref())
            .flat_map(|condition| &condition.literals)
    }

    /// Evaluates the conditions and draws the conclusion. `entities` hold all that they can see.
    pub(crate) fn judge(&self, request: Request, entities: &Entities) -> Verdict {
        let evaluator = Evaluator::new(request, entities, Extensions::all_available());
        let mut permits = Vec::new();
        let mut forbids = Vec::new();
        let mut errors = Vec::new();
        for rule in self.rules() {
            let holds = match &rule.condition {
                None => Ok(true),
                Some(condition) => condition.holds(&evaluator),
            };
            match (holds, rule.effect) {
                (Ok(true), Effect::Permit) => permits.push(Arc::clone(&rule.id)),
                (Ok(true), Effect::Forbid) => forbids.push(Arc::clone(&rule.id)),
                (Ok(false), _) => {}
                (Err(error), _) => errors.push((Arc::clone(&rule.id), error)),
            }
        }
        let (decision, determining) = if !permits.is_empty() && forbids.is_empty() {
            (Decision::Allow, permits)
        } else {
            (Decision::Deny, forbids)
        };
        Verdict {
            decision,
            determining,
            errors,
        }
    }

    fn rules(&self) -> impl Iterator<Item = &'a Rule> {
        let all = self.rules;
        let matching = self.matching.iter();
        matching.filter_map(move |rule| all.get(*rule as usize))
    }
}

// === impl Condition ===

impl Condition {
    fn new(expression: Arc<Expr>) -> Self {
        let mut literals: Vec<EntityUID> = expression
            .subexpressions()
            .filter_map(|expression| match expression.expr_kind() {
                ExprKind::Lit(Literal::EntityUID(uid)) => Some(EntityUID::clone(uid)),
                _ => None,
            })
            .collect();
        literals.sort_unstable();
        literals.dedup();
        Self {
            expression,
            literals: literals.into_boxed_slice(),
        }
    }

    #[expect(
        clippy::result_large_err,
        reason = "Cedar's own, handed on as it comes"
    )]
    fn holds(&self, evaluator: &Evaluator<'_>) -> Result<bool, EvaluationError> {
        // They stand in scopes only.
        let slots = SlotEnv::new();
        let value = evaluator.interpret(&self.expression, &slots)?;
        if let ValueKind::Lit(Literal::Bool(holds)) = value.value_kind() {
            return Ok(*holds);
        }
        // No boolean, of which `&&` makes an error, as in Cedar's authorizer.
        let condition = Expr::and(Expr::val(true), Expr::clone(&self.expression));
        evaluator.interpret(&condition, &slots).map(|_| false)
    }
}

#[cfg(test)]
mod tests;
