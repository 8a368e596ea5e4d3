//! What is made of sources, until it takes the place of what decides.

use std::path::PathBuf;
use std::sync::Arc;

use settings::Problem;

use super::Failed;
use super::entities::{self, Changes, Input, Names};
use crate::entities::{Draft, Entities};
use crate::snapshot::{Rulebook, Snapshot};
use crate::types::Types;

/// What was made of the sources: the next snapshot, but for the entities, which may change until it
/// takes their place.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) rulebook: Arc<Rulebook>,
    pub(super) entities: MadeEntities,
}

/// What becomes of the stored entities.
#[derive(Debug)]
pub(super) enum MadeEntities {
    /// Those that are stored.
    Same,
    /// `base`, or those that are stored, with changes.
    Changed {
        base: Option<Entities>,
        changes: Changes,
        path: PathBuf,
    },
}

// === impl MadeEntities ===

impl MadeEntities {
    pub(super) fn changes(&self) -> Option<&Changes> {
        match self {
            Self::Same => None,
            Self::Changed { changes, .. } => Some(changes),
        }
    }
}

// === impl Made ===

impl Made {
    /// The next snapshot after `current`.
    ///
    /// # Errors
    /// When the entities do not go together.
    pub(crate) fn onto(self, current: Option<&Snapshot>) -> Result<Snapshot, Vec<Problem>> {
        let Self { rulebook, entities } = self;
        let (entities, warnings) = match (entities, current) {
            (MadeEntities::Same, Some(current)) => {
                (current.entities().clone(), current.of_entities().to_vec())
            }
            (MadeEntities::Same, None) => Default::default(),
            (
                MadeEntities::Changed {
                    base,
                    changes,
                    path,
                },
                current,
            ) => {
                let none = Entities::default();
                let stored = base.as_ref().or(current.map(Snapshot::entities));
                changes.onto(stored.unwrap_or(&none), &path, rulebook.types.as_deref())?
            }
        };
        Ok(Snapshot::new(rulebook, entities, warnings))
    }
}

/// What becomes of the stored entities. They are read again when their file or the schema changed.
pub(super) fn make_entities(
    input: Option<Input<'_>>,
    types: Option<Arc<Types>>,
    rulebook: Option<&Rulebook>,
    before: Option<(&Snapshot, bool)>,
) -> Result<MadeEntities, Failed> {
    let same_types = |snapshot: &Snapshot| match (&snapshot.rulebook().types, &types) {
        (None, None) => true,
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        _ => false,
    };
    let path = input.map_or_else(PathBuf::new, |input| input.path().to_owned());
    let types = types.as_deref();
    let (base, changes) = match (before, input) {
        (Some((snapshot, same_file)), _) if same_types(snapshot) && same_file => {
            return Ok(MadeEntities::Same);
        }
        (Some((snapshot, _)), Some(input)) if same_types(snapshot) => (
            None,
            entities::read(input, types, snapshot.entities(), rulebook)?,
        ),
        (_, Some(input)) => {
            let base = actions_of(types, rulebook)?;
            let changes = entities::read(input, types, &base, rulebook)?;
            (Some(base), changes)
        }
        // What was stored otherwise has to fit the new schema.
        (Some((snapshot, _)), None) => {
            let changes = Changes::of(snapshot.entities(), types)?;
            (Some(actions_of(types, rulebook)?), changes)
        }
        (None, None) => (Some(actions_of(types, rulebook)?), Changes::default()),
    };
    Ok(MadeEntities::Changed {
        base,
        changes,
        path,
    })
}

/// The actions of the schema alone.
fn actions_of(types: Option<&Types>, rulebook: Option<&Rulebook>) -> Result<Entities, Failed> {
    let mut names = Names::new(None, rulebook, None);
    let actions = types.map(|types| {
        let actions = types.actions();
        let drafts = actions.map(|action| Draft::named(action, &mut |uid| names.name(uid)));
        drafts.collect::<Result<Vec<Draft>, _>>()
    });
    let failed = |message: String| Failed::from(vec![Problem::of_file("".as_ref(), message)]);
    let actions = actions
        .transpose()
        .map_err(|error| failed(error.to_string()))?;
    Entities::new(Vec::new(), actions).map_err(|error| failed(error.to_string()))
}
