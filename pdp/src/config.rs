//! The sections `policies`, `engine` and `cache`, and the limits of the decision APIs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use settings::{ByteSize, Span};

/// Where policies come from and how they decide: the `policies` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoliciesConfig {
    /// Where the policies come from.
    pub source: PolicySource,
    /// The Cedar schema: a `.cedarschema` file, or `.json` for the JSON form. Policies, entities
    /// and requests are held to it.
    #[serde(default)]
    pub schema: Option<PathBuf>,
    /// Run without a schema. A misspelt attribute then makes a policy fail at run time instead of
    /// being refused when it is loaded.
    #[serde(default)]
    pub allow_no_schema: bool,
    /// Stored entities: a file of Cedar JSON.
    #[serde(default)]
    pub entities: Option<PathBuf>,
    /// The namespace of unqualified types and actions in routes, issuers and requests.
    #[serde(default)]
    pub namespace: Option<String>,
    /// What becomes of an Allow when some policy could not be evaluated.
    #[serde(default)]
    pub on_error: OnError,
    /// How long the policies may go without their source having been read before they no longer
    /// decide and every answer is Deny.
    #[serde(default = "max_staleness")]
    pub max_staleness: Span,
}

/// Where policies come from.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicySource {
    /// A folder of `.cedar` files, and of `.cedar.json` files that hold policies, templates and
    /// links in Cedar's JSON form; read recursively and watched. Or one such file.
    Dir(PathBuf),
    /// A signed bundle fetched over HTTPS.
    Bundle(BundleSource),
    /// A mirror of an Amazon Verified Permissions policy store.
    Avp(AvpSource),
}

/// A signed bundle fetched over HTTPS.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleSource {
    /// Where the bundle is.
    pub url: String,
    /// The file with the public key that the bundle is signed with.
    pub public_key: PathBuf,
    /// How often to ask for a newer one.
    #[serde(default = "poll")]
    pub poll: Span,
}

/// An Amazon Verified Permissions policy store.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AvpSource {
    /// The id of the policy store.
    pub policy_store_id: String,
    /// The AWS region that it is in.
    pub region: String,
}

/// What becomes of an Allow when some policy could not be evaluated.
///
/// Cedar skips a policy that errors, so a `forbid` that errors does not forbid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The answer is Deny.
    #[default]
    Deny,
    /// Cedar's own rule: the policy is skipped and the others decide.
    Cedar,
}

/// How the engine decides: the `engine` section.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// The share of decisions that Cedar's own authorizer makes again, from 0 (none) to 1 (all).
    /// Where it disagrees the answer is Deny, and the log says how to reproduce it. The authorizer
    /// takes a microsecond or more for every policy there is.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub verify_sample: f64,
}

/// Section `cache`: answers that are given again to questions that are the same in all that the
/// policies can read.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// For how long, at most 24h. An answer is given again for no longer than the token behind the
    /// question holds.
    pub ttl: Span,
    /// How many, of half a kilobyte or so; a larger one counts as several. 0 keeps none.
    pub max_entries: u64,
}

/// Limits of one call to the decision APIs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApiLimits {
    /// Bytes of the body of a single question.
    pub request_bytes: ByteSize,
    /// Bytes of the body of a batch.
    pub batch_bytes: ByteSize,
    /// Questions in one batch.
    pub batch_items: usize,
    /// Time that one batch may spend on deciding; what is left over then is answered Deny.
    pub batch_cpu: Span,
    /// Depth of nested objects and arrays in a body.
    pub nesting: usize,
}

/// Section `avp_api`: the API that AWS SDKs ask as they ask Amazon Verified Permissions.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AvpApiConfig {
    /// What callers may give as `policyStoreId`, besides `default`: the ids or the aliases
    /// (`policy-store-alias/…`) that they are configured with. All mean the same policies.
    pub policy_store_ids: Vec<String>,
}

// === impl PoliciesConfig ===

impl PoliciesConfig {
    /// Passes every path through `resolve`, which makes it relative to the configuration file.
    pub fn resolve(&mut self, resolve: impl Fn(&Path) -> PathBuf) {
        if let PolicySource::Dir(path) = &mut self.source {
            *path = resolve(path);
        }
        if let PolicySource::Bundle(bundle) = &mut self.source {
            bundle.public_key = resolve(&bundle.public_key);
        }
        for path in [&mut self.schema, &mut self.entities].into_iter().flatten() {
            *path = resolve(path);
        }
    }
}

// === impl CacheConfig ===

/// Longest time for which an answer may be kept.
const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

impl CacheConfig {
    /// Every mistake, with its key below the section.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let ttl = self.ttl.0;
        let wrong = if ttl.is_zero() {
            "must be more than zero; `max_entries: 0` keeps no answers"
        } else if ttl > MAX_TTL {
            "must be at most 24h"
        } else {
            return Vec::new();
        };
        vec![("ttl", wrong)]
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            ttl: Span::from_secs(60),
            max_entries: 100_000,
        }
    }
}

// === impl AvpApiConfig ===

impl AvpApiConfig {
    /// Every mistake, with its key below the section, such as `policy_store_ids[0]`.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let is_id = |id: &str| {
            (1..=200).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-/_".contains(&byte))
        };
        let ids = self.policy_store_ids.iter().enumerate();
        ids.filter(|(_, id)| !is_id(id))
            .map(|(index, _)| {
                (
                    format!("policy_store_ids[{index}]"),
                    "must be 1 to 200 letters, digits, `-`, `/` or `_`: no SDK could send it"
                        .to_owned(),
                )
            })
            .collect()
    }
}

// === impl ApiLimits ===

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            request_bytes: ByteSize(1 << 20),
            batch_bytes: ByteSize(8 << 20),
            batch_items: 1000,
            batch_cpu: Span::from_millis(500),
            nesting: 32,
        }
    }
}

fn max_staleness() -> Span {
    Span::from_secs(3600)
}

fn poll() -> Span {
    Span::from_secs(30)
}
