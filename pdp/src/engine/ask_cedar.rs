//! Conditions that only Cedar can answer: those that err.
//!
//! What this may cost is bounded. Cedar is given the entities that the condition looks at, each
//! converted once for the whole question, and evaluates the condition once. So a question costs at most
//! what Cedar's authorizer takes for the policies whose scopes match, and twice what they take
//! here, and the copies of the entities that they look at; never more policies or entities than those.

use std::sync::Arc;

use cedar_policy_core::ast::{EntityUIDEntry, Expr, Literal, Request, SlotEnv, ValueKind};
use cedar_policy_core::entities::err::EntitiesError;
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::evaluator::{EvaluationError, Evaluator};
use cedar_policy_core::extensions::Extensions;

use super::evaluate::Sight;
use super::{Asked, Condition};
use crate::entities::View;

/// The stack, in bytes, with which a release build lets Cedar evaluate every policy that is accepted
/// at load without borrowing one. Runtime worker threads should have it.
pub const EVALUATION_STACK: usize = 16 << 20;

/// Stack that Cedar's evaluator takes for one level of a policy's height, in bytes: more than a test
/// measures for every way of being deep. Without optimisation its frames are ten times as large.
const STACK_PER_LEVEL: usize = if cfg!(debug_assertions) {
    80 << 10
} else {
    12 << 10
};

/// Stack for all that is not the recursion, and for the evaluator's own reserve of 100 KiB below
/// which it refuses to go on.
const STACK_BASE: usize = 384 << 10;

/// What Cedar's evaluator says to each of the conditions. `height` is that of the tallest policy.
pub(super) fn ask_cedar<'c>(
    conditions: impl Iterator<Item = &'c Condition> + Clone,
    asked: &Asked<'_>,
    view: &View<'_>,
    height: usize,
) -> Result<Vec<Result<bool, EvaluationError>>, Box<EntitiesError>> {
    let mut sight = Sight::new(asked, view);
    sight.watch();
    for condition in conditions.clone() {
        // Only what it looks at is asked for.
        let _ = sight.holds(&condition.program.root);
    }
    let mut looked_at = sight.looked_at();
    looked_at.sort_unstable();
    looked_at.dedup();
    let entities = looked_at.iter().filter_map(|uid| view.entity(uid));
    let entities = Entities::new()
        .add_entities(
            entities.map(|entity| Arc::new(entity.to_cedar())),
            None::<&NoEntitiesSchema>,
            TCComputation::AssumeAlreadyComputed,
            Extensions::all_available(),
        )
        .map_err(Box::new)?;
    let request = Request::new_unchecked(
        EntityUIDEntry::known(asked.principal.to_cedar(), None),
        EntityUIDEntry::known(asked.action.to_cedar(), None),
        EntityUIDEntry::known(asked.resource.to_cedar(), None),
        Some(asked.context.clone()),
    );
    let evaluator = Evaluator::new(request, &entities, Extensions::all_available());
    Ok(with_stack(stack_needed(height), || {
        let mut answers = Vec::new();
        for condition in conditions {
            answers.push(holds(&condition.expression, &evaluator));
        }
        answers
    }))
}

/// Calls Cedar with so much stack, in bytes.
pub(crate) fn with_stack<R>(needed: usize, call: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(needed, needed + STACK_BASE, call)
}

/// The stack, in bytes, that Cedar can take for a policy of a height.
pub(crate) fn stack_needed(height: usize) -> usize {
    STACK_BASE + height * STACK_PER_LEVEL
}

#[expect(
    clippy::result_large_err,
    reason = "Cedar's own, handed on as it comes"
)]
fn holds(condition: &Expr, evaluator: &Evaluator<'_>) -> Result<bool, EvaluationError> {
    // They stand in scopes only.
    let slots = SlotEnv::new();
    let value = evaluator.interpret(condition, &slots)?;
    if let ValueKind::Lit(Literal::Bool(holds)) = value.value_kind() {
        return Ok(*holds);
    }
    // No boolean, of which `&&` makes an error, as in Cedar's authorizer.
    let condition = Expr::and(Expr::val(true), condition.clone());
    evaluator.interpret(&condition, &slots).map(|_| false)
}
