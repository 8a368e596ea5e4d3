//! The part of the entities that one question can see, with the question's own laid over it.
//!
//! The answer is the same as over everything stored with the question's entities in place of the
//! stored ones; the cost is that of what the policies look at.

use cedar_policy_core::ast::Entity;

use crate::entities::{Entities, View, ViewError};
use crate::types::Types;

/// What a question sees that brings `given`. These are held to the schema, whose `types` these are;
/// actions among them must be what the schema says they are, and then the stored ones, which came
/// from the schema, serve.
///
/// # Errors
/// When the given entities cannot be used.
pub(crate) fn view<'a>(
    entities: &'a Entities,
    types: Option<&Types>,
    given: &[cedar_policy::Entity],
) -> Result<View<'a>, ViewError> {
    if given.is_empty() {
        return Ok(View::of(entities));
    }
    let given = given.iter().map(<_ as AsRef<Entity>>::as_ref);
    let Some(types) = types else {
        return View::with(entities, given);
    };
    for entity in given.clone() {
        types
            .check(entity)
            .map_err(|error| ViewError::OutsideSchema(error.to_string()))?;
    }
    View::with(entities, given.filter(|entity| !entity.uid().is_action()))
}

#[cfg(test)]
mod tests;
