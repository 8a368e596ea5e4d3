//! Policies, schema and entities that belong together, and the decision over them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Decision, Effect, Entity, EntityTypeName, EntityUid, Policy, PolicyId,
    PolicySet, Schema,
};
use cedar_policy_core::ast::Request;
use cedar_policy_core::evaluator::EvaluationError;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::ValidatorSchema;
use ref_cast::RefCast as _;
use settings::Problem;

use crate::answer::{Answer, PolicyError, Source};
use crate::config::OnError;
use crate::context_shape::ContextShape;
use crate::engine::{self, Asked, Engine, RequestCheck, Verdict};
use crate::entities::{Entities, View};
use crate::entity_store::EntityStore;
use crate::one_line::one_line;
use crate::question::Question;
use crate::slice;

/// Policies, schema and entities, never changed once made. One snapshot answers one question, and
/// says in `revision` which it was.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) revision: Arc<str>,
    pub(crate) policies: PolicySet,
    pub(crate) schema: Option<Schema>,
    pub(crate) entities: EntityStore,
    /// What policies, schema and entities could do better; not mistakes.
    pub(crate) warnings: Vec<Problem>,
    context_shapes: HashMap<EntityUid, ContextShape>,
    entity_shapes: HashMap<EntityTypeName, ContextShape>,
    /// The height of the tallest policy.
    height: usize,
    on_error: OnError,
    /// What requests surely fit, where they are held to the schema.
    check: Option<RequestCheck>,
    engine: Engine,
}

/// What questions see that bring the same entities, or why these cannot be used.
#[derive(Debug)]
pub struct Seen<'a>(Result<View<'a>, String>);

/// The parts of a snapshot; the rest is derived.
pub(crate) struct Parts {
    pub(crate) revision: Arc<str>,
    pub(crate) policies: PolicySet,
    pub(crate) schema: Option<Schema>,
    pub(crate) entities: EntityStore,
    pub(crate) warnings: Vec<Problem>,
    /// The height of the tallest policy.
    pub(crate) height: usize,
    pub(crate) on_error: OnError,
    /// Whether a request outside the schema is refused.
    pub(crate) check_requests: bool,
}

// === impl Snapshot ===

