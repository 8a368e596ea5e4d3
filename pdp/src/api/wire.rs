//! The native API's JSON, as it stands on the wire.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use crate::json::Unique;

/// One question. In a batch, what a question leaves out is taken from the batch.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with `principal`, `action` and `resource`"
)]
#[schemars(rename = "Question")]
pub(super) struct QuestionBody {
    /// Who asks to act.
    pub(super) principal: Option<EntityBody>,
    /// What they ask to do; a bare string is the id of an action.
    #[schemars(with = "Option<ActionBody>")]
    pub(super) action: Option<EntityBody>,
    /// What they ask to do it to.
    pub(super) resource: Option<EntityBody>,
    /// Facts of the moment, in Cedar's JSON.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(super) context: Option<Unique>,
    /// Entities in Cedar's JSON. Each replaces the stored one whole, for this question only.
    #[schemars(with = "Option<Vec<CedarEntity>>")]
    pub(super) entities: Option<Vec<Unique>>,
    /// How fresh the answer must be. Default `minimize_latency`.
    pub(super) consistency: Option<Consistency>,
    /// Whether the answer shall say why it came out so. Default `false`.
    pub(super) explain: Option<bool>,
}

/// Many questions, and what they have in common.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with `requests`")]
#[schemars(rename = "Batch")]
pub(super) struct BatchBody<'a> {
    /// The questions. Each is read by itself, so that one that cannot be read leaves the others
    /// alone.
    #[serde(borrow)]
    #[schemars(with = "Vec<QuestionBody>")]
    pub(super) requests: Vec<&'a RawValue>,
    /// For questions that name no principal.
    pub(super) principal: Option<EntityBody>,
    /// For questions that name no action.
    #[schemars(with = "Option<ActionBody>")]
    pub(super) action: Option<EntityBody>,
    /// For questions that name no resource.
    pub(super) resource: Option<EntityBody>,
    /// For questions that have no context of their own.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(super) context: Option<Unique>,
    /// For questions that have no entities of their own.
    #[schemars(with = "Option<Vec<CedarEntity>>")]
    pub(super) entities: Option<Vec<Unique>>,
    /// For questions that do not say.
    pub(super) consistency: Option<Consistency>,
    /// For questions that do not say.
    pub(super) explain: Option<bool>,
}

/// A type, as Cedar writes it.
const TYPE: &str = "^[A-Za-z_][A-Za-z0-9_]*(::[A-Za-z_][A-Za-z0-9_]*)*$";

/// An entity, as Cedar writes it.
const LITERAL: &str = r#"^[A-Za-z_][A-Za-z0-9_]*(::[A-Za-z_][A-Za-z0-9_]*)*::"([^"\\]|\\.)*"$"#;

/// An entity. Unqualified types are in the configured namespace.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename = "Entity", untagged, deny_unknown_fields)]
pub(super) enum EntityBody {
    /// Its type and its id.
    Pair {
        #[schemars(rename = "type", regex(pattern = TYPE))]
        type_name: String,
        id: String,
    },
    /// Cedar syntax, as in `User::"alice"`.
    Text(#[schemars(regex(pattern = LITERAL))] String),
}

/// An action: an entity, or only its id.
#[derive(JsonSchema)]
#[schemars(rename = "Action", untagged)]
#[expect(
    dead_code,
    reason = "only describes what is read as an entity and taken for an action"
)]
enum ActionBody {
    Entity(EntityBody),
    /// Its id.
    Id(String),
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Consistency {
    /// One that was given before to the same question will do.
    MinimizeLatency,
    /// The policies are asked, whatever was answered before.
    FullyConsistent,
}

/// The answer to one question.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Answer", deny_unknown_fields)]
pub(super) struct AnswerBody<'a> {
    #[serde(flatten)]
    pub(super) decided: DecidedBody<'a>,
    /// The content hash of what decided.
    pub(super) revision: &'a str,
    pub(super) request_id: &'a str,
}

/// What every answer holds, also that to an item of a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Decided", deny_unknown_fields)]
pub(super) struct DecidedBody<'a> {
    #[schemars(extend("enum" = ["ALLOW", "DENY"]))]
    pub(super) decision: &'static str,
    /// The policies that decided, sorted: the permits of an Allow, the forbids of a Deny, none
    /// where nothing permitted.
    pub(super) determining_policies: &'a [SmolStr],
    /// What went wrong, sorted.
    pub(super) errors: Vec<PolicyErrorBody<'a>>,
    /// Who decided: the policies, now or when they were asked the same before (`cache`); or nobody,
    /// and then it is Deny.
    #[schemars(extend("enum" = ["engine", "cache", "fail_closed"]))]
    pub(super) source: &'static str,
    /// Only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ExplanationBody<'_>")]
    pub(super) explanation: Option<ExplanationBody<'a>>,
}

/// A policy that could not be evaluated, or a question that no policy could be asked.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PolicyError", deny_unknown_fields)]
pub(super) struct PolicyErrorBody<'a> {
    /// The policy; `null` when the question itself was at fault.
    pub(super) policy: Option<&'a str>,
    pub(super) message: &'a str,
}

