//! The sections of the configuration file that this crate reads: `upstream`, `streams`, `forwarded`, `realm` and `routes`.

pub mod ext_authz;
pub mod rate_limit;
pub mod routes;
pub mod streams;
#[cfg(test)]
mod tests;
pub mod upstream;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

pub use ext_authz::{ExtAuthzConfig, JwtAuthnConfig};
pub use rate_limit::{Rate, RateLimitConfig};
pub use routes::{CallerKind, ResourceConfig, RouteConfig, RouteFile, RoutesConfig};
pub use streams::StreamsConfig;
pub use upstream::{Protocol, UpstreamConfig};

/// A mistake in one section: the key below the section (`url`, `[3].match`; empty for the section itself) and what is
/// wrong with it.
pub type KeyedProblem = (String, String);

/// Section `forwarded`: whose word about the client is believed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardedConfig {
    /// Networks (CIDR, such as `10.0.0.0/8` or `fd00::/8`) of the proxies in front of this one. `X-Forwarded-For`,
    /// `-Proto` and `-Host` are read only when the connection comes from one of them; from anyone else they are replaced.
    /// Default: nobody is believed.
    #[schemars(with = "Vec<String>")]
    pub trusted_peers: Vec<IpNet>,
}

/// Key `realm`: the protection space that `WWW-Authenticate` names (RFC 9110 section 11.5). Printable ASCII without `"`
/// and `\`; default `portcullis`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RealmConfig(pub String);

// === impl RealmConfig ===

impl Default for RealmConfig {
    fn default() -> Self {
        Self("portcullis".to_owned())
    }
}
