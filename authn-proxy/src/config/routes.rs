//! Section `routes`: which request is which Cedar question.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::RateLimitConfig;

/// Section `routes`: the list itself, or the file that holds it.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub enum RoutesConfig {
    /// The routes, written in the configuration file.
    List(Vec<RouteConfig>),
    /// A file of its own with a `routes:` list.
    File(RoutesFileConfig),
}

/// Where the routes are written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutesFileConfig {
    /// Path of the file, relative to the configuration file.
    pub file: PathBuf,
}

/// A file of routes, as a policy pack brings it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteFile {
    /// The routes. The most specific template wins, so their order never matters.
    pub routes: Vec<RouteConfig>,
}

/// One route: the requests it is about, and what Cedar is asked about them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteConfig {
    /// Method (or `*`) and path template, such as `PUT /v1/users/{id}`. `{name}` stands for one segment or a part of
    /// one, `{*name}` for the rest of the path. `HEAD` is a method of its own; `GET` does not include it.
    #[serde(rename = "match")]
    pub matches: String,
    /// The Cedar action, such as `update_user`; written out with `::` when it lies outside the configured namespace.
    pub action: Option<String>,
    /// The Cedar resource.
    pub resource: Option<ResourceConfig>,
    /// Attributes of the resource for when the entity store does not hold it: strings with the same placeholders as
    /// `resource.id`.
    pub attributes: BTreeMap<String, String>,
    /// Who may call: `user`, `service`, `workload`, or several of them. Default `[user]`.
    pub callers: Option<Vec<CallerKind>>,
    /// Scopes that the user's token must carry, all of them. A workload shows none.
    pub scopes: Vec<String>,
    /// Scopes that the service's own token must carry, all of them, when a service calls.
    pub service_scopes: Vec<String>,
    /// Whether the route is open to anyone without a token. Nothing is decided then, so `action` and the rest stay away.
    pub public: bool,
    /// Protocols other than HTTP that the service may switch to on this route, such as `websocket`. Default: none, and
    /// whoever asks for one gets 501. The route has to be for `GET` or `*`, and `upstream.protocol` to be `http1`.
    pub upgrade: Vec<String>,
    /// How many requests may come in a second, a minute or an hour, such as `5/min`: so many at once, and further ones
    /// evenly over that time. Of each client address before a token is looked at, and of each principal after; or
    /// `{ address: 5/min, principal: 10/s }`, either of which may be left out. Counted on this instance alone.
    pub rate_limit: Option<RateLimitConfig>,
}

/// The resource of a question.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceConfig {
    /// The Cedar entity type, such as `User`.
    #[serde(rename = "type")]
    pub entity_type: String,
    /// The entity's id: text with placeholders. `{name}` is the decoded part of the path, `{principal.id}` the id of the
    /// caller.
    pub id: String,
}

/// A kind of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallerKind {
    /// A person, proved by a user token.
    User,
    /// Another service, proved by a service token.
    Service,
    /// A workload of the mesh, proved by the certificate that Envoy checked, where it shows no token.
    Workload,
}

// === impl RoutesConfig ===

/// By hand, because serde's untagged enums forget which key was wrong.
impl<'de> Deserialize<'de> for RoutesConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrFile;

        impl<'de> Visitor<'de> for ListOrFile {
            type Value = RoutesConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of routes or `{file: path}`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(RoutesConfig::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                RoutesFileConfig::deserialize(MapAccessDeserializer::new(map))
                    .map(RoutesConfig::File)
            }
        }

        deserializer.deserialize_any(ListOrFile)
    }
}
