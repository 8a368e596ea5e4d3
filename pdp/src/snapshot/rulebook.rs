//! Policies and schema, made ready to decide.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{EntityTypeName, EntityUid, Schema};
use settings::Problem;

use crate::answer::Revision;
use crate::config::OnError;
use crate::context_shape::ContextShape;
use crate::engine::{Engine, RequestCheck};
use crate::load::Digests;
use crate::policies::Policies;
use crate::types::Types;
use crate::uid::Uid;
use crate::value::Naming;

/// Policies and schema, which stay the same while entities change.
#[derive(Debug)]
pub(crate) struct Rulebook {
    pub(crate) revision: Arc<str>,
    /// The same, for answers.
    pub(super) stamp: Revision,
    pub(crate) sources: Digests,
    pub(crate) policies: Policies,
    pub(crate) schema: Option<Schema>,
    pub(crate) types: Option<Arc<Types>>,
    /// What policies and schema could do better; not mistakes.
    pub(super) warnings: Vec<Problem>,
    pub(super) context_shapes: HashMap<EntityUid, ContextShape>,
    pub(super) entity_shapes: HashMap<EntityTypeName, ContextShape>,
    /// The height of the tallest policy.
    pub(super) height: usize,
    pub(super) on_error: OnError,
    /// What requests surely fit, where they are held to the schema.
    pub(super) check: Option<RequestCheck>,
    pub(super) engine: Engine,
}

/// What a rulebook is made of beside policies and schema.
pub(crate) struct Parts {
    pub(crate) revision: Arc<str>,
    pub(crate) sources: Digests,
    /// What the schema says of entities.
    pub(crate) types: Option<Arc<Types>>,
    pub(crate) warnings: Vec<Problem>,
    /// The height of the tallest policy.
    pub(crate) height: usize,
    pub(crate) on_error: OnError,
    /// Whether a request outside the schema is refused.
    pub(crate) check_requests: bool,
}

// === impl Rulebook ===

impl Rulebook {
    /// `naming` gives the names of entities, which are those of what is stored, if anything is.
    pub(crate) fn new(
        policies: Policies,
        schema: Option<Schema>,
        parts: Parts,
        naming: Naming<'_>,
    ) -> Self {
        let Parts {
            revision,
            sources,
            types,
            warnings,
            height,
            on_error,
            check_requests,
        } = parts;
        let context_shapes = schema.iter().flat_map(|schema| {
            schema
                .actions()
                .filter_map(|action| Some((action.clone(), ContextShape::of(schema, action)?)))
        });
        let entity_shapes = schema.iter().flat_map(|schema| {
            schema
                .entity_types()
                .filter_map(|name| Some((name.clone(), ContextShape::of_entities(schema, name)?)))
        });
        Self {
            context_shapes: context_shapes.collect(),
            entity_shapes: entity_shapes.collect(),
            engine: Engine::new(&policies, height, naming),
            check: schema
                .as_ref()
                .filter(|_| check_requests)
                .map(|schema| RequestCheck::new(schema.as_ref())),
            stamp: Revision::from(&*revision),
            revision,
            sources,
            policies,
            schema,
            types,
            warnings,
            height,
            on_error,
        }
    }

    /// The name as it is shared here, if a policy's scope names it.
    pub(crate) fn shared(&self, uid: &Uid) -> Option<&Uid> {
        self.engine.shared(uid)
    }
}
