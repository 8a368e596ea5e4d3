//! The context of a question: what the schema declares of it, and what it may not leave out.

use cedar_policy::{Context, EntityUid};
use identity::Identity;
use identity::config::Kind;
use pdp::{ContextKind, ContextShape, Snapshot};

use super::forbid;
use crate::context::{Facts, ON_BEHALF_OF, WORKLOAD};
use crate::rejection::{Reason, Rejection};

/// The facts that an action asks for.
pub(super) fn context(
    action: &EntityUid,
    facts: &Facts<'_>,
    snapshot: &Snapshot,
) -> Result<Context, Rejection> {
    let context = match (snapshot.schema(), snapshot.context_shape(action)) {
        (_, Some(shape)) => {
            check_acting(shape, facts)?;
            check_workload(shape, facts)?;
            facts.declared(shape)
        }
        (None, None) => facts.all(),
        // An action outside the schema: the decision point says so.
        (Some(_), None) => return Ok(Context::empty()),
    };
    context.map_err(|error| forbid(format!("no context: {error}")))
}

/// Whether the user that a service acts for is what the action's schema asks for: there where it must be, and of the
/// type that it declares. Left out, the context would say that the service acts for nobody.
fn check_acting(shape: &ContextShape, facts: &Facts<'_>) -> Result<(), Rejection> {
    let Some(declared) = shape.get(ON_BEHALF_OF) else {
        return Ok(());
    };
    match (facts.on_behalf_of, &declared.kind) {
        (None, _) if declared.required && is_service(facts.token) => {
            Err(Rejection::new(Reason::ActorRequired))
        }
        (Some(user), kind) if *kind != ContextKind::Entity(user.type_name().clone()) => Err(
            forbid("the schema declares another type for `on_behalf_of`"),
        ),
        _ => Ok(()),
    }
}

/// Whether the workload is of the type that the action's schema declares. Left out, the context would say that the request
/// came from nowhere in the mesh.
fn check_workload(shape: &ContextShape, facts: &Facts<'_>) -> Result<(), Rejection> {
    match (shape.get(WORKLOAD), facts.workload) {
        (Some(declared), Some(workload))
            if declared.kind != ContextKind::Entity(workload.type_name().clone()) =>
        {
            Err(forbid("the schema declares another type for `workload`"))
        }
        _ => Ok(()),
    }
}

fn is_service(token: Option<&Identity>) -> bool {
    token.is_some_and(|token| token.kind == Kind::Service)
}
