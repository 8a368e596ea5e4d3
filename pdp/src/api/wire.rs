//! The native API's JSON, as it stands on the wire.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::Unique;

/// One question. In a batch, what a question leaves out is taken from the batch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with `principal`, `action` and `resource`"
)]
pub(super) struct QuestionBody {
    pub(super) principal: Option<EntityBody>,
    pub(super) action: Option<EntityBody>,
    pub(super) resource: Option<EntityBody>,
    pub(super) context: Option<Unique>,
    pub(super) entities: Option<Vec<Unique>>,
    #[expect(
        dead_code,
        reason = "read so that a wrong value is refused; nothing is cached yet"
    )]
    pub(super) consistency: Option<Consistency>,
    pub(super) explain: Option<bool>,
}

/// Many questions, and what they have in common.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `requests`")]
pub(super) struct BatchBody<'a> {
    /// Each is read by itself, so that one that cannot be read leaves the others alone.
    #[serde(borrow)]
    pub(super) requests: Vec<&'a RawValue>,
    pub(super) principal: Option<EntityBody>,
    pub(super) action: Option<EntityBody>,
    pub(super) resource: Option<EntityBody>,
    pub(super) context: Option<Unique>,
    pub(super) entities: Option<Vec<Unique>>,
    pub(super) consistency: Option<Consistency>,
    pub(super) explain: Option<bool>,
}

/// An entity: `{"type":…,"id":…}`, or a string in Cedar syntax.
#[derive(Debug, Clone)]
pub(super) enum EntityBody {
    Pair { type_name: String, id: String },
    Text(String),
}

/// How fresh an answer must be. Nothing is cached yet, so both mean the same.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Consistency {
    MinimizeLatency,
    FullyConsistent,
}

/// The answer to one question.
#[derive(Debug, Serialize)]
pub(super) struct AnswerBody<'a> {
    #[serde(flatten)]
    pub(super) decided: DecidedBody<'a>,
    pub(super) revision: &'a str,
    pub(super) request_id: &'a str,
}

/// What every answer holds, also that to an item of a batch.
#[derive(Debug, Serialize)]
pub(super) struct DecidedBody<'a> {
    pub(super) decision: &'static str,
    pub(super) determining_policies: &'a [Arc<str>],
    pub(super) errors: Vec<PolicyErrorBody<'a>>,
    pub(super) source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) explanation: Option<ExplanationBody<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct PolicyErrorBody<'a> {
    pub(super) policy: Option<&'a str>,
    pub(super) message: &'a str,
}

/// Asked for with `explain`.
#[derive(Debug, Serialize)]
pub(super) struct ExplanationBody<'a> {
    /// Why it came out so: `permitted`, `forbidden`, `not_permitted`, `policy_error`,
    /// `outside_schema`, `cannot_decide`.
    pub(super) reason: &'static str,
    /// The policies that decided.
    pub(super) policies: Vec<PolicyBody<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct PolicyBody<'a> {
    pub(super) id: &'a str,
    pub(super) effect: &'static str,
    pub(super) annotations: BTreeMap<&'a str, &'a str>,
}

/// An item of a batch that was not asked.
#[derive(Debug, Serialize)]
pub(super) struct UnreadItemBody<'a> {
    pub(super) decision: &'static str,
    pub(super) determining_policies: [&'a str; 0],
    pub(super) errors: [&'a str; 0],
    pub(super) source: &'static str,
    pub(super) error: ItemErrorBody<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct ItemErrorBody<'a> {
    pub(super) code: &'static str,
    pub(super) message: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct BatchAnswerBody<'a> {
    pub(super) results: &'a [Box<RawValue>],
    pub(super) revision: &'a str,
    pub(super) request_id: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct RevisionBody<'a> {
    pub(super) revision: &'a str,
    pub(super) request_id: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct RefusalBody<'a> {
    pub(super) error: ErrorBody<'a>,
    pub(super) retry: Retry,
    pub(super) request_id: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct ErrorBody<'a> {
    pub(super) code: &'static str,
    pub(super) message: &'a str,
    pub(super) details: Details,
}

#[derive(Debug, Serialize)]
pub(super) struct Details {}

#[derive(Debug, Serialize)]
pub(super) struct Retry {
    pub(super) retryable: bool,
    /// In seconds.
    pub(super) retry_after: Option<u64>,
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
