//! What one issuer's tokens must say: its configuration, checked once.

mod check;

use std::sync::Arc;

use crate::config::{
    Algorithm, AttributeSource, IssuerConfig, Kind, PrincipalConfig, SessionSource,
    UserStatusSource,
};
use crate::jose::media_type;

pub(crate) use check::{Problems, check_distinct, check_mapping, check_name};

/// The word that stands for a token without `typ`.
const ABSENT: &str = "absent";
/// The longest life of a token where none is configured, in seconds.
const LIFETIME: u64 = 15 * 60;
/// The same for Cognito, which can be told to issue tokens for a day.
const COGNITO_LIFETIME: u64 = 24 * 60 * 60;
/// The audience of tokens between services where none is configured.
const INTERNAL: &str = "internal";

/// The rules of one issuer.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) urls: Vec<Arc<str>>,
    pub(crate) algorithms: Vec<Algorithm>,
    /// Accepted `typ` headers in comparable form; `None` is a token without one.
    pub(crate) typ: Vec<Option<String>>,
    pub(crate) audiences: Vec<String>,
    pub(crate) client_ids: Vec<String>,
    /// Accepted `token_use` claims; `None` is a token without one.
    pub(crate) token_use: Vec<Option<String>>,
    pub(crate) max_lifetime: u64,
    pub(crate) leeway: u64,
    pub(crate) principal: Mapping,
    /// What the user becomes whom a service acts for.
    pub(crate) on_behalf_of: Mapping,
    pub(crate) session: SessionSource,
    pub(crate) user_status: UserStatusSource,
}

/// How claims become an entity.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) entity_type: Arc<str>,
    pub(crate) id_claim: String,
    /// The claim that lists groups, and their entity type.
    pub(crate) groups: Option<(String, Arc<str>)>,
    /// Cedar names and the claims that they come from.
    pub(crate) attributes: Vec<(Arc<str>, String)>,
}

// === impl Profile ===

impl Profile {
    /// Takes over the configuration. What it asks for and this version does not do is a problem
    /// like any mistake: a check that is silently left out would be a hole.
    pub(crate) fn new(config: &IssuerConfig, problems: &mut Problems<'_>) -> Self {
        check::check(config, problems);
        let lifetime = match config.kind {
            Kind::Cognito => COGNITO_LIFETIME,
            Kind::FirstParty | Kind::Service | Kind::Spiffe => LIFETIME,
        };
        Self {
            name: config.name.as_str().into(),
            kind: config.kind,
            urls: config
                .issuer
                .iter()
                .map(|url| url.as_str().into())
                .collect(),
            algorithms: algorithms(config),
            typ: config
                .typ
                .iter()
                .map(|typ| (typ != ABSENT).then(|| media_type(typ)))
                .collect(),
            audiences: audiences(config),
            client_ids: config.client_ids.clone(),
            token_use: uses(config),
            max_lifetime: config
                .max_lifetime
                .map_or(lifetime, |longest| longest.0.as_secs()),
            leeway: config.leeway.0.as_secs(),
            principal: Mapping::new(&config.principal),
            on_behalf_of: match &config.on_behalf_of {
                Some(user) => Mapping::new(user),
                None => Mapping::new(&PrincipalConfig::default()),
            },
            session: config.session,
            user_status: config.user_status,
        }
    }
}

// === impl Mapping ===

impl Mapping {
    pub(crate) fn new(config: &PrincipalConfig) -> Self {
        let groups = config.groups.as_ref();
        let from_claim = |(name, source): (&String, &AttributeSource)| match source {
            AttributeSource::Claim(claim) => Some((name.as_str().into(), claim.clone())),
            AttributeSource::Directory { .. } | AttributeSource::Store { .. } => None,
        };
        Self {
            entity_type: config.entity_type.as_str().into(),
            id_claim: config.id.clone(),
            groups: groups.map(|groups| (groups.claim.clone(), groups.entity_type.as_str().into())),
            attributes: config.attributes.iter().filter_map(from_claim).collect(),
        }
    }
}

// === defaults ===

fn algorithms(config: &IssuerConfig) -> Vec<Algorithm> {
    if config.algorithms.is_empty() && config.kind == Kind::Cognito {
        vec![Algorithm::Rs256]
    } else {
        config.algorithms.clone()
    }
}

fn audiences(config: &IssuerConfig) -> Vec<String> {
    if config.audiences.is_empty() && config.kind == Kind::Service {
        vec![INTERNAL.to_owned()]
    } else {
        config.audiences.clone()
    }
}

fn uses(config: &IssuerConfig) -> Vec<Option<String>> {
    let named = |usage: &str| Some(usage.to_owned());
    match config.kind {
        // Whatever is configured, nothing else is a service's token.
        Kind::Service => vec![named("svc")],
        Kind::Cognito if config.token_use.is_empty() => vec![named("access")],
        Kind::FirstParty if config.token_use.is_empty() => vec![None, named("access")],
        Kind::Spiffe => Vec::new(),
        Kind::Cognito | Kind::FirstParty => config.token_use.iter().cloned().map(Some).collect(),
    }
}
