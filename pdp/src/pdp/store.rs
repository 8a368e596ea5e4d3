//! Entities are stored and taken away one by one, beside what files say.

use std::sync::Arc;

use cedar_policy::{Entity, EntityUid};

use super::Pdp;
use crate::entities::{Change, Draft};
use crate::one_line::one_line;
use crate::snapshot::Snapshot;

/// Entities that cannot be stored, or not be taken away.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct RefusedEntities {
    /// Why, naming the entity.
    pub message: String,
}

// === impl Pdp ===

impl Pdp {
    /// Stores entities, each in place of the one with its name. All of them at once, or none.
    /// Parents that are not stored are allowed. A file of entities that changes later takes the
    /// place of everything that was stored here.
    ///
    /// # Errors
    /// When an entity does not fit the schema, is given twice, or would be its own ancestor.
    pub fn upsert_entities(&self, entities: Vec<Entity>) -> Result<(), RefusedEntities> {
        self.change_entities(|snapshot| {
            let stored = snapshot.entities();
            let mut changes = Vec::with_capacity(entities.len());
            for entity in &entities {
                let entity = entity.as_ref();
                if let Some(types) = &snapshot.rulebook().types {
                    let refused = |error: &dyn std::fmt::Display| {
                        refused(&format!("entity `{}`: {error}", entity.uid()))
                    };
                    types.check(entity).map_err(|error| refused(&error))?;
                }
                let draft = Draft::named(entity, &mut |uid| stored.name(uid));
                changes.push(Change::Put(draft.map_err(|error| refused(&error))?));
            }
            Ok(changes)
        })
    }

    /// Takes stored entities away. Those that name one as their parent keep doing so. A name that is
    /// not stored is passed over.
    ///
    /// # Errors
    /// When one is given twice or is an action of the schema.
    pub fn remove_entities(&self, uids: &[EntityUid]) -> Result<(), RefusedEntities> {
        self.change_entities(|snapshot| {
            let names = uids
                .iter()
                .map(|uid| snapshot.entities().name(uid.as_ref()));
            Ok(names.map(Change::Remove).collect())
        })
    }

    fn change_entities(
        &self,
        changes: impl FnOnce(&Snapshot) -> Result<Vec<Change>, RefusedEntities>,
    ) -> Result<(), RefusedEntities> {
        let _writing = self.writing();
        let current = self.current.load();
        let changes = changes(&current)?;
        let entities = current.entities().with(changes);
        let entities = entities.map_err(|error| refused(&error))?;
        self.metrics.stored(entities.len());
        self.current.store(Arc::new(current.over(entities)));
        Ok(())
    }
}

fn refused(error: &dyn std::fmt::Display) -> RefusedEntities {
    RefusedEntities {
        message: one_line(&error.to_string()),
    }
}
