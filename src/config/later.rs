//! Sections that this version knows and does not serve: held to their types, so that a mistake in them is found, and
//! refused when they are given, so that nobody relies on what does not happen.

use schemars::JsonSchema;
use serde::Deserialize;
use settings::Span;

/// Section `fallback`: who decides when the policies cannot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "refused when it is given")]
pub(crate) struct FallbackConfig {
    /// Amazon Verified Permissions.
    avp: AvpConfig,
}

/// Amazon Verified Permissions as the fallback.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "refused when it is given")]
pub(crate) struct AvpConfig {
    /// The id of the policy store.
    policy_store_id: String,
    /// The AWS region.
    region: String,
    /// Another endpoint than that of the region.
    #[serde(default)]
    endpoint: Option<String>,
    /// The longest wait for an answer.
    #[serde(default)]
    deadline: Option<Span>,
    /// Whether it is asked only to log differences.
    #[serde(default)]
    shadow: bool,
}
