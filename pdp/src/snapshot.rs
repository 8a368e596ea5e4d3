//! Policies, schema and entities that belong together, and the decision over them.

mod matter;
mod rulebook;

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{Decision, Effect, Entity, EntityTypeName, EntityUid, PolicySet, Schema};
use cedar_policy_core::ast::Request;
use cedar_policy_core::evaluator::EvaluationError;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::ValidatorSchema;
use settings::Problem;

use crate::answer::{Answer, PolicyError, Source};
use crate::config::OnError;
use crate::context_shape::ContextShape;
use crate::engine::{self, Asked, Verdict};
use crate::entities::{Entities, View};
use crate::one_line::one_line;
use crate::question::Question;
use crate::slice;
use crate::stored_entity::StoredEntity;

pub(crate) use self::matter::{Judged, Matter};
pub(crate) use self::rulebook::{Parts, Rulebook};

/// Policies, schema and entities, never changed once made. One snapshot answers one question, and
/// says in `revision` and `entities_revision` which it was.
#[derive(Debug, Clone)]
pub struct Snapshot {
    rulebook: Arc<Rulebook>,
    entities: Entities,
    /// What the entities could do better; not mistakes.
    of_entities: Arc<[Problem]>,
}

/// What questions see that bring the same entities, or why these cannot be used.
#[derive(Debug)]
pub struct Seen<'a>(Result<View<'a>, String>);

// === impl Snapshot ===

impl Snapshot {
    pub(crate) fn new(
        rulebook: Arc<Rulebook>,
        entities: Entities,
        of_entities: Vec<Problem>,
    ) -> Self {
        Self {
            rulebook,
            entities,
            of_entities: of_entities.into(),
        }
    }

    /// The same policies over other entities.
    pub(crate) fn over(&self, entities: Entities) -> Self {
        Self {
            entities,
            ..self.clone()
        }
    }

    pub(crate) fn rulebook(&self) -> &Arc<Rulebook> {
        &self.rulebook
    }

    pub(crate) fn entities(&self) -> &Entities {
        &self.entities
    }

    /// What the entities could do better.
    pub(crate) fn of_entities(&self) -> &[Problem] {
        &self.of_entities
    }

    /// The SHA-256 of the stored entities, in hexadecimal: the same wherever the content is the
    /// same.
    #[must_use]
    pub fn entities_revision(&self) -> &Arc<str> {
        self.entities.revision()
    }

    /// The SHA-256 of policies and schema, in hexadecimal: the same wherever the content is the
    /// same.
    #[must_use]
    pub fn revision(&self) -> &Arc<str> {
        &self.rulebook.revision
    }

    /// The schema, if there is one.
    #[must_use]
    pub fn schema(&self) -> Option<&Schema> {
        self.rulebook.schema.as_ref()
    }

    /// The policies as Cedar has them, under the ids that answers name them by. Where there are links,
    /// the first call makes them, and the snapshot keeps them: for what is rarely asked.
    #[must_use]
    pub fn policies(&self) -> &PolicySet {
        self.rulebook.policies.whole()
    }

    /// How many policies there are. Templates are none.
    #[must_use]
    pub fn policy_count(&self) -> usize {
        self.rulebook.policies.count()
    }

    /// The context that `action` declares; `None` without a schema and for an action that the
    /// schema does not know.
    #[must_use]
    pub fn context_shape(&self, action: &EntityUid) -> Option<&ContextShape> {
        self.rulebook.context_shapes.get(action)
    }

    /// The attributes that entities of this type declare; `None` without a schema and for a type that
    /// the schema does not know.
    pub(crate) fn entity_shape(&self, name: &EntityTypeName) -> Option<&ContextShape> {
        self.rulebook.entity_shapes.get(name)
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
        if let Some(schema) = &self.rulebook.schema {
            let known = schema.actions_for_principal_and_resource(principal, resource);
            return known.cloned().collect();
        }
        self.rulebook.policies.actions()
    }

