//! The part of the entity store that one question can see, with the question's own entities laid
//! over it.
//!
//! The answer is the same as over the whole store with the question's entities in place of the
//! stored ones; the cost is that of what the policies can reach from this question. Scopes see its
//! principal, action and resource; what conditions see follows from the policies whose scopes match.

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

/// What one question can see of the entities.
pub(crate) enum Slice<'a> {
    /// All that is stored, where the question brings nothing of its own.
    Whole(&'a EntityStore),
    /// What can be reached from the question.
    Part(Part<'a>),
}

/// What has been reached from a question so far: its principal, action and resource at first.
pub(crate) struct Part<'a> {
    overlay: Overlay<'a>,
    /// With all of their ancestors; `None` for those that do not exist.
    reached: HashMap<EntityUID, Option<Arc<Entity>>>,
    /// What those and the context name.
    waiting: Vec<EntityUID>,
}

/// The question's entities over the stored ones.
struct Overlay<'a> {
    store: &'a EntityStore,
    given: HashMap<&'a EntityUID, &'a Entity>,
    /// Steps taken so far.
    steps: Cell<usize>,
}

// === impl Slice ===

impl<'a> Slice<'a> {
    /// What scopes can see. Entities given in the question are held to `schema`.
    pub(crate) fn new(
        store: &'a EntityStore,
        schema: Option<&Schema>,
        question: &'a Question,
    ) -> Result<Self, SliceError> {
        if question.entities.is_empty() {
            return Ok(Self::Whole(store));
        }
        let mut part = Part {
            overlay: Overlay::new(store, schema, question)?,
            reached: HashMap::new(),
            waiting: Vec::new(),
        };
        for uid in [&question.principal, &question.action, &question.resource] {
            part.reach(uid.as_ref())?;
        }
        if let Context::Value(attributes) = question.context.as_ref() {
            attributes
                .values()
                .for_each(|value| collect_names(value, &mut part.waiting));
        }
        Ok(Self::Part(part))
    }

    /// The principal, the action or the resource, with all of its ancestors.
    pub(crate) fn get(&self, uid: &EntityUID) -> Option<&Entity> {
        match self {
            Self::Whole(store) => store.get(uid).map(|stored| &*stored.entity),
            Self::Part(part) => part.reached.get(uid)?.as_deref(),
        }
    }

    /// What conditions can see that name `literals`.
    pub(crate) fn complete<'l>(
        self,
        literals: impl Iterator<Item = &'l EntityUID>,
    ) -> Result<Cow<'a, Entities>, SliceError> {
        let mut part = match self {
            Self::Whole(store) => return Ok(Cow::Borrowed(store.all())),
            Self::Part(part) => part,
        };
        for literal in literals {
            part.reach(literal)?;
        }
        while let Some(uid) = part.waiting.pop() {
            part.reach(&uid)?;
        }
        // Each uid was reached once, so nothing can collide.
        assemble(part.reached.into_values().flatten())
            .map(Cow::Owned)
            .map_err(|error| SliceError::OutsideSchema(error.to_string()))
    }
}

// === impl Part ===

impl Part<'_> {
    fn reach(&mut self, uid: &EntityUID) -> Result<(), SliceError> {
        if self.reached.contains_key(uid) {
            return Ok(());
        }
        let overlay = &self.overlay;
        let entity = if let Some(given) = overlay.given.get(uid) {
            self.waiting.extend(named_by(given));
            let ancestors = given.ancestors();
            Some(Arc::new(overlay.with_ancestors(given, ancestors)?))
        } else if let Some(stored) = overlay.store.get(uid) {
            self.waiting.extend_from_slice(&stored.names);
            let entity = &stored.entity;
            if overlay.touches(entity) {
                let parents = entity.parents();
                Some(Arc::new(overlay.with_ancestors(entity, parents)?))
            } else {
                Some(Arc::clone(entity))
            }
        } else {
            None
        };
        self.reached.insert(uid.clone(), entity);
        Ok(())
    }
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
