//! Whether a request surely fits the schema.
//!
//! Cedar's own check builds expressions of the whole context and takes longer than the decision. What
//! surely fits is told here, from what was worked out when the schema was loaded; of everything else
//! Cedar is asked, which then says why it does not fit, or that it does.

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};

use cedar_policy_core::ast::{self, EntityType, Literal, RestrictedExpr, ValueKind};
use cedar_policy_core::entities::{ContextSchema as _, SchemaType};
use cedar_policy_core::evaluator::RestrictedEvaluator;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::{
    ValidatorActionId, ValidatorEntityTypeKind, ValidatorSchema, context_schema_for_action,
};
use smol_str::SmolStr;

use super::Asked;
use crate::uid::{ByUid, Uid};

/// What fits, by action.
#[derive(Debug, Default)]
pub(crate) struct RequestCheck {
    actions: HashMap<Uid, Applies, ByUid>,
}

/// What one action applies to.
#[derive(Debug)]
struct Applies {
    principals: Box<[EntityType]>,
    resources: Box<[EntityType]>,
    context: Members,
}

/// The attributes that a record may have.
#[derive(Debug, Default)]
struct Members {
    by_name: BTreeMap<SmolStr, Member>,
    /// How many must be there.
    required: usize,
}

#[derive(Debug)]
struct Member {
    kind: Kind,
    required: bool,
}

/// The type of a value.
#[derive(Debug)]
enum Kind {
    Bool,
    Long,
    String,
    Entity(EntityType),
    /// By what its values are in memory.
    Extension(TypeId),
    Set(Box<Kind>),
    Record(Members),
    /// Only Cedar can tell.
    Unsure,
}

// === impl RequestCheck ===

impl RequestCheck {
    pub(crate) fn new(schema: &ValidatorSchema) -> Self {
        let actions = schema.action_ids();
        Self {
            actions: actions
                .map(|action| (Uid::of(action.name()), Applies::new(action, schema)))
                .collect(),
        }
    }

    /// Whether the request surely fits. If not, it may still.
    pub(crate) fn surely_fits(&self, asked: &Asked<'_>) -> bool {
        let applies = self.actions.get(&asked.action);
        let (Some(applies), ast::Context::Value(context)) = (applies, asked.context) else {
            return false;
        };
        applies.principals.contains(asked.principal_kind)
            && applies.resources.contains(asked.resource_kind)
            && applies.context.fit(context)
    }
}

// === impl Applies ===

impl Applies {
    fn new(action: &ValidatorActionId, schema: &ValidatorSchema) -> Self {
        let plain = |kinds: &mut dyn Iterator<Item = &EntityType>| {
            kinds
                .filter(|kind| is_plain(kind, schema))
                .cloned()
                .collect()
        };
        let context = context_schema_for_action(schema, action.name())
            .map(|context| Kind::new(&context.context_type(), schema));
        let (principals, context) = match context {
            Some(Kind::Record(members)) => (plain(&mut action.applies_to_principals()), members),
            // Then nothing surely fits.
            _ => (Box::default(), Members::default()),
        };
        Self {
            principals,
            resources: plain(&mut action.applies_to_resources()),
            context,
        }
    }
}

// === impl Members ===

impl Members {
    fn fit(&self, record: &BTreeMap<SmolStr, ast::Value>) -> bool {
        let mut required = 0;
        for (name, value) in record {
            match self.by_name.get(name) {
                Some(member) if member.kind.fits(value) => {
                    required += usize::from(member.required);
                }
                _ => return false,
            }
        }
        required == self.required
    }
}

// === impl Kind ===

impl Kind {
    fn new(kind: &SchemaType, schema: &ValidatorSchema) -> Self {
        match kind {
            SchemaType::Bool => Self::Bool,
            SchemaType::Long => Self::Long,
            SchemaType::String => Self::String,
            SchemaType::Set { element_ty } => Self::Set(Box::new(Self::new(element_ty, schema))),
            SchemaType::Entity { ty } if is_plain(ty, schema) => Self::Entity(ty.clone()),
            SchemaType::Extension { name } => match name.to_string().as_str() {
                "ipaddr" => Self::extension("ip", "::1"),
                "decimal" => Self::extension("decimal", "0.0"),
                "datetime" => Self::extension("datetime", "1970-01-01"),
                "duration" => Self::extension("duration", "0ms"),
                _ => Self::Unsure,
            },
            SchemaType::Record {
                attrs,
                open_attrs: false,
            } => {
                let member = |member: &cedar_policy_core::entities::AttributeType| Member {
                    kind: Self::new(member.schema_type(), schema),
                    required: member.is_required(),
                };
                let by_name: BTreeMap<SmolStr, Member> = attrs
                    .iter()
                    .map(|(name, of)| (name.clone(), member(of)))
                    .collect();
                let required = by_name.values().filter(|member| member.required).count();
                Self::Record(Members { by_name, required })
            }
            SchemaType::Entity { .. } | SchemaType::EmptySet | SchemaType::Record { .. } => {
                Self::Unsure
            }
        }
    }

    /// The type of what `constructor` makes of `text`.
    fn extension(constructor: &str, text: &str) -> Self {
        let extensions = Extensions::all_available();
        let sample = constructor.parse().ok().and_then(|constructor| {
            let call = RestrictedExpr::call_extension_fn(constructor, [RestrictedExpr::val(text)]);
            RestrictedEvaluator::new(extensions)
                .interpret(call.as_borrowed())
                .ok()
        });
        match sample.as_ref().map(ast::Value::value_kind) {
            Some(ValueKind::ExtensionValue(value)) => {
                Self::Extension(value.value().as_any().type_id())
            }
            _ => Self::Unsure,
        }
    }

    fn fits(&self, value: &ast::Value) -> bool {
        match (self, value.value_kind()) {
            (Self::Bool, ValueKind::Lit(Literal::Bool(_)))
            | (Self::Long, ValueKind::Lit(Literal::Long(_)))
            | (Self::String, ValueKind::Lit(Literal::String(_))) => true,
            (Self::Entity(kind), ValueKind::Lit(Literal::EntityUID(uid))) => {
                uid.entity_type() == kind
            }
            (Self::Extension(kind), ValueKind::ExtensionValue(value)) => {
                value.value().as_any().type_id() == *kind
            }
            (Self::Set(kind), ValueKind::Set(set)) => set.iter().all(|member| kind.fits(member)),
            (Self::Record(members), ValueKind::Record(record)) => members.fit(record),
            _ => false,
        }
    }
}

/// Whether every entity of the type fits wherever the type does: one of a list may not be listed, and
/// an action not declared.
fn is_plain(kind: &EntityType, schema: &ValidatorSchema) -> bool {
    let declared = schema.get_entity_type(kind);
    !kind.is_action()
        && declared
            .is_some_and(|declared| matches!(declared.kind, ValidatorEntityTypeKind::Standard(_)))
}

#[cfg(test)]
mod tests;
