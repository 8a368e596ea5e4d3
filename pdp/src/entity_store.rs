//! The stored entities.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{Schema, entities_errors::EntitiesError};
use cedar_policy_core::ast::{Entity, EntityType, EntityUID};
use cedar_policy_core::entities::{self, TCComputation};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;

use crate::entities::{Draft, Entities};
use crate::uid::Uid;

/// Every stored entity with all of its ancestors, and the actions of the schema.
#[derive(Debug)]
pub(crate) struct EntityStore {
    by_uid: HashMap<EntityUID, Arc<Entity>>,
    /// The same entities as decisions see them.
    pub(crate) entities: Entities,
}

/// Why entities cannot be stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Cedar(Box<EntitiesError>),
    #[error(transparent)]
    Unknown(#[from] crate::entities::Unknown),
    #[error(transparent)]
    Store(#[from] crate::entities::EntitiesError),
}

// === impl EntityStore ===

impl EntityStore {
    /// Computes the ancestors of every entity and adds the actions of the schema, without which
    /// action groups would silently hold nothing.
    ///
    /// # Errors
    /// On two different entities with one uid, on a cycle, and on an entity outside the schema.
    pub(crate) fn new(entities: Vec<Entity>, schema: Option<&Schema>) -> Result<Self, StoreError> {
        let core = schema.map(|schema| CoreSchema::new(schema.as_ref()));
        let closed = entities::Entities::from_entities(
            entities,
            core.as_ref(),
            TCComputation::ComputeNow,
            Extensions::all_available(),
        )
        .map_err(|error| StoreError::Cedar(Box::new(error)))?;
        let (mut drafts, mut actions) = (Vec::new(), Vec::new());
        for entity in closed.iter() {
            let draft = Draft::named(entity, &mut Uid::of)?;
            match schema.is_some() && draft.uid.is_action() {
                true => actions.push(draft),
                false => drafts.push(draft),
            }
        }
        Ok(Self {
            entities: Entities::new(drafts, schema.map(|_| actions))?,
            by_uid: closed
                .into_iter()
                .map(|entity| (entity.uid().clone(), Arc::new(entity)))
                .collect(),
        })
    }

    pub(crate) fn get(&self, uid: &EntityUID) -> Option<&Entity> {
        self.by_uid.get(uid).map(|entity| &**entity)
    }

    /// The ids of the entities of a type, in order: those after `after`.
    pub(crate) fn of_type(
        &self,
        kind: &EntityType,
        after: Option<&str>,
    ) -> impl Iterator<Item = String> {
        let mut ids: Vec<String> = self
            .by_uid
            .keys()
            .filter(|uid| uid.entity_type() == kind)
            .map(|uid| -> &str { uid.eid().as_ref() })
            .filter(|id| after.is_none_or(|after| *id > after))
            .map(str::to_owned)
            .collect();
        ids.sort_unstable();
        ids.into_iter()
    }

    /// How many entities it holds, the actions of the schema included.
    pub(crate) fn len(&self) -> usize {
        self.by_uid.len()
    }
}
