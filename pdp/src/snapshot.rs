//! Policies, schema and entities that belong together, and the decision over them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{Decision, Effect, Entity, EntityTypeName, EntityUid, PolicySet, Schema};
use cedar_policy_core::ast::Request;
use cedar_policy_core::evaluator::EvaluationError;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::ValidatorSchema;
use settings::Problem;

use crate::answer::{Answer, PolicyError, Revision, Source};
use crate::config::OnError;
use crate::context_shape::ContextShape;
use crate::engine::{self, Asked, Candidates, Digest, Engine, RequestCheck, Undigested, Verdict};
use crate::entities::{Entities, View};
use crate::load::Digests;
use crate::one_line::one_line;
use crate::policies::Policies;
use crate::question::Question;
use crate::slice;
use crate::stored_entity::StoredEntity;
use crate::types::Types;
use crate::uid::Uid;
use crate::value::Naming;

/// Policies, schema and entities, never changed once made. One snapshot answers one question, and
/// says in `revision` and `entities_revision` which it was.
#[derive(Debug, Clone)]
pub struct Snapshot {
    rulebook: Arc<Rulebook>,
    entities: Entities,
    /// What the entities could do better; not mistakes.
    of_entities: Arc<[Problem]>,
}

/// Policies and schema, which stay the same while entities change.
#[derive(Debug)]
pub(crate) struct Rulebook {
    pub(crate) revision: Arc<str>,
    /// The same, for answers.
    stamp: Revision,
    pub(crate) sources: Digests,
    pub(crate) policies: Policies,
    pub(crate) schema: Option<Schema>,
    pub(crate) types: Option<Arc<Types>>,
    /// What policies and schema could do better; not mistakes.
    warnings: Vec<Problem>,
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

/// A question that fits the schema, what it sees, and the policies that could match it.
pub(crate) struct Matter<'s, 'v> {
    snapshot: &'s Snapshot,
    asked: Asked<'s>,
    view: &'s mut View<'v>,
    candidates: Candidates<'s>,
}

/// What became of a [`Matter`].
pub(crate) enum Judged {
    /// The policies answered.
    Answered(Answer),
    /// They could not be asked.
    Refused(Answer),
}

/// What a rulebook is made of beside policies and schema.
pub(crate) struct Parts {
    pub(crate) revision: Arc<str>,
    pub(crate) sources: Digests,
    /// What the schema says of entities.
    pub(crate) types: Option<Arc<Types>>,
    pub(crate) warnings: Vec<Problem>,
    /// The height of the tallest policy.
    pub(crate) height: usize,
    pub(crate) on_error: OnError,
    /// Whether a request outside the schema is refused.
    pub(crate) check_requests: bool,
}

// === impl Rulebook ===

impl Rulebook {
    /// `naming` gives the names of entities, which are those of what is stored, if anything is.
    pub(crate) fn new(
        policies: Policies,
        schema: Option<Schema>,
        parts: Parts,
        naming: Naming<'_>,
    ) -> Self {
        let Parts {
            revision,
            sources,
            types,
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
            engine: Engine::new(&policies, height, naming),
            check: schema
                .as_ref()
                .filter(|_| check_requests)
                .map(|schema| RequestCheck::new(schema.as_ref())),
            stamp: Revision::from(&*revision),
            revision,
            sources,
            policies,
            schema,
            types,
            warnings,
            height,
            on_error,
        }
    }

    /// The name as it is shared here, if a policy's scope names it.
    pub(crate) fn shared(&self, uid: &Uid) -> Option<&Uid> {
        self.engine.shared(uid)
    }
}

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
        let [principal, action, resource] = entities.names([
            question.principal.as_ref(),
            question.action.as_ref(),
            question.resource.as_ref(),
        ]);
        let asked = Asked {
            principal,
            action,
            resource,
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

// === impl Matter ===

impl Matter<'_, '_> {
    /// All that the candidates can read, as one number; `dear` is what evaluating them must cost at
    /// least, in operations, to be worth it.
    ///
    /// # Errors
    /// When there is none that is worth making.
    pub(crate) fn digest(&mut self, dear: u64) -> Result<Digest, Undigested> {
        let failed = self.view.failure().is_some();
        let revision = &self.snapshot.rulebook.revision;
        let digest = self
            .candidates
            .digest(&self.asked, self.view, revision, dear);
        if digest == Err(Undigested::Unseen) && !failed {
            // The policies may well look at less.
            self.view.begin();
        }
        digest
    }

    /// Evaluates the candidates.
    pub(crate) fn judge(&self) -> Judged {
        let verdict = self.candidates.judge(&self.asked, self.view);
        // An entity that could not be seen was missing from the verdict.
        let message = match (verdict, self.view.failure()) {
            (Ok(verdict), None) => return Judged::Answered(self.snapshot.answer(verdict)),
            (_, Some(error)) => error.to_string(),
            (Err(error), None) => error.to_string(),
        };
        Judged::Refused(self.snapshot.refused(&message))
    }
}

// === impl Judged ===

impl Judged {
    pub(crate) fn answer(self) -> Answer {
        match self {
            Self::Answered(answer) | Self::Refused(answer) => answer,
        }
    }
}

#[cfg(test)]
mod tests;
