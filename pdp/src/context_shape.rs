//! Which context an action declares, and which attributes an entity type.

use std::collections::BTreeMap;

use cedar_policy::{EntityTypeName, EntityUid, Schema};
use cedar_policy_core::entities::{ContextSchema, SchemaType};
use cedar_policy_core::validator::context_schema_for_action;
use cedar_policy_core::validator::types::Type;

/// The context attributes that an action declares, so that an enforcement point builds these and no
/// others: Cedar refuses a context with an attribute that the schema does not declare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextShape(BTreeMap<String, ContextMember>);

/// One declared attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextMember {
    /// Its type.
    pub kind: ContextKind,
    /// Whether a question without it is refused.
    pub required: bool,
}

/// The type of a context attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextKind {
    /// `Bool`
    Bool,
    /// `Long`: 64 bits, signed
    Long,
    /// `String`
    String,
    /// `ipaddr`: an address or a range
    Ip,
    /// `decimal`: four digits after the point
    Decimal,
    /// `datetime`: milliseconds since the Unix epoch
    Datetime,
    /// `duration`: milliseconds
    Duration,
    /// An entity of this type.
    Entity(EntityTypeName),
    /// A set of values of one type.
    Set(Box<ContextKind>),
    /// A record with these attributes.
    Record(ContextShape),
}

// === impl ContextShape ===

impl ContextShape {
    /// The context that `action` declares; `None` when the schema does not know the action.
    pub(crate) fn of(schema: &Schema, action: &EntityUid) -> Option<Self> {
        let context = context_schema_for_action(schema.as_ref(), action.as_ref())?;
        match ContextKind::of(&context.context_type())? {
            ContextKind::Record(shape) => Some(shape),
            _ => None,
        }
    }

    /// The attributes that entities of type `name` declare; `None` when the schema does not know the
    /// type.
    pub(crate) fn of_entities(schema: &Schema, name: &EntityTypeName) -> Option<Self> {
        let declared = schema.as_ref().get_entity_type(name.as_ref())?;
        let members = declared
            .attributes()
            .iter()
            .filter_map(|(name, attribute)| {
                let schema_type = SchemaType::try_from(Type::clone(&attribute.attr_type)).ok()?;
                let kind = ContextKind::of(&schema_type)?;
                let required = attribute.is_required;
                Some((name.to_string(), ContextMember { kind, required }))
            });
        Some(Self(members.collect()))
    }

    /// The declared attribute of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ContextMember> {
        self.0.get(name)
    }

    /// Whether no attribute is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The declared attributes, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ContextMember)> {
        self.0.iter().map(|(name, member)| (name.as_str(), member))
    }
}

// === impl ContextKind ===

impl ContextKind {
    /// `None` for a type that no value can be built of here.
    fn of(schema_type: &SchemaType) -> Option<Self> {
        Some(match schema_type {
            SchemaType::Bool => Self::Bool,
            SchemaType::Long => Self::Long,
            SchemaType::String => Self::String,
            SchemaType::Set { element_ty } => Self::Set(Box::new(Self::of(element_ty)?)),
            SchemaType::EmptySet => return None,
            SchemaType::Entity { ty } => Self::Entity(EntityTypeName::from(ty.clone())),
            SchemaType::Extension { name } => match name.to_string().as_str() {
                "ipaddr" => Self::Ip,
                "decimal" => Self::Decimal,
                "datetime" => Self::Datetime,
                "duration" => Self::Duration,
                _ => return None,
            },
            SchemaType::Record { attrs, .. } => Self::Record(ContextShape(
                attrs
                    .iter()
                    .filter_map(|(name, attribute)| {
                        let kind = Self::of(attribute.schema_type())?;
                        let required = attribute.is_required();
                        Some((name.to_string(), ContextMember { kind, required }))
                    })
                    .collect(),
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_attributes_are_known_by_name_and_type() {
        let (schema, _) = Schema::from_cedarschema_str(
            r#"entity User;
               action view appliesTo { principal: User, resource: User, context: {
                 now: datetime, http?: { client_ip: ipaddr, tags: Set<String> }, on_behalf_of?: User
               }};
               action bare appliesTo { principal: User, resource: User };"#,
        )
        .unwrap();
        let action = |id: &str| format!("Action::\"{id}\"").parse::<EntityUid>().unwrap();
        let shape = ContextShape::of(&schema, &action("view")).unwrap();
        assert_eq!(
            shape.get("now"),
            Some(&ContextMember {
                kind: ContextKind::Datetime,
                required: true
            })
        );
        let Some(ContextMember {
            kind: ContextKind::Record(http),
            required: false,
        }) = shape.get("http")
        else {
            panic!("http is an optional record");
        };
        assert_eq!(http.get("client_ip").unwrap().kind, ContextKind::Ip);
        assert_eq!(
            http.get("tags").unwrap().kind,
            ContextKind::Set(Box::new(ContextKind::String))
        );
        assert!(matches!(
            shape.get("on_behalf_of").unwrap().kind,
            ContextKind::Entity(_)
        ));
        assert!(shape.get("user_agent").is_none());
        assert!(
            ContextShape::of(&schema, &action("bare"))
                .unwrap()
                .is_empty()
        );
        assert!(ContextShape::of(&schema, &action("unknown")).is_none());
    }

    #[test]
    fn entities_declare_attributes_as_well() {
        let (schema, _) = Schema::from_cedarschema_str(
            "entity User { seen: datetime, boss?: User }; entity Bare;",
        )
        .unwrap();
        let shape = |name: &str| {
            ContextShape::of_entities(&schema, &name.parse::<EntityTypeName>().unwrap())
        };
        let user = shape("User").unwrap();
        assert_eq!(user.get("seen").unwrap().kind, ContextKind::Datetime);
        assert!(user.get("seen").unwrap().required);
        assert!(!user.get("boss").unwrap().required);
        assert!(shape("Bare").unwrap().is_empty());
        assert!(shape("Ship").is_none());
    }
}
