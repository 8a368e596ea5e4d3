//! The JSON of AuthZEN 1.0, as it stands on the wire. Members that are not named here are ignored, as
//! the specification demands; null stands for nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use smol_str::SmolStr;

use crate::json::Unique;

/// One question: may the subject perform the action on the resource?
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "an object")]
#[schemars(rename = "AuthzenEvaluationRequest")]
pub(crate) struct EvaluationBody<'a> {
    /// Who would act: the principal.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) subject: Option<PartyBody>,
    /// What they would do.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) action: Option<ActionBody>,
    /// What they would do it to.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) resource: Option<PartyBody>,
    /// Facts of the moment. What the schema does not declare for the action is ignored.
    pub(super) context: Option<Members>,
    /// How to answer. Not read in one question of many, which has none.
    #[serde(borrow)]
    #[schemars(with = "Option<OptionsBody>")]
    pub(super) options: Option<&'a RawValue>,
}

/// Many questions, and what those have in common that do not say it themselves. Without
/// `evaluations`, or with none in it, one question.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "an object")]
#[schemars(rename = "AuthzenEvaluationsRequest")]
pub(crate) struct EvaluationsBody<'a> {
    /// The subject of every question that names none.
    #[serde(deserialize_with = "object")]
    pub(super) subject: Option<PartyBody>,
    /// The action of every question that names none.
    #[serde(deserialize_with = "object")]
    pub(super) action: Option<ActionBody>,
    /// The resource of every question that names none.
    #[serde(deserialize_with = "object")]
    pub(super) resource: Option<PartyBody>,
    /// The context of every question that has none.
    pub(super) context: Option<Members>,
    /// The questions. Each is read by itself, so that one that cannot be read leaves the others alone.
    #[serde(borrow)]
    #[schemars(with = "Option<Vec<EvaluationBody<'static>>>")]
    pub(super) evaluations: Option<Vec<&'a RawValue>>,
    /// How to answer.
    #[serde(borrow)]
    #[schemars(with = "Option<OptionsBody>")]
    pub(super) options: Option<&'a RawValue>,
}

/// A search for all subjects of a type that may perform the action on the resource.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "an object")]
#[schemars(rename = "AuthzenSubjectSearchRequest")]
pub(crate) struct SubjectSearchBody {
    /// Of which type they are.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) subject: Option<SoughtBody>,
    /// What they would do.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) action: Option<ActionBody>,
    /// What they would do it to.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) resource: Option<PartyBody>,
    /// Facts of the moment.
    pub(super) context: Option<Members>,
    /// Which part of the results.
    #[serde(deserialize_with = "object")]
    pub(super) page: Option<PageBody>,
}

/// A search for all resources of a type that the subject may perform the action on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "an object")]
#[schemars(rename = "AuthzenResourceSearchRequest")]
pub(crate) struct ResourceSearchBody {
    /// Who would act.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) subject: Option<PartyBody>,
    /// What they would do.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) action: Option<ActionBody>,
    /// Of which type the resources are.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) resource: Option<SoughtBody>,
    /// Facts of the moment.
    pub(super) context: Option<Members>,
    /// Which part of the results.
    #[serde(deserialize_with = "object")]
    pub(super) page: Option<PageBody>,
}

/// A search for all actions that the subject may perform on the resource.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "an object")]
#[schemars(rename = "AuthzenActionSearchRequest")]
pub(crate) struct ActionSearchBody {
    /// Who would act.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) subject: Option<PartyBody>,
    /// What they would do it to.
    #[serde(deserialize_with = "object")]
    #[schemars(required)]
    pub(super) resource: Option<PartyBody>,
    /// Facts of the moment.
    pub(super) context: Option<Members>,
    /// Which part of the results.
    #[serde(deserialize_with = "object")]
    pub(super) page: Option<PageBody>,
}

/// A subject or a resource.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "AuthzenEntity")]
pub(crate) struct PartyBody {
    /// Its type, unique with the id.
    #[serde(rename = "type")]
    #[schemars(required)]
    pub(super) type_name: Option<String>,
    /// Its id.
    #[schemars(required)]
    pub(super) id: Option<String>,
    /// Attributes that count for this question in place of the stored ones of the same names. What
    /// the schema does not declare for the type is ignored.
    pub(super) properties: Option<Members>,
}

/// What a search looks for: entities of one type. An id has no meaning.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "AuthzenSoughtEntity")]
pub(crate) struct SoughtBody {
    /// Their type.
    #[serde(rename = "type")]
    #[schemars(required)]
    pub(super) type_name: Option<String>,
    /// Attributes that count for each of them in place of the stored ones.
    pub(super) properties: Option<Members>,
}

/// An action.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "AuthzenAction")]
pub(crate) struct ActionBody {
    /// Its name.
    #[schemars(required)]
    pub(super) name: Option<String>,
    /// What policies see as `context.action`, as far as the schema declares it.
    pub(super) properties: Option<Members>,
}

/// How to answer.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "an object")]
#[schemars(rename = "AuthzenOptions")]
pub(crate) struct OptionsBody {
    /// Which questions of many are answered.
    pub(super) evaluations_semantic: Option<Semantic>,
    /// Whether each decision comes with its reasons, in `context`.
    pub(super) explain: Option<bool>,
}

/// Which questions of many are answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AuthzenEvaluationsSemantic")]
pub(crate) enum Semantic {
    /// All of them.
    #[default]
    ExecuteAll,
    /// All up to the first that is denied.
    DenyOnFirstDeny,
    /// All up to the first that is permitted.
    PermitOnFirstPermit,
}

