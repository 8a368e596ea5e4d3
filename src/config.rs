//! The configuration file: one section per part, each defined by the crate that it configures.

mod later;
mod validate;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use admin_api::check::{Finding, Place};
use authn_proxy::RouteTable;
use authn_proxy::config::{
    ExtAuthzConfig, ForwardedConfig, RealmConfig, RouteConfig, RoutesConfig, StreamsConfig,
    UpstreamConfig,
};
use callers::CallerConfig;
use cedar_policy::Schema;
use identity::config::{IssuerConfig, TokensConfig};
use identity::{CognitoConfig, RedisConfig};
use listener::{Limits, Timeouts};
use pdp::{
    ApiLimits, AuthzenConfig, AvpApiConfig, CacheConfig, EngineConfig, Namespace, PoliciesConfig,
};
use schemars::JsonSchema;
use serde::Deserialize;
use settings::{Address, Document, Environment, Problem};

/// A configuration without mistakes. All paths are resolved against the folder of the file, but those of key files,
/// which [`Config::base`] is for.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    /// Present where the proxy listens.
    pub(crate) upstream: Option<UpstreamConfig>,
    pub(crate) streams: StreamsConfig,
    pub(crate) policies: PoliciesConfig,
    pub(crate) routes: Routes,
    /// Further sets of routes, for Envoy to choose from.
    pub(crate) route_sets: BTreeMap<String, Routes>,
    pub(crate) issuers: Vec<IssuerConfig>,
    pub(crate) tokens: TokensConfig,
    pub(crate) redis: Option<RedisConfig>,
    pub(crate) cognito: Option<CognitoConfig>,
    /// Not empty where `decisions` listens for more than this machine.
    pub(crate) callers: Vec<CallerConfig>,
    pub(crate) forwarded: ForwardedConfig,
    pub(crate) realm: RealmConfig,
    pub(crate) decision_log: DecisionLogConfig,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) decision_api: ApiLimits,
    pub(crate) engine: EngineConfig,
    pub(crate) cache: CacheConfig,
    pub(crate) avp_api: AvpApiConfig,
    pub(crate) ext_authz: ExtAuthzConfig,
    pub(crate) authzen: AuthzenConfig,
    places: Document<()>,
}

/// What listens where; what has no address is not served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) proxy: Option<Address>,
    pub(crate) decisions: Option<Address>,
    pub(crate) telemetry: Option<Address>,
    pub(crate) ext_authz_grpc: Option<Address>,
    pub(crate) ext_authz_http: Option<Address>,
}

