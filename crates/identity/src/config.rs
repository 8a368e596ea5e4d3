//! The `issuers:` section: whose tokens are believed, and what they make of their bearer. The `tokens:` section: what is
//! remembered of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use settings::{ByteSize, Span};

/// The least memory that holds any token worth remembering, and the most that is no slip of the pen.
const LEAST_CACHE: ByteSize = ByteSize::from_kib(64);
const MOST_CACHE: ByteSize = ByteSize::from_mib(16 << 10);

/// One issuer whose tokens are accepted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IssuerConfig {
    /// A short name for logs, metrics and policies (`context.token.issuer` is the URL): letters,
    /// digits, `-` and `_`, at most 64.
    pub name: String,
    /// What kind of issuer it is, which fixes the claims that its tokens must have.
    pub kind: Kind,
    /// The exact `iss` values that its tokens carry: one, or a list. No wildcards. Required, but for `spiffe`, as are
    /// `jwks` and `algorithms`.
    #[serde(deserialize_with = "one_or_more")]
    #[schemars(with = "OneOrMore")]
    pub issuer: Vec<String>,
    /// Where its public keys are published.
    pub jwks: Option<Jwks>,
    /// The signature algorithms that it uses; a token signed in any other way is refused. `cognito`
    /// signs with RS256 alone.
    pub algorithms: Vec<Algorithm>,
    /// The audiences that this service answers to: a token must name at least one of them, and may
    /// name others. Required for `first_party`; `internal` by default for `service`.
    pub audiences: Vec<String>,
    /// The trust domains whose workloads are believed, such as `cluster.local`. Required for `spiffe`, and for no
    /// other kind.
    pub trust_domains: Vec<String>,
    /// The app clients whose tokens are accepted: `client_id` of access tokens, `aud` of id tokens.
    /// Required for `cognito`, and for no other kind.
    pub client_ids: Vec<String>,
    /// The `token_use` values accepted. `cognito`: `access`, `id` or both, by default `access`.
    /// `first_party`: any but `svc`; where it is left out, a token carries either none or `access`.
    /// `service`: `svc`.
    pub token_use: Vec<String>,
    /// The `typ` header values accepted, in any case and with or without `application/`; `absent`
    /// stands for a token without one. Default: `absent`, `JWT`, `at+jwt`.
    pub typ: Vec<String>,
    /// The longest time from `iat` to `exp`, at most 24h. Default 24h for `cognito`, which issues
    /// tokens for up to a day, and 15m for the others. `leeway` is added.
    pub max_lifetime: Option<Span>,
    /// How far the issuer's clock may be from ours, at most 300s. Default 5s.
    pub leeway: Span,
    /// What principal the bearer becomes.
    pub principal: PrincipalConfig,
    /// What a user becomes whom a `service` acts for: claims are then members of `act`. Default
    /// `{type: User, id: sub}`.
    pub on_behalf_of: Option<PrincipalConfig>,
    /// Where the token's session is checked on each request. For a `service` it is the session of
    /// the user that it acts for, where `act` names one.
    pub session: SessionSource,
    /// Where it is checked that the user is still enabled. For a `service` it is the user that it
    /// acts for.
    pub user_status: UserStatusSource,
    /// The Cognito user pool that knows the issuer's users, where it is another than that of section `cognito`: its id, such
    /// as `us-east-1_EXAMPLE`, which begins with its region. All else of the section, the budget of requests included,
    /// holds for all pools together.
    #[schemars(with = "String")]
    pub user_pool: Option<String>,
}

/// The kinds of issuer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An Amazon Cognito user pool: access tokens and id tokens.
    Cognito,
    /// An authorization server of one's own.
    #[default]
    FirstParty,
    /// Tokens that services present, on their own or a user's behalf: `sub` is the service, its
    /// name begins with `spn:`, and `act` is the user that it acts for (the reverse of RFC 8693).
    Service,
    /// No issuer of tokens: the workloads of a mesh, by the SPIFFE ID in the certificate that Envoy checked
    /// (`source.principal`). It counts only where `listen.ext_authz_grpc` is on loopback or a Unix socket, and stands in
    /// for a token on routes whose `callers` hold `workload`.
    Spiffe,
}

