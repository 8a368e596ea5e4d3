//! What a schema says of entities, looked up once.
//!
//! Cedar's own view of a schema makes the description of a type anew, from all types, for every
//! entity and for every name of one. This one keeps them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use cedar_policy::Schema;
use cedar_policy_core::ast::{Eid, Entity, EntityType, EntityUID, UnreservedId};
use cedar_policy_core::entities::conformance::EntitySchemaConformanceChecker;
use cedar_policy_core::entities::conformance::err::EntitySchemaConformanceError;
use cedar_policy_core::entities::{self, SchemaType};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;
use nonempty::NonEmpty;
use smol_str::SmolStr;

/// The entity types and the actions of a schema.
pub(crate) struct Types {
    kinds: HashMap<EntityType, Described>,
    actions: HashMap<EntityUID, Arc<Entity>>,
}

/// What a schema says of one type.
#[derive(Clone)]
pub(crate) struct Described(Arc<Description>);

type Description = <CoreSchema<'static> as entities::Schema>::EntityTypeDescription;

// === impl Types ===

impl Types {
    pub(crate) fn of(schema: &Schema) -> Self {
        use entities::Schema as _;
        let core = CoreSchema::new(schema.as_ref());
        let kinds = schema.entity_types().filter_map(|kind| {
            let kind: &EntityType = kind.as_ref();
            Some((kind.clone(), Described(Arc::new(core.entity_type(kind)?))))
        });
        let actions = core.action_entities();
        Self {
            kinds: kinds.collect(),
            actions: actions
                .map(|action: Arc<Entity>| (action.uid().clone(), action))
                .collect(),
        }
    }

    /// Holds an entity to the schema.
    ///
    /// # Errors
    /// When its type, an attribute, a tag, a parent or its id is none that the schema knows there,
    /// and when it is an action but not what the schema says of it.
    pub(crate) fn check(&self, entity: &Entity) -> Result<(), Box<EntitySchemaConformanceError>> {
        let checker = EntitySchemaConformanceChecker::new(self, Extensions::all_available());
        if !entity.uid().is_action() {
            return checker.validate_entity(entity).map_err(Box::new);
        }
        // It may name its parents only, and their parents are as the schema says.
        let mut whole = entity.clone();
        for parent in entity.ancestors() {
            for above in self
                .actions
                .get(parent)
                .into_iter()
                .flat_map(|parent| parent.ancestors())
            {
                whole.add_indirect_ancestor(above.clone());
            }
        }
        checker.validate_action(&whole).map_err(Box::new)
    }

    /// Every action, with its ancestors.
    pub(crate) fn actions(&self) -> impl Iterator<Item = &Entity> {
        self.actions.values().map(|action| &**action)
    }

    /// Whether the ids of a type are listed in the schema, and so need not be stored to exist.
    pub(crate) fn is_enumerated(&self, kind: &EntityType) -> bool {
        use entities::EntityTypeDescription as _;
        let described = self.kinds.get(kind);
        described.is_some_and(|described| described.enum_entity_eids().is_some())
    }
}

impl fmt::Debug for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}

impl entities::Schema for Types {
    type EntityTypeDescription = Described;
    type ActionEntityIterator = Vec<Arc<Entity>>;

    fn entity_type(&self, kind: &EntityType) -> Option<Described> {
        self.kinds.get(kind).cloned()
    }

    fn action(&self, action: &EntityUID) -> Option<Arc<Entity>> {
        self.actions.get(action).cloned()
    }

    fn entity_types_with_basename<'a>(
        &'a self,
        basename: &'a UnreservedId,
    ) -> Box<dyn Iterator<Item = EntityType> + 'a> {
        let kinds = self.kinds.keys();
        Box::new(
            kinds
                .filter(move |kind| kind.name().basename() == *basename)
                .cloned(),
        )
    }

    fn action_entities(&self) -> Vec<Arc<Entity>> {
        self.actions.values().cloned().collect()
    }
}

impl entities::EntityTypeDescription for Described {
    fn entity_type(&self) -> EntityType {
        self.0.entity_type()
    }

    fn attr_type(&self, name: &str) -> Option<SchemaType> {
        self.0.attr_type(name)
    }

    fn tag_type(&self) -> Option<SchemaType> {
        self.0.tag_type()
    }

    fn required_attrs<'s>(&'s self) -> Box<dyn Iterator<Item = SmolStr> + 's> {
        self.0.required_attrs()
    }

    fn allowed_parent_types(&self) -> Arc<HashSet<EntityType>> {
        self.0.allowed_parent_types()
    }

    fn open_attributes(&self) -> bool {
        self.0.open_attributes()
    }

    fn enum_entity_eids(&self) -> Option<&NonEmpty<Eid>> {
        self.0.enum_entity_eids()
    }

    fn is_external(&self) -> bool {
        self.0.is_external()
    }
}