/// Asked for with `explain`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Explanation", deny_unknown_fields)]
pub(super) struct ExplanationBody<'a> {
    /// Why it came out so: `permitted`, `forbidden`, `not_permitted`, `policy_error`,
    /// `outside_schema`, `cannot_decide`.
    #[schemars(extend("enum" = ["permitted", "forbidden", "not_permitted", "policy_error", "outside_schema", "cannot_decide"]))]
    pub(super) reason: &'static str,
    /// The policies that decided.
    pub(super) policies: Vec<PolicyBody<'a>>,
}

/// A policy that decided.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Policy", deny_unknown_fields)]
pub(super) struct PolicyBody<'a> {
    pub(super) id: &'a str,
    #[schemars(extend("enum" = ["permit", "forbid"]))]
    pub(super) effect: &'static str,
    pub(super) annotations: BTreeMap<&'a str, &'a str>,
}

/// An item of a batch that was not asked.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UnreadItem", deny_unknown_fields)]
pub(super) struct UnreadItemBody<'a> {
    #[schemars(extend("enum" = ["DENY"]))]
    pub(super) decision: &'static str,
    pub(super) determining_policies: [&'a str; 0],
    pub(super) errors: [&'a str; 0],
    #[schemars(extend("enum" = ["fail_closed"]))]
    pub(super) source: &'static str,
    pub(super) error: ItemErrorBody<'a>,
}

/// Why an item was not asked.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ItemError", deny_unknown_fields)]
pub(super) struct ItemErrorBody<'a> {
    pub(super) code: &'static str,
    pub(super) message: &'a str,
}

/// The answers to a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BatchAnswer", deny_unknown_fields)]
pub(super) struct BatchAnswerBody<'a> {
    /// One for each question, in their order.
    #[schemars(with = "Vec<ItemBody<'_>>")]
    pub(super) results: &'a [Box<RawValue>],
    /// The content hash of what decided.
    pub(super) revision: &'a str,
    pub(super) request_id: &'a str,
}

/// Which policies decide.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Revision", deny_unknown_fields)]
pub(super) struct RevisionBody<'a> {
    /// The content hash of policies and schema.
    pub(super) revision: &'a str,
    /// The content hash of the stored entities.
    pub(super) entities_revision: &'a str,
    pub(super) request_id: &'a str,
}

/// A request that is not answered, and why.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Refusal", deny_unknown_fields)]
pub(super) struct RefusalBody<'a> {
    pub(super) error: ErrorBody<'a>,
    pub(super) retry: Retry,
    pub(super) request_id: &'a str,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error", deny_unknown_fields)]
pub(super) struct ErrorBody<'a> {
    /// For programs.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: &'a str,
    pub(super) details: Details,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Details {}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Retry {
    pub(super) retryable: bool,
    /// In seconds.
    pub(super) retry_after: Option<u64>,
}

/// What stands for an item's question.
#[derive(JsonSchema)]
#[schemars(rename = "BatchItem", untagged)]
#[expect(dead_code, reason = "only describes what is written item by item")]
enum ItemBody<'a> {
    Decided(DecidedBody<'a>),
    Unread(UnreadItemBody<'a>),
}

/// An entity in Cedar's JSON, which Cedar itself reads.
struct CedarEntity;

// === impl CedarEntity ===

impl JsonSchema for CedarEntity {
    fn schema_name() -> Cow<'static, str> {
        "CedarEntity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let name = json!({
            "type": "object",
            "required": ["type", "id"],
            "properties": { "type": { "type": "string" }, "id": { "type": "string" } },
        });
        json_schema!({
            "description": "An entity in Cedar's JSON.",
            "type": "object",
            "required": ["uid", "attrs", "parents"],
            "additionalProperties": false,
            "properties": {
                "uid": name,
                "attrs": { "type": "object" },
                "parents": { "type": "array", "items": name },
                "tags": { "type": "object" },
            },
        })
    }
}

// === impl EntityBody ===

impl<'de> Deserialize<'de> for EntityBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Pair {
            #[serde(rename = "type")]
            type_name: String,
            id: String,
        }

        impl<'de> Visitor<'de> for Either {
            type Value = EntityBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entity: `{\"type\":…,\"id\":…}` or a string in Cedar syntax")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<EntityBody, E> {
                Ok(EntityBody::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EntityBody, A::Error> {
                let Pair { type_name, id } = Pair::deserialize(MapAccessDeserializer::new(map))?;
                Ok(EntityBody::Pair { type_name, id })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

// === impl BatchBody ===

impl<'a> BatchBody<'a> {
    /// The questions, and what they have in common.
    pub(super) fn split(self) -> (Vec<&'a RawValue>, QuestionBody) {
        let Self {
            requests,
            principal,
            action,
            resource,
            context,
            entities,
            consistency,
            explain,
        } = self;
        let common = QuestionBody {
            principal,
            action,
            resource,
            context,
            entities,
            consistency,
            explain,
        };
        (requests, common)
    }
}