impl Snapshot {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            revision,
            policies,
            schema,
            entities,
            warnings,
            height,
            on_error,
            check_requests,
        } = parts;
        let context_shapes = schema.iter().flat_map(|schema| {
            schema
                .actions()
                .filter_map(|action| Some((action.clone(), ContextShape::of(schema, action)?)))
        });
        let entity_shapes = schema.iter().flat_map(|schema| {
            schema
                .entity_types()
                .filter_map(|name| Some((name.clone(), ContextShape::of_entities(schema, name)?)))
        });
        Self {
            context_shapes: context_shapes.collect(),
            entity_shapes: entity_shapes.collect(),
            engine: Engine::new(policies.as_ref(), height),
            check: schema
                .as_ref()
                .filter(|_| check_requests)
                .map(|schema| RequestCheck::new(schema.as_ref())),
            revision,
            policies,
            schema,
            entities,
            warnings,
            height,
            on_error,
        }
    }

    /// The SHA-256 of everything that decides, in hexadecimal: the same wherever the content is the
    /// same.
    #[must_use]
    pub fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// The schema, if there is one.
    #[must_use]
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    /// The policies, under the ids that answers name them by.
    #[must_use]
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// The context that `action` declares; `None` without a schema and for an action that the
    /// schema does not know.
    #[must_use]
    pub fn context_shape(&self, action: &EntityUid) -> Option<&ContextShape> {
        self.context_shapes.get(action)
    }

    /// The attributes that entities of this type declare; `None` without a schema and for a type that
    /// the schema does not know.
    pub(crate) fn entity_shape(&self, name: &EntityTypeName) -> Option<&ContextShape> {
        self.entity_shapes.get(name)
    }

    /// Whether a question about these types is inside the schema, as far as its types go. One that is
    /// not is Deny, whatever the ids.
    pub(crate) fn applies(
        &self,
        action: &EntityUid,
        principal: &EntityTypeName,
        resource: &EntityTypeName,
    ) -> bool {
        let Some(schema) = self.held_to() else {
            return true;
        };
        let mut principals = schema.principals_for_action(action).into_iter().flatten();
        let mut resources = schema.resources_for_action(action).into_iter().flatten();
        principals.any(|name| name == principal) && resources.any(|name| name == resource)
    }

    /// The actions that may be asked about for these types: those that the schema declares for them;
    /// without a schema, those that the scopes of the policies name.
    pub(crate) fn actions(
        &self,
        principal: &EntityTypeName,
        resource: &EntityTypeName,
    ) -> BTreeSet<EntityUid> {
        if let Some(schema) = &self.schema {
            let known = schema.actions_for_principal_and_resource(principal, resource);
            return known.cloned().collect();
        }
        let named = |policy: &Policy| match policy.action_constraint() {
            ActionConstraint::Any => Vec::new(),
            ActionConstraint::Eq(action) => vec![action],
            ActionConstraint::In(actions) => actions,
        };
        self.policies.policies().flat_map(named).collect()
    }

    /// A stored entity, with all of its ancestors.
    #[must_use]
    pub fn stored(&self, uid: &EntityUid) -> Option<&Entity> {
        self.entities.get(uid.as_ref()).map(Entity::ref_cast)
    }

    /// The ids of the stored entities of a type, in order: those after `after`.
    pub(crate) fn ids_of(
        &self,
        kind: &EntityTypeName,
        after: Option<&str>,
    ) -> impl Iterator<Item = String> {
        self.entities.of_type(kind.as_ref(), after)
    }

    /// How many entities are stored, the actions of the schema included.
    #[must_use]
    pub fn entity_count(&self) -> usize {
        self.entities.len()
    }

    /// What the policies and the schema could do better. They decide all the same.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The effect and the annotations of a policy.
    #[must_use]
    pub fn describe(&self, policy: &str) -> Option<(Effect, Vec<(&str, &str)>)> {
        let policy = self.policies.policy(&PolicyId::new(policy))?;
        let mut annotations: Vec<_> = policy.annotations().collect();
        annotations.sort_unstable();
        Some((policy.effect(), annotations))
    }

    /// Decides. A question outside the schema is a Deny that says so in `errors`.
    #[must_use]
    pub fn decide(&self, question: &Question) -> Answer {
        self.decide_over(question, &mut self.see(&question.entities))
    }

    /// What questions see that bring these entities: checked, and laid over the stored ones, once
    /// for all of them.
    #[must_use]
    pub fn see(&self, given: &[Entity]) -> Seen<'_> {
        let view = slice::view(self.stored_entities(), self.schema.as_ref(), given);
        Seen(view.map_err(|error| error.to_string()))
    }

    /// Decides, where what the question sees is known: `seen` is what this snapshot shows to one
    /// that brings these entities.
    #[must_use]
    pub fn decide_over(&self, question: &Question, seen: &mut Seen<'_>) -> Answer {
        let entities = self.stored_entities();
        let asked = Asked {
            principal: entities.name(question.principal.as_ref()),
            action: entities.name(question.action.as_ref()),
            resource: entities.name(question.resource.as_ref()),
            context: question.context.as_ref(),
        };
        if let Err(message) = self.check(question, &asked) {
            return self.refused(&message);
        }
        let view = match &mut seen.0 {
            Ok(view) => view,
            Err(error) => return self.refused(error),
        };
        view.begin();
        let view = &*view;
        let verdict = self.engine.candidates(&asked, view).judge(&asked, view);
        // An entity that could not be seen was missing from the verdict.
        match (verdict, view.failure()) {
            (Ok(verdict), None) => self.answer(verdict),
            (_, Some(error)) => self.refused(&error.to_string()),
            (Err(error), None) => self.refused(&error.to_string()),
        }
    }

    /// Holds the question to the schema.
    fn check(&self, question: &Question, asked: &Asked<'_>) -> Result<(), String> {
        let (Some(check), Some(schema)) = (&self.check, self.held_to()) else {
            return Ok(());
        };
        if check.surely_fits(asked) {
            return Ok(());
        }
        let schema: &ValidatorSchema = schema.as_ref();
        let request = Request::new(
            (question.principal.as_ref().clone(), None),
            (question.action.as_ref().clone(), None),
            (question.resource.as_ref().clone(), None),
            question.context.as_ref().clone(),
            Some(schema),
            Extensions::all_available(),
        );
        request.map(drop).map_err(|error| error.to_string())
    }

    /// The final Deny to a question that the policies cannot be asked.
    #[must_use]
    pub fn refused(&self, message: &str) -> Answer {
        Answer::refused(Source::Engine, &self.revision, message)
    }

    /// The schema, where requests are held to it.
    pub(crate) fn held_to(&self) -> Option<&Schema> {
        self.schema.as_ref().filter(|_| self.check.is_some())
    }

    /// The stored entities, as decisions see them.
    pub(crate) fn stored_entities(&self) -> &Entities {
        &self.entities.entities
    }

    /// Makes the engine take forbids for permits, and the other way round.
    #[cfg(test)]
    pub(crate) fn break_engine(&mut self) {
        self.engine.break_effects();
    }

    /// The stack, in bytes, that the tallest policy can take.
    pub(crate) fn stack_needed(&self) -> usize {
        engine::stack_needed(self.height)
    }

    /// The answer that a verdict makes.
    pub(crate) fn answer(&self, verdict: Verdict) -> Answer {
        let mut errors = Vec::with_capacity(verdict.errors.len());
        for (id, error) in verdict.errors {
            // Cedar would skip the policy, and whether it does would depend on the thread.
            if let EvaluationError::RecursionLimit(_) = error {
                let message = format!("policy `{id}` needs more stack than there is");
                return Answer::refused(Source::FailClosed, &self.revision, &message);
            }
            errors.push(PolicyError {
                policy: Some(id),
                message: one_line(&error.to_string()),
            });
        }
        let mut answer = Answer {
            decision: verdict.decision,
            determining_policies: verdict.determining,
            errors,
            source: Source::Engine,
            revision: Arc::clone(&self.revision),
        };
        if answer.is_allow() && !answer.errors.is_empty() && self.on_error == OnError::Deny {
            answer.decision = Decision::Deny;
            answer.determining_policies = Vec::new();
        }
        answer
    }
}

#[cfg(test)]
mod tests;
