//! The part of the entity store that one question can see, with the question's own entities laid
//! over it.
//!
//! The answer is the same as over the whole store with the question's entities in place of the
//! stored ones; the cost is that of what the policies can reach from this question.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::Schema;
use cedar_policy_core::ast::{Context, Entity, EntityUID};
use cedar_policy_core::entities::Entities;
use cedar_policy_core::entities::conformance::EntitySchemaConformanceChecker;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;

use crate::entity_store::{EntityStore, assemble, collect_names, named_by};
use crate::question::Question;

/// Steps up the hierarchy that one question may take. Every entity holds all of its ancestors, so
/// that a long chain of given entities costs the square of its length.
const MAX_STEPS: usize = 100_000;

/// Why the question's own entities cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SliceError {
    #[error("entity `{0}` is given twice with different contents")]
    Duplicate(EntityUID),
    #[error("entity `{0}` would be its own ancestor")]
    Cycle(EntityUID),
    #[error("the given entities have more than {MAX_STEPS} ancestors between them")]
    TooMany,
    #[error("{0}")]
    OutsideSchema(String),
}

/// The question's entities over the stored ones.
struct Overlay<'a> {
    store: &'a EntityStore,
    given: HashMap<&'a EntityUID, &'a Entity>,
    /// Steps taken so far.
    steps: Cell<usize>,
}

/// The entities that `question` can see. `literals` are the entities that conditions of the
/// policies name; entities given in the question are held to `schema`.
pub(crate) fn slice<'a>(
    store: &'a EntityStore,
    literals: &[EntityUID],
    schema: Option<&Schema>,
    question: &Question,
) -> Result<Cow<'a, Entities>, SliceError> {
    if question.entities.is_empty() {
        return Ok(Cow::Borrowed(store.all()));
    }
    let overlay = Overlay::new(store, schema, question)?;

    let mut seen: HashSet<EntityUID> = HashSet::new();
    let mut visible: Vec<Arc<Entity>> = Vec::new();
    let mut waiting: Vec<EntityUID> = vec![
        question.principal.as_ref().clone(),
        question.action.as_ref().clone(),
        question.resource.as_ref().clone(),
    ];
    waiting.extend_from_slice(literals);
    if let Context::Value(attributes) = question.context.as_ref() {
        attributes
            .values()
            .for_each(|value| collect_names(value, &mut waiting));
    }
    while let Some(uid) = waiting.pop() {
        if seen.contains(&uid) {
            continue;
        }
        if let Some(given) = overlay.given.get(&uid) {
            waiting.extend(named_by(given));
            visible.push(Arc::new(overlay.with_ancestors(given, given.ancestors())?));
        } else if let Some(stored) = store.get(&uid) {
            waiting.extend_from_slice(&stored.names);
            let entity = &stored.entity;
            if overlay.touches(entity) {
                visible.push(Arc::new(overlay.with_ancestors(entity, entity.parents())?));
            } else {
                visible.push(Arc::clone(entity));
            }
        }
        seen.insert(uid);
    }
    // Each uid was seen once, so nothing can collide.
    assemble(visible)
        .map(Cow::Owned)
        .map_err(|error| SliceError::OutsideSchema(error.to_string()))
}

// === impl Overlay ===

impl<'a> Overlay<'a> {
    /// Checks the given entities: against the schema, and that the hierarchy stays one.
    fn new(
        store: &'a EntityStore,
        schema: Option<&Schema>,
        question: &'a Question,
    ) -> Result<Self, SliceError> {
        let mut given: HashMap<&EntityUID, &Entity> = HashMap::new();
        for entity in &question.entities {
            let entity: &Entity = entity.as_ref();
            if let Some(other) = given.insert(entity.uid(), entity)
                && !other.deep_eq(entity)
            {
                return Err(SliceError::Duplicate(entity.uid().clone()));
            }
        }
        let mut overlay = Self {
            store,
            given,
            steps: Cell::new(0),
        };
        if let Some(schema) = schema {
            overlay.hold_to(schema, question)?;
        }
        // In the order given, so that the same question always gets the same error.
        for entity in &question.entities {
            let entity: &Entity = entity.as_ref();
            overlay.ancestors_of(entity.uid(), entity.ancestors())?;
        }
        Ok(overlay)
    }

