//! Section `ext_authz`: how Envoy's questions are answered.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use settings::Span;

use super::RoutesConfig;

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
    /// Further sets of routes by their names, each written like `routes`. Envoy chooses one by the context extension
    /// `portcullis.routes` (`check_settings.context_extensions` of a virtual host or route, gRPC only); a name that is none
    /// of these is denied. Checks without the extension are held to `routes`.
    pub route_sets: BTreeMap<String, RoutesConfig>,
    /// Whether the result of Envoy's own `jwt_authn` filter counts where a request shows no token, which that filter
    /// removes by default. Only over gRPC, and only where `listen.ext_authz_grpc` is on loopback or a Unix socket. Default:
    /// it does not.
    pub jwt_authn: Option<JwtAuthnConfig>,
}

/// Section `ext_authz.jwt_authn`: where Envoy says what token it has verified.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtAuthnConfig {
    /// The namespace of dynamic metadata that is read, and the only one; Envoy has to be told to send it
    /// (`metadata_context_namespaces`). No other filter may write there. Default `envoy.filters.http.jwt_authn`.
    #[serde(default = "jwt_authn")]
    pub namespace: String,
    /// The member of it that holds the claims, which is the provider's `payload_in_metadata`. Default `payload`.
    #[serde(default = "payload")]
    pub payload_key: String,
    /// The `name` of the entry of `issuers` to whose rules the claims are held: issuer, audiences, times, and all else but
    /// the signature.
    pub issuer: String,
}

// === impl ExtAuthzConfig ===

impl Default for ExtAuthzConfig {
    fn default() -> Self {
        Self {
            deadline: Span::from_millis(150),
            path_prefix: String::new(),
            route_sets: BTreeMap::new(),
            jwt_authn: None,
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
        for name in self.route_sets.keys().filter(|name| !is_label(name)) {
            let message = "must be named with 1 to 64 letters, digits, `-` or `_`".to_owned();
            problems.push((format!("route_sets.{name}"), message));
        }
        if let Some(jwt_authn) = &self.jwt_authn {
            for (key, value) in [
                ("namespace", &jwt_authn.namespace),
                ("payload_key", &jwt_authn.payload_key),
            ] {
                if value.is_empty() {
                    problems.push((format!("jwt_authn.{key}"), "must not be empty".to_owned()));
                }
            }
        }
        problems
    }
}

fn jwt_authn() -> String {
    "envoy.filters.http.jwt_authn".to_owned()
}

fn payload() -> String {
    "payload".to_owned()
}

fn is_label(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