impl Listen {
    /// Every listener by its key below `listen`.
    pub(crate) fn named(&self) -> [(&'static str, Option<&Address>); 5] {
        [
            ("proxy", self.proxy.as_ref()),
            ("decisions", self.decisions.as_ref()),
            ("telemetry", self.telemetry.as_ref()),
            ("ext_authz_grpc", self.ext_authz_grpc.as_ref()),
            ("ext_authz_http", self.ext_authz_http.as_ref()),
        ]
    }
}

/// The routes, wherever they were written.
#[derive(Debug)]
pub(crate) struct Routes {
    /// Where the configuration names them, such as `routes`.
    key: String,
    pub(crate) list: Vec<RouteConfig>,
    /// The file of their own, when they have one.
    places: Option<Document<()>>,
}

/// What could be read of a configuration, for those who go on in spite of mistakes.
#[derive(Debug)]
pub(crate) struct Read {
    /// Without what is wrong; not for serving when there are problems.
    pub(crate) config: Option<Config>,
    /// All that is wrong with it, but for what only the policies know.
    pub(crate) problems: Vec<Problem>,
}

/// How routes and issuers fit the schema.
#[derive(Debug)]
pub(crate) struct Fit {
    /// What cannot work.
    pub(crate) problems: Vec<Problem>,
    /// What works, and is probably not meant.
    pub(crate) warnings: Vec<Problem>,
}

/// The configuration of a Portcullis process.
///
/// `${VAR}` in a text takes a value from the environment, `$${` stands for `${`. Relative paths are relative to this
/// file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Portcullis configuration")]
pub(crate) struct ConfigFile {
    /// What listens where. Default: `decisions` on 127.0.0.1:8180, `telemetry` on 127.0.0.1:9180, and `proxy` on
    /// 0.0.0.0:8000 when `upstream` is given.
    listen: Option<ListenConfig>,
    /// The service behind the proxy. Required where `proxy` listens.
    upstream: Option<UpstreamConfig>,
    /// Exchanges that last: upgraded connections, long responses, long uploads.
    streams: StreamsConfig,
    /// Where policies come from and how they decide. Required.
    policies: Option<PoliciesConfig>,
    /// Which request is which Cedar question: the list itself, or the file that holds it. Default: no request is any.
    routes: Option<RoutesConfig>,
    /// Whose tokens are believed, and what they make of their bearer. Required by routes that are not public.
    issuers: Vec<IssuerConfig>,
    /// What is remembered of tokens that have been verified.
    tokens: TokensConfig,
    /// Who may call the decision API. Required where `decisions` listens for more than this machine.
    callers: Vec<CallerConfig>,
    /// Whose word about the client is believed.
    forwarded: ForwardedConfig,
    /// The protection space that `WWW-Authenticate` names. Default `portcullis`.
    realm: RealmConfig,
    /// Where decisions are logged.
    decision_log: DecisionLogConfig,
    /// How much of everything a listener takes.
    limits: Limits,
    /// How long each phase of a connection may take.
    timeouts: Timeouts,
    /// How much one call to the decision API may ask.
    decision_api: ApiLimits,
    /// How the engine decides.
    engine: EngineConfig,
    /// How answers are kept.
    cache: CacheConfig,
    /// What AWS SDKs may ask the decision API as if it were Amazon Verified Permissions.
    avp_api: AvpApiConfig,
    /// How Envoy's questions are answered.
    ext_authz: ExtAuthzConfig,
    /// How AuthZEN's names are Cedar's, and how much a search may cost.
    authzen: AuthzenConfig,
    /// The Cognito user pool that is asked for the status of users. Required by issuers with `user_status: cognito`.
    cognito: Option<CognitoConfig>,
    /// The Redis server that holds sessions and revocations. Required by issuers with `session: redis` or
    /// `user_status: redis`.
    redis: Option<RedisConfig>,
    /// Who decides when the policies cannot. Not available in this version.
    fallback: Option<later::FallbackConfig>,
}

/// Section `listen`: what listens where. What is not named is not served.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ListenConfig {
    /// The reverse proxy.
    proxy: Option<Address>,
    /// The decision API. Beyond this machine it requires `callers`.
    decisions: Option<Address>,
    /// Health, metrics and version.
    telemetry: Option<Address>,
    /// Envoy's external authorization over gRPC. Any caller is answered.
    ext_authz_grpc: Option<Address>,
    /// Envoy's external authorization over HTTP. Any caller is answered.
    ext_authz_http: Option<Address>,
    /// The admin API and console. Not available in this version.
    admin: Option<Address>,
}

/// Section `decision_log`: one event per decision.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DecisionLogConfig {
    /// Where the events go. Default `stdout`.
    pub(crate) to: DecisionLogSink,
    /// How an event is written. Default `json`.
    pub(crate) format: DecisionLogFormat,
}

/// Where decisions are logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DecisionLogSink {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere.
    None,
    /// At the end of a file.
    File(PathBuf),
}

/// How a decision is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DecisionLogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// One line for a person to read.
    Text,
}

// === impl Config ===

impl Config {
    /// Reads a configuration that is to be served.
    ///
    /// # Errors
    /// Every mistake that can be found without the policies.
    pub(crate) fn load(path: &Path, env: Environment<'_>) -> Result<Self, Vec<Problem>> {
        let Read { config, problems } = Self::read(path, env);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }

    /// Reads as much of a configuration as can be read.
    pub(crate) fn read(path: &Path, env: Environment<'_>) -> Read {
        validate::validate(settings::load(path, env), env)
    }