    /// Holds the given entities to the schema. Given actions must be what the schema says they are,
    /// and then the stored ones, which came from the schema, serve.
    fn hold_to(&mut self, schema: &Schema, question: &Question) -> Result<(), SliceError> {
        let core = CoreSchema::new(schema.as_ref());
        let checker = EntitySchemaConformanceChecker::new(&core, Extensions::all_available());
        let outside = |error: &dyn std::fmt::Display| SliceError::OutsideSchema(error.to_string());
        for entity in &question.entities {
            let entity: &Entity = entity.as_ref();
            if entity.uid().is_action() {
                let closed = self.with_ancestors(entity, entity.ancestors())?;
                checker
                    .validate_action(&closed)
                    .map_err(|error| outside(&error))?;
            } else {
                checker
                    .validate_entity(entity)
                    .map_err(|error| outside(&error))?;
            }
        }
        self.given.retain(|uid, _| !uid.is_action());
        Ok(())
    }

    /// Whether a given entity is among the ancestors of a stored one, so that they may have changed.
    fn touches(&self, stored: &Entity) -> bool {
        // From the side that has fewer.
        if stored.ancestors().take(self.given.len()).count() < self.given.len() {
            stored.ancestors().any(|uid| self.given.contains_key(uid))
        } else {
            self.given.keys().any(|uid| stored.is_descendant_of(uid))
        }
    }

    /// The entity with the ancestors that `parents` lead to.
    fn with_ancestors<'p>(
        &self,
        entity: &Entity,
        parents: impl Iterator<Item = &'p EntityUID>,
    ) -> Result<Entity, SliceError> {
        let mut ancestors = self.ancestors_of(entity.uid(), parents)?;
        let (uid, attributes, _, parents, tags) = entity.clone().into_inner();
        ancestors.retain(|ancestor| !parents.contains(ancestor));
        Ok(Entity::new_with_attr_partial_value(
            uid, attributes, ancestors, parents, tags,
        ))
    }

    fn step(&self) -> Result<(), SliceError> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > MAX_STEPS {
            Err(SliceError::TooMany)
        } else {
            Ok(())
        }
    }

    /// All that is reached upwards from `parents`.
    fn ancestors_of<'p>(
        &self,
        uid: &EntityUID,
        parents: impl Iterator<Item = &'p EntityUID>,
    ) -> Result<HashSet<EntityUID>, SliceError> {
        let mut ancestors: HashSet<EntityUID> = HashSet::new();
        let mut waiting: Vec<EntityUID> = parents.cloned().collect();
        while let Some(next) = waiting.pop() {
            self.step()?;
            if next == *uid {
                return Err(SliceError::Cycle(next));
            }
            if ancestors.contains(&next) {
                continue;
            }
            if let Some(given) = self.given.get(&next) {
                waiting.extend(given.ancestors().cloned());
            } else if let Some(stored) = self.store.get(&next) {
                if self.touches(&stored.entity) {
                    waiting.extend(stored.entity.parents().cloned());
                } else {
                    // Nothing on the way up is given, so the stored closure holds as it is. It
                    // cannot lead back to `uid` either, unless `uid` is stored and among them.
                    if stored.entity.is_descendant_of(uid) {
                        return Err(SliceError::Cycle(uid.clone()));
                    }
                    ancestors.extend(stored.entity.ancestors().cloned());
                }
            }
            ancestors.insert(next);
        }
        Ok(ancestors)
    }
}

#[cfg(test)]
mod tests;
