//! The stored entities.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{Schema, entities_errors::EntitiesError};
use cedar_policy_core::ast::{Entity, EntityUID, Literal, PartialValue, Value, ValueKind};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;

/// Every stored entity with all of its ancestors, and the actions of the schema.
#[derive(Debug)]
pub(crate) struct EntityStore {
    by_uid: HashMap<EntityUID, Stored>,
    /// The same entities as the evaluator wants them, for questions that bring none of their own.
    all: Entities,
}

/// One stored entity.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) entity: Arc<Entity>,
    /// The entities that its attributes and tags name: what a policy can reach through it.
    pub(crate) names: Box<[EntityUID]>,
}

// === impl EntityStore ===

impl EntityStore {
    /// Computes the ancestors of every entity and adds the actions of the schema, without which
    /// action groups would silently hold nothing.
    ///
    /// # Errors
    /// On two different entities with one uid, on a cycle, and on an entity outside the schema.
    pub(crate) fn new(
        entities: Vec<Entity>,
        schema: Option<&Schema>,
    ) -> Result<Self, Box<EntitiesError>> {
        let core = schema.map(|schema| CoreSchema::new(schema.as_ref()));
        let closed = Entities::from_entities(
            entities,
            core.as_ref(),
            TCComputation::ComputeNow,
            Extensions::all_available(),
        )
        .map_err(Box::new)?;
        let shared: Vec<Arc<Entity>> = closed.into_iter().map(Arc::new).collect();
        let all = assemble(shared.iter().map(Arc::clone))?;
        let by_uid = shared
            .into_iter()
            .map(|entity| {
                let names = named_by(&entity).into_boxed_slice();
                (entity.uid().clone(), Stored { entity, names })
            })
            .collect();
        Ok(Self { by_uid, all })
    }

    pub(crate) fn get(&self, uid: &EntityUID) -> Option<&Stored> {
        self.by_uid.get(uid)
    }

    pub(crate) fn all(&self) -> &Entities {
        &self.all
    }

    /// How many entities it holds, the actions of the schema included.
    pub(crate) fn len(&self) -> usize {
        self.by_uid.len()
    }
}

/// Entities whose ancestors are complete, as the evaluator wants them.
pub(crate) fn assemble(
    entities: impl IntoIterator<Item = Arc<Entity>>,
) -> Result<Entities, Box<EntitiesError>> {
    Entities::new()
        .add_entities(
            entities,
            None::<&NoEntitiesSchema>,
            TCComputation::AssumeAlreadyComputed,
            Extensions::all_available(),
        )
        .map_err(Box::new)
}

/// The entities that the attributes and tags of `entity` name.
pub(crate) fn named_by(entity: &Entity) -> Vec<EntityUID> {
    let mut names = Vec::new();
    for (_, value) in entity.attrs().chain(entity.tags()) {
        // A residual holds an unknown, and nothing here makes unknowns.
        if let PartialValue::Value(value) = value {
            collect_names(value, &mut names);
        }
    }
    names
}

/// Adds the entities that `value` names. Recursion is bounded by the nesting limit of the JSON that
/// the value was read from.
pub(crate) fn collect_names(value: &Value, names: &mut Vec<EntityUID>) {
    match value.value_kind() {
        ValueKind::Lit(Literal::EntityUID(uid)) => names.push(EntityUID::clone(uid)),
        ValueKind::Lit(_) | ValueKind::ExtensionValue(_) => {}
        ValueKind::Set(set) => set.iter().for_each(|member| collect_names(member, names)),
        ValueKind::Record(record) => record
            .values()
            .for_each(|member| collect_names(member, names)),
    }
}