    /// A problem of a key, such as `upstream.url`, with its place in the file.
    pub(crate) fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        self.places.problem(key, message)
    }

    /// Gives a problem that names a key, but no file, its place in this one.
    pub(crate) fn place(&self, problem: Problem) -> Problem {
        if problem.file.as_os_str().is_empty() {
            self.problem(&problem.key, problem.message)
        } else {
            problem
        }
    }

    /// The folder of the file: relative paths start there.
    pub(crate) fn base(&self) -> &Path {
        self.places.base()
    }

    /// A problem of a key of routes, such as `routes[0].match`, with its place in whichever file they stand in.
    fn route_problem(&self, routes: &Routes, key: &str, message: impl Into<String>) -> Problem {
        let (places, key) = routes.place(&self.places, key);
        places.problem(&key, message)
    }

    /// Holds routes and issuers against a schema: what of them cannot work with it, and what is probably not meant.
    pub(crate) fn fit(&self, schema: &Schema, namespace: &Namespace) -> Fit {
        let sets = self.route_sets.iter();
        let sets: Vec<_> = sets.map(|(name, set)| (&**name, &*set.list)).collect();
        let findings = admin_api::check(&admin_api::Parts {
            schema,
            namespace,
            routes: &self.routes.list,
            route_sets: &sets,
            issuers: &self.issuers,
        });
        let authzen = self.authzen.problems(namespace, Some(schema));
        let authzen = authzen
            .into_iter()
            .map(|(key, message)| self.problem(&format!("authzen.{key}"), message));
        let place = |finding: Finding| match finding.place {
            Place::Configuration(key) => self.problem(&key, finding.message),
            Place::Routes(key) => self.route_problem(&self.routes, &key, finding.message),
            Place::RouteSet(name, key) => {
                let routes = self.route_sets.get(&name).unwrap_or(&self.routes);
                self.route_problem(routes, &key, finding.message)
            }
            Place::Schema => {
                let file = self
                    .policies
                    .schema
                    .as_deref()
                    .unwrap_or(self.places.path());
                Problem::of_file(file, finding.message)
            }
        };
        Fit {
            problems: findings
                .problems
                .into_iter()
                .map(place)
                .chain(authzen)
                .collect(),
            warnings: findings.warnings.into_iter().map(place).collect(),
        }
    }

    /// The routes, ready for look-up.
    ///
    /// # Errors
    /// Every mistake in them; there is none after [`Config::load`].
    pub(crate) fn route_table(&self, namespace: &Namespace) -> Result<RouteTable, Vec<Problem>> {
        self.compile(&self.routes, namespace)
    }

    /// The further sets of routes, likewise.
    ///
    /// # Errors
    /// The mistakes in the first set that has any.
    pub(crate) fn route_set_tables(
        &self,
        namespace: &Namespace,
    ) -> Result<HashMap<String, RouteTable>, Vec<Problem>> {
        self.route_sets
            .iter()
            .map(|(name, routes)| Ok((name.clone(), self.compile(routes, namespace)?)))
            .collect()
    }

    fn compile(&self, routes: &Routes, namespace: &Namespace) -> Result<RouteTable, Vec<Problem>> {
        RouteTable::compile(&routes.list, namespace).map_err(|problems| {
            problems
                .into_iter()
                .map(|(key, message)| self.route_problem(routes, &key, message))
                .collect()
        })
    }
}

// === impl Routes ===

impl Routes {
    /// The document in which a key such as `routes[0].match` stands, and what it is called there.
    fn place<'a, 'k>(
        &'a self,
        configuration: &'a Document<()>,
        key: &'k str,
    ) -> (&'a Document<()>, Cow<'k, str>) {
        match (&self.places, key.strip_prefix("routes")) {
            (Some(places), _) => (places, Cow::Borrowed(key)),
            (None, Some(rest)) => (configuration, Cow::Owned(format!("{}{rest}", self.key))),
            (None, None) => (configuration, Cow::Borrowed(key)),
        }
    }
}

#[cfg(test)]
mod tests;
