//! Section `ext_authz`: how Envoy's questions are answered.

use schemars::JsonSchema;
use serde::Deserialize;
use settings::Span;

/// Section `ext_authz`: how Envoy's questions are answered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExtAuthzConfig {
    /// The longest time that a check may take, at most 10s. What is not decided by then is denied, and so it is at the end
    /// of Envoy's own patience, where Envoy says how long that is (`grpc-timeout`). Default 150ms, which is below the 200ms after
    /// which Envoy gives up and does what its `failure_mode_allow` says.
    pub deadline: Span,
    /// What Envoy's `path_prefix` puts before the path of a request (HTTP service only). Default: nothing.
    pub path_prefix: String,
}

// === impl ExtAuthzConfig ===

impl Default for ExtAuthzConfig {
    fn default() -> Self {
        Self {
            deadline: Span::from_millis(150),
            path_prefix: String::new(),
        }
    }
}

impl ExtAuthzConfig {
    /// Mistakes that a type cannot tell, each with its key below the section.
    pub fn problems(&self) -> Vec<super::KeyedProblem> {
        let mut problems = Vec::new();
        if self.deadline.0.is_zero() || self.deadline.0.as_secs() > 10 {
            problems.push((
                "deadline".to_owned(),
                "must be above zero and at most 10s".to_owned(),
            ));
        }
        let prefix = &self.path_prefix;
        if !prefix.is_empty() && (!prefix.starts_with('/') || prefix.ends_with('/')) {
            let message = "must begin with a slash and not end with one".to_owned();
            problems.push(("path_prefix".to_owned(), message));
        }
        problems
    }
}
