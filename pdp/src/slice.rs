//! The part of the entities that one question can see, with the question's own laid over it.
//!
//! The answer is the same as over everything stored with the question's entities in place of the
//! stored ones; the cost is that of what the policies look at.

use cedar_policy::Schema;
use cedar_policy_core::ast::Entity;
use cedar_policy_core::entities::conformance::EntitySchemaConformanceChecker;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;

use crate::entities::{Entities, View, ViewError};
use crate::uid::Uid;

/// What a question sees that brings `given`. These are held to `schema`; actions among them must be
/// what the schema says they are, and then the stored ones, which came from the schema, serve.
///
/// # Errors
/// When the given entities cannot be used.
pub(crate) fn view<'a>(
    entities: &'a Entities,
    schema: Option<&Schema>,
    given: &[cedar_policy::Entity],
) -> Result<View<'a>, ViewError> {
    if given.is_empty() {
        return Ok(View::of(entities));
    }
    let given = || given.iter().map(AsRef::as_ref);
    let Some(schema) = schema else {
        return View::with(entities, given());
    };
    let core = CoreSchema::new(schema.as_ref());
    let checker = EntitySchemaConformanceChecker::new(&core, Extensions::all_available());
    let outside = |error: &dyn std::fmt::Display| ViewError::OutsideSchema(error.to_string());
    let is_action = |entity: &&Entity| entity.uid().is_action();
    for entity in given().filter(|entity| !is_action(entity)) {
        checker
            .validate_entity(entity)
            .map_err(|error| outside(&error))?;
    }
    if given().any(|entity| is_action(&entity)) {
        let all = View::with(entities, given())?;
        for action in given().filter(is_action) {
            if let Some(closed) = all.entity(&Uid::of(action.uid())) {
                checker
                    .validate_action(&closed.to_cedar())
                    .map_err(|error| outside(&error))?;
            }
        }
    }
    View::with(entities, given().filter(|entity| !is_action(entity)))
}

#[cfg(test)]
mod tests;
