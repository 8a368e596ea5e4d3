//! What the service answers, member for member as in its model.

use schemars::JsonSchema;
use serde::Serialize;

use super::wire::{EntityIdentifier, Item, TokenItem};

/// The answer to `IsAuthorized`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "IsAuthorizedOutput")]
pub(super) struct Output<'a> {
    #[schemars(extend("enum" = ["ALLOW", "DENY"]))]
    pub(super) decision: &'static str,
    /// The policies that decided.
    pub(super) determining_policies: Vec<Policy<'a>>,
    /// What went wrong.
    pub(super) errors: Vec<Problem>,
}

/// The answer to `BatchIsAuthorized`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BatchIsAuthorizedOutput", deny_unknown_fields)]
pub(super) struct BatchOutput<'a> {
    /// One for each request, in their order.
    pub(super) results: Vec<OutputItem<'a>>,
}

/// The answer to one question of a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BatchIsAuthorizedOutputItem")]
pub(super) struct OutputItem<'a> {
    /// The question.
    pub(super) request: &'a Item,
    #[serde(flatten)]
    pub(super) output: Output<'a>,
}

/// The answer to `IsAuthorizedWithToken`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "IsAuthorizedWithTokenOutput")]
pub(super) struct TokenOutput<'a> {
    #[serde(flatten)]
    pub(super) output: Output<'a>,
    /// Who the tokens say asks to act.
    pub(super) principal: EntityIdentifier,
}

/// The answer to `BatchIsAuthorizedWithToken`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BatchIsAuthorizedWithTokenOutput", deny_unknown_fields)]
pub(super) struct TokenBatchOutput<'a> {
    /// Who the tokens say asks to act.
    pub(super) principal: EntityIdentifier,
    /// One for each request, in their order.
    pub(super) results: Vec<TokenOutputItem<'a>>,
}

/// The answer to one question of a batch with a token.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BatchIsAuthorizedWithTokenOutputItem")]
pub(super) struct TokenOutputItem<'a> {
    /// The question.
    #[schemars(with = "TokenItem")]
    pub(super) request: &'a Item,
    #[serde(flatten)]
    pub(super) output: Output<'a>,
}

/// A policy that decided.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeterminingPolicyItem", deny_unknown_fields)]
pub(super) struct Policy<'a> {
    pub(super) policy_id: &'a str,
}

/// Something that went wrong.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EvaluationErrorItem", deny_unknown_fields)]
pub(super) struct Problem {
    pub(super) error_description: String,
}

/// An exception.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Exception", deny_unknown_fields)]
pub(super) struct FaultBody<'a> {
    /// Its name, which SDKs go by.
    #[serde(rename = "__type")]
    pub(super) name: &'static str,
    /// For people.
    pub(super) message: &'a str,
    /// Of a `ValidationException`: the members at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<FieldBody<'_>>")]
    pub(super) field_list: Option<[FieldBody<'a>; 1]>,
    /// Of a `ResourceNotFoundException`: what is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) resource_id: Option<&'a str>,
    /// Of a `ResourceNotFoundException`: of which kind it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("enum" = ["POLICY_STORE", "POLICY_STORE_ALIAS"]))]
    pub(super) resource_type: Option<&'static str>,
}

/// A member at fault.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ValidationExceptionField", deny_unknown_fields)]
pub(super) struct FieldBody<'a> {
    pub(super) path: &'a str,
    pub(super) message: &'a str,
}
