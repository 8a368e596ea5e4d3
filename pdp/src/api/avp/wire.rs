//! What the service is asked, member for member as in its model.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::read::BATCH_ITEMS;
use super::value::{
    ACTION_ID, ACTION_TYPE, DATETIME, DECIMAL, DURATION, ENTITY_ID, ENTITY_TYPE, IP_ADDR,
    POLICY_STORE_ID, TOKEN,
};

/// What is read as an object only: derived readers would also take an array of the same values.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Object<T>(pub(super) T);

/// `IsAuthorized`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "IsAuthorizedInput")]
pub(super) struct Input {
    /// `default`, or one of the configured ids.
    #[schemars(required, length(min = POLICY_STORE_ID.min, max = POLICY_STORE_ID.max), regex(pattern = POLICY_STORE_ID.anchored()))]
    pub(super) policy_store_id: Option<String>,
    /// Who asks to act.
    #[schemars(required)]
    pub(super) principal: Option<Object<EntityIdentifier>>,
    /// What they ask to do.
    #[schemars(required)]
    pub(super) action: Option<Object<ActionIdentifier>>,
    /// What they ask to do it to.
    #[schemars(required)]
    pub(super) resource: Option<Object<EntityIdentifier>>,
    /// Facts of the moment.
    pub(super) context: Option<ContextDefinition>,
    /// Entities known to the caller. Each replaces the stored one whole, for this call only.
    pub(super) entities: Option<EntitiesDefinition>,
}

/// `BatchIsAuthorized`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BatchIsAuthorizedInput")]
pub(super) struct BatchInput {
    /// `default`, or one of the configured ids.
    #[schemars(required, length(min = POLICY_STORE_ID.min, max = POLICY_STORE_ID.max), regex(pattern = POLICY_STORE_ID.anchored()))]
    pub(super) policy_store_id: Option<String>,
    /// Entities known to the caller. Each replaces the stored one whole, for this call only.
    pub(super) entities: Option<EntitiesDefinition>,
    /// The questions, all of one principal or all of one resource.
    #[schemars(required, length(min = 1, max = BATCH_ITEMS))]
    pub(super) requests: Option<Vec<Object<Item>>>,
}

/// `IsAuthorizedWithToken`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "IsAuthorizedWithTokenInput")]
pub(super) struct TokenInput {
    /// `default`, or one of the configured ids.
    #[schemars(required, length(min = POLICY_STORE_ID.min, max = POLICY_STORE_ID.max), regex(pattern = POLICY_STORE_ID.anchored()))]
    pub(super) policy_store_id: Option<String>,
    /// Says who asks to act. Required unless there is an access token.
    #[schemars(length(min = TOKEN.min, max = TOKEN.max), regex(pattern = TOKEN.anchored()))]
    pub(super) identity_token: Option<String>,
    /// Says what they may do, and who they are where there is no identity token.
    #[schemars(length(min = TOKEN.min, max = TOKEN.max), regex(pattern = TOKEN.anchored()))]
    pub(super) access_token: Option<String>,
    /// What they ask to do.
    #[schemars(required)]
    pub(super) action: Option<Object<ActionIdentifier>>,
    /// What they ask to do it to.
    #[schemars(required)]
    pub(super) resource: Option<Object<EntityIdentifier>>,
    /// Facts of the moment, but for those that tokens tell.
    pub(super) context: Option<ContextDefinition>,
    /// Entities known to the caller, none of them a principal or a group. Each replaces the stored one whole, for this call
    /// only.
    pub(super) entities: Option<EntitiesDefinition>,
}

/// `BatchIsAuthorizedWithToken`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BatchIsAuthorizedWithTokenInput")]
pub(super) struct TokenBatchInput {
    /// `default`, or one of the configured ids.
    #[schemars(required, length(min = POLICY_STORE_ID.min, max = POLICY_STORE_ID.max), regex(pattern = POLICY_STORE_ID.anchored()))]
    pub(super) policy_store_id: Option<String>,
    /// Says who asks to act. Required unless there is an access token.
    #[schemars(length(min = TOKEN.min, max = TOKEN.max), regex(pattern = TOKEN.anchored()))]
    pub(super) identity_token: Option<String>,
    /// Says what they may do, and who they are where there is no identity token.
    #[schemars(length(min = TOKEN.min, max = TOKEN.max), regex(pattern = TOKEN.anchored()))]
    pub(super) access_token: Option<String>,
    /// Entities known to the caller, none of them a principal or a group. Each replaces the stored one whole, for this call
    /// only.
    pub(super) entities: Option<EntitiesDefinition>,
    /// The questions.
    #[schemars(required, length(min = 1, max = BATCH_ITEMS))]
    pub(super) requests: Option<Vec<Object<TokenItem>>>,
}

/// One question of a batch with a token.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BatchIsAuthorizedWithTokenInputItem")]
pub(super) struct TokenItem {
    /// What they ask to do. Required here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<Object<ActionIdentifier>>,
    /// What they ask to do it to. Required here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource: Option<Object<EntityIdentifier>>,
    /// Facts of the moment, but for those that tokens tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<ContextDefinition>,
}