/// Where an issuer publishes its keys (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Jwks {
    /// An `https` URL; `http` only on loopback. Redirects are not followed.
    Url(String),
    /// A file, read again when it changes.
    File(PathBuf),
}

/// The signature algorithms (RFC 7518) that are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2048 to 4096 bits.
    #[serde(rename = "RS256")]
    Rs256,
}

/// How a token's claims become a Cedar principal.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrincipalConfig {
    /// The entity type. Default `User`.
    #[serde(rename = "type")]
    pub entity_type: String,
    /// The claim that holds the entity id. Default `sub`. Of a workload (`spiffe`) it is the SPIFFE ID, `spiffe_id`.
    pub id: String,
    /// The claim that lists groups or roles, which become the principal's parents.
    pub groups: Option<GroupsConfig>,
    /// The principal's attributes by their Cedar names, each from one source. Of a workload `spiffe_id`, `trust_domain`,
    /// `path`, and in the form that Istio gives it `namespace` and `service_account`, stand for claims.
    pub attributes: BTreeMap<String, AttributeSource>,
}

/// Parents of the principal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupsConfig {
    /// The claim: an array of strings. A token without it has no groups.
    pub claim: String,
    /// The parents' entity type.
    #[serde(rename = "type")]
    pub entity_type: String,
}

/// Where one attribute of the principal comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum AttributeSource {
    /// A claim of the token: a string, a whole number, a boolean or an array of strings. A token
    /// without it leaves the attribute out.
    Claim(String),
    /// An attribute of the user directory.
    Directory {
        /// Its name there.
        directory: String,
    },
    /// The entity store.
    Store {
        /// Always true.
        store: bool,
    },
}

/// Where sessions are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionSource {
    /// Tokens stand alone until they expire.
    #[default]
    None,
    /// The session record in Redis.
    Redis,
}

/// Where the status of users is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserStatusSource {
    /// Nowhere.
    #[default]
    None,
    /// Cognito's AdminGetUser.
    Cognito,
    /// The record that the admin API writes.
    Redis,
}

/// Section `tokens`: what is remembered of tokens that have been verified.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokensConfig {
    /// The most memory that they may take: 0, which remembers none, or from 64KiB to 16GiB. Default 96MiB, which is
    /// 100,000 ordinary ones. One that does not fit costs its signature each time, and is not refused.
    pub cache_bytes: ByteSize,
}

/// One text, or a list of them.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

// === impl IssuerConfig ===

impl Default for IssuerConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: Kind::default(),
            issuer: Vec::new(),
            jwks: None,
            algorithms: Vec::new(),
            audiences: Vec::new(),
            trust_domains: Vec::new(),
            client_ids: Vec::new(),
            token_use: Vec::new(),
            typ: ["absent", "JWT", "at+jwt"].map(str::to_owned).to_vec(),
            max_lifetime: None,
            leeway: Span::from_secs(5),
            principal: PrincipalConfig::default(),
            on_behalf_of: None,
            session: SessionSource::default(),
            user_status: UserStatusSource::default(),
            user_pool: None,
        }
    }
}

// === impl TokensConfig ===

impl TokensConfig {
    /// Every mistake, with its key below the section.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let bytes = self.cache_bytes;
        if bytes.0 == 0 || (LEAST_CACHE..=MOST_CACHE).contains(&bytes) {
            return Vec::new();
        }
        vec![(
            "cache_bytes",
            "must be from 64KiB to 16GiB, or 0, which remembers no token",
        )]
    }
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            cache_bytes: ByteSize::from_mib(96),
        }
    }
}

// === impl Algorithm ===

impl Algorithm {
    /// Its name in JOSE.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

// === impl PrincipalConfig ===

impl Default for PrincipalConfig {
    fn default() -> Self {
        Self {
            entity_type: "User".to_owned(),
            id: "sub".to_owned(),
            groups: None,
            attributes: BTreeMap::new(),
        }
    }
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(list) => list,
    })
}
