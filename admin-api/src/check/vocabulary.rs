//! The words of a schema: which actions, entity types and attributes there are.

use std::collections::BTreeSet;

use cedar_policy::{EntityTypeName, EntityUid, Schema};
use cedar_policy_core::validator::ValidatorSchema;
use cedar_policy_core::validator::types::Type;

/// How many names a message lists at most.
const LISTED: usize = 12;

/// The words of one schema.
pub(super) struct Vocabulary<'a> {
    schema: &'a Schema,
}

/// What values an attribute takes, as far as a token or a path can give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttributeKind {
    String,
    Long,
    Bool,
    Strings,
    /// A record, an entity, an extension type, or a set of something else.
    Other,
}

/// One attribute that an entity type declares.
pub(super) struct Attribute {
    pub(super) kind: AttributeKind,
    pub(super) required: bool,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self { schema }
    }

    pub(super) fn has_type(&self, name: &EntityTypeName) -> bool {
        self.schema.entity_types().any(|known| known == name)
    }

    pub(super) fn has_action(&self, action: &EntityUid) -> bool {
        self.schema.actions().any(|known| known == action)
    }

    /// The actions that a request can name, in the order of their names.
    pub(super) fn askable_actions(&self) -> BTreeSet<&'a EntityUid> {
        self.schema
            .actions()
            .filter(|action| !self.resources(action).is_empty())
            .collect()
    }

    pub(super) fn principals(&self, action: &EntityUid) -> BTreeSet<&'a EntityTypeName> {
        self.schema
            .principals_for_action(action)
            .into_iter()
            .flatten()
            .collect()
    }

    pub(super) fn resources(&self, action: &EntityUid) -> BTreeSet<&'a EntityTypeName> {
        self.schema
            .resources_for_action(action)
            .into_iter()
            .flatten()
            .collect()
    }

    /// The types that entities of this type may be members of.
    pub(super) fn groups(&self, of: &EntityTypeName) -> BTreeSet<EntityTypeName> {
        // `ancestors` ties the name's lifetime to the answer's.
        self.schema
            .ancestors(of)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// An attribute of an entity type, when it declares it.
    pub(super) fn attribute(&self, of: &EntityTypeName, name: &str) -> Option<Attribute> {
        let attribute = self.core().get_entity_type(of.as_ref())?.attr(name)?;
        Some(Attribute {
            kind: AttributeKind::of(&attribute.attr_type),
            required: attribute.is_required,
        })
    }

    /// The names of the attributes that an entity type declares.
    pub(super) fn attributes(&self, of: &EntityTypeName) -> Vec<String> {
        self.core()
            .get_entity_type(of.as_ref())
            .into_iter()
            .flat_map(|entity_type| entity_type.attributes().iter())
            .map(|(name, _)| name.to_string())
            .collect()
    }

    /// The attributes without which no entity of this type is valid.
    pub(super) fn required(&self, of: &EntityTypeName) -> Vec<String> {
        let mut names = self.attributes(of);
        names.retain(|name| {
            self.attribute(of, name)
                .is_some_and(|attribute| attribute.required)
        });
        names
    }

    /// The namespaces of types and actions; the empty one is none.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        self.schema
            .entity_types()
            .map(EntityTypeName::namespace)
            .chain(
                self.schema
                    .actions()
                    .map(|action| action.type_name().namespace()),
            )
            .filter(|namespace| !namespace.is_empty())
            .collect()
    }

    /// `; did you mean …?` with the known action that a wrong one was most likely meant to be.
    pub(super) fn action_hint(&self, wrong: &EntityUid) -> String {
        let actions = self.askable_actions();
        if let Some(known) = actions.iter().find(|known| known.id() == wrong.id()) {
            let namespace = known.type_name().namespace();
            let how = match (namespace.as_str(), wrong.type_name().namespace().as_str()) {
                ("", _) => ", which is in no namespace".to_owned(),
                (_, "") => format!(" (set `policies.namespace: {namespace}`)"),
                _ => String::new(),
            };
            return format!("; did you mean `{known}`{how}?");
        }
        hint(
            wrong.id().unescaped(),
            actions
                .iter()
                .map(|known| known.id().unescaped().to_owned()),
        )
    }

    /// `; did you mean …?` with the known type that a wrong one was most likely meant to be.
    pub(super) fn type_hint(&self, wrong: &EntityTypeName) -> String {
        if let Some(known) = self
            .schema
            .entity_types()
            .find(|known| known.basename() == wrong.basename())
        {
            return format!("; did you mean `{known}`?");
        }
        hint(
            &wrong.to_string(),
            self.schema.entity_types().map(ToString::to_string),
        )
    }

    fn core(&self) -> &'a ValidatorSchema {
        self.schema.as_ref()
    }
}

impl AttributeKind {
    fn of(attribute: &Type) -> Self {
        match attribute {
            Type::String => Self::String,
            Type::Long => Self::Long,
            Type::Bool(_) => Self::Bool,
            Type::Set {
                element_type: Some(element),
            } if **element == Type::String => Self::Strings,
            _ => Self::Other,
        }
    }
}

/// `; did you mean …?`, when a known name is only a slip away.
pub(super) fn hint(wrong: &str, known: impl Iterator<Item = String>) -> String {
    known
        .map(|known| (strsim::osa_distance(wrong, &known), known))
        .filter(|(distance, known)| *distance * 3 <= known.chars().count())
        .min()
        .map(|(_, known)| format!("; did you mean `{known}`?"))
        .unwrap_or_default()
}

/// Names in backticks, separated by commas.
pub(super) fn listed<T: ToString>(names: &[T]) -> String {
    let mut text = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{}`", name.to_string()))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > LISTED {
        text.push_str(", …");
    }
    text
}