/// One question of a batch.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BatchIsAuthorizedInputItem")]
pub(super) struct Item {
    /// Who asks to act. Required here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) principal: Option<Object<EntityIdentifier>>,
    /// What they ask to do. Required here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<Object<ActionIdentifier>>,
    /// What they ask to do it to. Required here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource: Option<Object<EntityIdentifier>>,
    /// Facts of the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<ContextDefinition>,
}

/// A principal, a resource or another entity. An unqualified type is in the configured namespace.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntityIdentifier {
    #[schemars(length(min = ENTITY_TYPE.min, max = ENTITY_TYPE.max))]
    pub(super) entity_type: String,
    #[schemars(length(min = ENTITY_ID.min, max = ENTITY_ID.max))]
    pub(super) entity_id: String,
}

/// An action. An unqualified type is in the configured namespace.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActionIdentifier {
    #[schemars(length(min = ACTION_TYPE.min, max = ACTION_TYPE.max), regex(pattern = ACTION_TYPE.anchored()))]
    pub(super) action_type: String,
    #[schemars(length(min = ACTION_ID.min, max = ACTION_ID.max))]
    pub(super) action_id: String,
}

/// Facts of the moment, in one of two forms.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum ContextDefinition {
    /// By name, each with its type.
    ContextMap(Attributes),
    /// An object in Cedar's JSON, as a string.
    CedarJson(String),
}

/// Entities, in one of two forms.
#[derive(Debug, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum EntitiesDefinition {
    /// One by one; of two with the same identifier the last counts.
    EntityList(Vec<Object<EntityItem>>),
    /// An array in Cedar's JSON, as a string.
    CedarJson(String),
}

/// An entity, with what is known of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntityItem {
    pub(super) identifier: Object<EntityIdentifier>,
    pub(super) attributes: Option<Attributes>,
    pub(super) parents: Option<Vec<Object<EntityIdentifier>>>,
    pub(super) tags: Option<Attributes>,
}

/// Values by name. A name may stand once.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Attributes(pub(super) BTreeMap<String, AttributeValue>);

/// A value with its type.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum AttributeValue {
    Boolean(bool),
    EntityIdentifier(Object<EntityIdentifier>),
    Long(i64),
    String(String),
    Set(Vec<AttributeValue>),
    Record(Attributes),
    Ipaddr(
        #[schemars(length(min = IP_ADDR.min, max = IP_ADDR.max), regex(pattern = IP_ADDR.anchored()))]
         String,
    ),
    Decimal(
        #[schemars(length(min = DECIMAL.min, max = DECIMAL.max), regex(pattern = DECIMAL.anchored()))]
         String,
    ),
    Datetime(
        #[schemars(length(min = DATETIME.min, max = DATETIME.max), regex(pattern = DATETIME.anchored()))]
         String,
    ),
    Duration(
        #[schemars(length(min = DURATION.min, max = DURATION.max), regex(pattern = DURATION.anchored()))]
         String,
    ),
}

/// Reads a union as AWS has it: an object of which exactly one member that is known has a value.
macro_rules! union {
    ($union:ident, $($member:literal => $variant:ident),+) => {
        impl<'de> Deserialize<'de> for $union {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;

                impl<'de> Visitor<'de> for Members {
                    type Value = $union;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("an object with one of", $(" `", $member, "`"),+))
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$union, A::Error> {
                        let mut found = None;
                        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                            let value = match &*name {
                                $($member => map.next_value::<Option<_>>()?.map($union::$variant),)+
                                _ => {
                                    map.next_value::<IgnoredAny>()?;
                                    None
                                }
                            };
                            if value.is_some() && found.is_some() {
                                return Err(A::Error::custom("holds more than one value"));
                            }
                            found = value.or(found);
                        }
                        found.ok_or_else(|| A::Error::custom(concat!("holds none of", $(" `", $member, "`"),+)))
                    }
                }

                deserializer.deserialize_map(Members)
            }
        }
    };
}

union!(ContextDefinition, "contextMap" => ContextMap, "cedarJson" => CedarJson);
union!(EntitiesDefinition, "entityList" => EntityList, "cedarJson" => CedarJson);
union!(
    AttributeValue,
    "boolean" => Boolean,
    "entityIdentifier" => EntityIdentifier,
    "long" => Long,
    "string" => String,
    "set" => Set,
    "record" => Record,
    "ipaddr" => Ipaddr,
    "decimal" => Decimal,
    "datetime" => Datetime,
    "duration" => Duration
);

// === impl Item ===

impl From<TokenItem> for Item {
    fn from(item: TokenItem) -> Self {
        let TokenItem {
            action,
            resource,
            context,
        } = item;
        Self {
            principal: None,
            action,
            resource,
            context,
        }
    }
}

// === impl Object ===

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Object<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

// === impl Attributes ===

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a typed value for each name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut values = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if values.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    values.insert(name, map.next_value()?);
                }
                Ok(Attributes(values))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