/// Which part of the results of a search.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "an object")]
#[schemars(rename = "AuthzenPageRequest")]
pub(crate) struct PageBody {
    /// The `next_token` of the page before. Everything else has to be as it was.
    pub(super) token: Option<String>,
    /// The most results; fewer may come.
    pub(super) limit: Option<u64>,
}

/// A JSON object in which no key stands twice.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Members(pub(super) Map<String, Value>);

/// A decision.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthzenDecision")]
pub(crate) struct DecisionBody {
    /// Whether it is permitted.
    pub(super) decision: bool,
    /// What there is to say about it: reasons where they were asked for, and why a question of many
    /// could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<DecisionContext>,
}

/// What there is to say about a decision.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "AuthzenDecisionContext")]
pub(crate) enum DecisionContext {
    /// The question could not be read.
    Unread {
        /// Why not.
        error: UnreadBody,
    },
    /// Why it came out so.
    Reasons(ReasonsBody),
}

/// Why a question of many was not asked.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthzenEvaluationError")]
pub(crate) struct UnreadBody {
    /// The status that the question by itself would have had.
    pub(super) status: u16,
    /// What is wrong, in words.
    pub(super) message: String,
}

/// Why a decision came out as it did.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthzenReasons")]
pub(crate) struct ReasonsBody {
    /// In a word: `permitted`, `forbidden`, `not_permitted`, `policy_error`, `outside_schema` or
    /// `cannot_decide`.
    pub(super) reason: &'static str,
    /// In words for an administrator, under the HTTP status that says most nearly the same.
    pub(super) reason_admin: BTreeMap<&'static str, String>,
    /// The policies that decided.
    pub(super) determining_policies: Vec<SmolStr>,
    /// The policies that could not be evaluated.
    pub(super) errors: Vec<PolicyErrorBody>,
    /// Who decided.
    pub(super) source: &'static str,
    /// The content hash of what decided.
    pub(super) revision: Arc<str>,
}

/// A policy that could not be evaluated; without one, a question that no policy could be asked.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthzenReasonsPolicyError")]
pub(crate) struct PolicyErrorBody {
    /// Its id.
    pub(super) policy: Option<SmolStr>,
    /// What happened.
    pub(super) message: String,
}

/// The decisions, in the order of the questions.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthzenEvaluationsResponse")]
pub(crate) struct DecisionsBody {
    /// One for each question that was answered.
    pub(super) evaluations: Vec<DecisionBody>,
}

/// What a search found.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthzenSearchResponse")]
pub(crate) struct ResultsBody {
    /// Present where there may be more, or where the request had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) page: Option<PageInfoBody>,
    /// What would be permitted.
    pub(super) results: Vec<ResultBody>,
}

/// Where a page ends.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthzenPageResponse")]
pub(crate) struct PageInfoBody {
    /// Leads to the next page; empty where there is none. A page may hold fewer results than its
    /// limit, or none, and still have a next one.
    pub(super) next_token: String,
    /// How many results are on this page.
    pub(super) count: usize,
}

/// One of what a search found.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "AuthzenSearchResult")]
pub(crate) enum ResultBody {
    /// A subject or a resource.
    Entity {
        /// Its type, as the request named it.
        #[serde(rename = "type")]
        type_name: Arc<str>,
        /// Its id.
        id: String,
    },
    /// An action.
    Action {
        /// Its name.
        name: String,
    },
}

/// What there is at this decision point.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthzenPolicyDecisionPointMetadata")]
pub(crate) struct MetadataBody {
    /// Its identifier.
    pub(super) policy_decision_point: String,
    /// Where to ask one question.
    pub(super) access_evaluation_endpoint: String,
    /// Where to ask many.
    pub(super) access_evaluations_endpoint: String,
    /// Where to search for subjects.
    pub(super) search_subject_endpoint: String,
    /// Where to search for resources.
    pub(super) search_resource_endpoint: String,
    /// Where to search for actions.
    pub(super) search_action_endpoint: String,
}

// === impl EvaluationsBody ===

impl<'a> EvaluationsBody<'a> {
    /// The questions, and what they have in common, which is a question of its own where there are
    /// none.
    pub(super) fn split(self) -> (Vec<&'a RawValue>, EvaluationBody<'a>) {
        let Self {
            subject,
            action,
            resource,
            context,
            evaluations,
            options,
        } = self;
        let common = EvaluationBody {
            subject,
            action,
            resource,
            context,
            options,
        };
        (evaluations.unwrap_or_default(), common)
    }
}

// === impl EvaluationBody ===

impl EvaluationBody<'_> {
    /// Takes from `common` what it does not say itself: whole members, never parts of them.
    pub(super) fn or(self, common: &Self) -> Self {
        Self {
            subject: self.subject.or_else(|| common.subject.clone()),
            action: self.action.or_else(|| common.action.clone()),
            resource: self.resource.or_else(|| common.resource.clone()),
            context: self.context.or_else(|| common.context.clone()),
            options: None,
        }
    }
}

// === impl Members ===

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Unique::deserialize(deserializer)?.0 {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(D::Error::custom("expected an object")),
        }
    }
}

impl JsonSchema for Members {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Members".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object"})
    }
}

/// An object, or null. An array of the same values in the order of our fields is none, though the
/// derived readers would take it for one.
fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(Object(PhantomData))
}
