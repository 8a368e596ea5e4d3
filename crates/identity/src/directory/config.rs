//! The `cognito:` section: the user pool that is asked for the status of users.

use schemars::JsonSchema;
use serde::Deserialize;
use settings::Span;

/// The Cognito user pool that is asked whether users are enabled (`AdminGetUser`). Credentials come from where the AWS
/// SDK looks for them: environment, profile, web identity, container or instance.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CognitoConfig {
    /// The id of the pool, such as `us-east-1_EXAMPLE`.
    pub user_pool_id: String,
    /// The AWS region of the pool.
    pub region: String,
    /// Another endpoint than that of the region: `https`, or `http` on loopback.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The most requests in a second that all instances make together; they count them in Redis. Keep it below the
    /// account's quota for `UserRead` (120 by default), which everything else in the account shares. Default 60.
    #[serde(default = "max_requests_per_second")]
    pub max_requests_per_second: u32,
    /// The most requests in a second that one instance makes when it cannot count with the others, because there is no
    /// Redis or it does not answer. Default: a tenth of `max_requests_per_second`.
    #[serde(default)]
    pub requests_per_second_alone: Option<u32>,
    /// The longest wait for a user's status; after it a request gets 503. Default 1s.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

fn max_requests_per_second() -> u32 {
    60
}

fn timeout() -> Span {
    Span::from_secs(1)
}