    /// A stored entity, with all of its ancestors.
    #[must_use]
    pub fn stored(&self, uid: &EntityUid) -> Option<StoredEntity<'_>> {
        self.entities.find(uid.as_ref()).map(StoredEntity)
    }

    /// The ids of the stored entities of a type in order, from the first one after `after` on,
    /// whether or not that one is stored.
    pub fn ids_of(
        &self,
        kind: &EntityTypeName,
        after: Option<&str>,
    ) -> impl Iterator<Item = String> {
        let names = self.entities.of_kind(kind.as_ref().clone(), after);
        names.map(|uid| uid.id().to_owned())
    }

    /// How many entities are stored, the actions of the schema included.
    #[must_use]
    pub fn entity_count(&self) -> usize {
        self.entities.len()
    }

    /// What policies, schema and entities could do better. They decide all the same.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.rulebook.warnings.iter().chain(&*self.of_entities)
    }

    /// The effect and the annotations of a policy.
    #[must_use]
    pub fn describe(&self, policy: &str) -> Option<(Effect, Vec<(&str, &str)>)> {
        let (effect, mut annotations) = self.rulebook.policies.describe(policy)?;
        annotations.sort_unstable();
        Some((effect, annotations))
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
        let view = slice::view(&self.entities, self.rulebook.types.as_deref(), given);
        Seen(view.map_err(|error| error.to_string()))
    }

    /// Decides, where what the question sees is known: `seen` is what this snapshot shows to one
    /// that brings these entities.
    #[must_use]
    pub fn decide_over(&self, question: &Question, seen: &mut Seen<'_>) -> Answer {
        match self.matter(question, seen) {
            Ok(matter) => matter.judge().answer(),
            Err(refused) => refused,
        }
    }

    /// What is to be decided; or the final Deny to a question that the policies cannot be asked.
    pub(crate) fn matter<'s, 'v>(
        &'s self,
        question: &'s Question,
        seen: &'s mut Seen<'v>,
    ) -> Result<Matter<'s, 'v>, Answer> {
        let entities = &self.entities;
        let names = entities.names([
            question.principal.as_ref(),
            question.action.as_ref(),
            question.resource.as_ref(),
        ]);
        let [
            (principal, principal_stored),
            (action, _),
            (resource, resource_stored),
        ] = names;
        let asked = Asked {
            principal,
            action,
            resource,
            principal_stored,
            resource_stored,
            principal_kind: question.principal.as_ref().entity_type(),
            resource_kind: question.resource.as_ref().entity_type(),
            context: question.context.as_ref(),
        };
        if let Err(message) = self.check(question, &asked) {
            return Err(self.refused(&message));
        }
        let view = match &mut seen.0 {
            Ok(view) => view,
            Err(error) => return Err(self.refused(error)),
        };
        view.begin();
        Ok(Matter {
            snapshot: self,
            candidates: self.rulebook.engine.candidates(&asked, view),
            asked,
            view,
        })
    }

    /// Holds the question to the schema.
    fn check(&self, question: &Question, asked: &Asked<'_>) -> Result<(), String> {
        let (Some(check), Some(schema)) = (&self.rulebook.check, self.held_to()) else {
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
        Answer::refused(Source::Engine, &self.rulebook.revision, message)
    }

    /// The schema, where requests are held to it.
    pub(crate) fn held_to(&self) -> Option<&Schema> {
        let rulebook = &self.rulebook;
        rulebook
            .schema
            .as_ref()
            .filter(|_| rulebook.check.is_some())
    }

    /// Makes the engine take forbids for permits, and the other way round.
    #[cfg(test)]
    pub(crate) fn break_engine(&mut self) {
        let rulebook = Arc::get_mut(&mut self.rulebook).unwrap();
        rulebook.engine.break_effects();
    }

    /// The stack, in bytes, that the tallest policy can take.
    pub(crate) fn stack_needed(&self) -> usize {
        engine::stack_needed(self.rulebook.height)
    }

    /// The answer that a verdict makes.
    pub(crate) fn answer(&self, verdict: Verdict) -> Answer {
        let mut errors = Vec::with_capacity(verdict.errors.len());
        for (id, error) in verdict.errors {
            // Cedar would skip the policy, and whether it does would depend on the thread.
            if let EvaluationError::RecursionLimit(_) = error {
                let message = format!("policy `{id}` needs more stack than there is");
                return Answer::refused(Source::FailClosed, &self.rulebook.revision, &message);
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
            revision: self.rulebook.stamp,
        };
        if answer.is_allow() && !answer.errors.is_empty() && self.rulebook.on_error == OnError::Deny
        {
            answer.decision = Decision::Deny;
            answer.determining_policies = Vec::new();
        }
        answer
    }
}

#[cfg(test)]
mod tests;
