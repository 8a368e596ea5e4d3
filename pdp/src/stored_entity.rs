//! A stored entity, as others see it.

use cedar_policy::{Entity, EntityUid};
use cedar_policy_core::ast::{EntityUID, Value};
use smol_str::SmolStr;

use crate::entities::Stored;
use crate::uid::Uid;

/// A stored entity. What is taken from it is converted when it is taken.
#[derive(Debug, Clone, Copy)]
pub struct StoredEntity<'a>(pub(crate) &'a Stored);

// === impl StoredEntity ===

impl<'a> StoredEntity<'a> {
    /// Its name.
    #[must_use]
    pub fn uid(&self) -> EntityUid {
        self.0.uid.to_cedar().into()
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Value> {
        Some(self.0.attributes.get(name)?.to_cedar())
    }

    /// Its tags.
    pub fn tags(&self) -> impl Iterator<Item = (SmolStr, Value)> + use<'a> {
        self.0.tags.to_cedar()
    }

    /// The entities directly above it.
    pub fn parents(&self) -> impl Iterator<Item = EntityUID> + use<'a> {
        self.0.parents().iter().map(Uid::to_cedar)
    }

    /// The whole of it, with all of its ancestors.
    #[must_use]
    pub fn to_entity(&self) -> Entity {
        self.0.to_cedar().into()
    }
}
