//! What one issuer's tokens must say: its configuration, checked once.

use std::sync::Arc;

use crate::config::{
    Algorithm, AttributeSource, IssuerConfig, Kind, SessionSource, UserStatusSource,
};
use crate::jose::media_type;

/// The longest `leeway` and `max_lifetime`, in seconds.
const MAX_LEEWAY: u64 = 300;
const MAX_LIFETIME: u64 = 24 * 60 * 60;
/// The word that stands for a token without `typ`.
const ABSENT: &str = "absent";

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
    pub(crate) token_use: Vec<String>,
    pub(crate) max_lifetime: u64,
    pub(crate) leeway: u64,
    pub(crate) principal_type: Arc<str>,
    pub(crate) id_claim: String,
    /// The claim that lists groups, and their entity type.
    pub(crate) groups: Option<(String, Arc<str>)>,
    /// Cedar names and the claims that they come from.
    pub(crate) attributes: Vec<(Arc<str>, String)>,
    pub(crate) session: SessionSource,
    pub(crate) user_status: UserStatusSource,
}

/// Collects what is wrong, each with its key below the issuer.
pub(crate) struct Problems<'a> {
    index: usize,
    found: &'a mut Vec<(String, String)>,
}

impl Profile {
    /// Takes over the configuration. What it asks for and this version does not do is a problem
    /// like any mistake: a check that is silently left out would be a hole.
    pub(crate) fn new(config: &IssuerConfig, problems: &mut Problems<'_>) -> Self {
        check_unserved(config, problems);
        check_names(config, problems);
        check_lists(config, problems);
        check_times(config, problems);
        check_principal(config, problems);
        Self {
            name: config.name.as_str().into(),
            kind: config.kind,
            urls: config
                .issuer
                .iter()
                .map(|url| url.as_str().into())
                .collect(),
            algorithms: config.algorithms.clone(),
            typ: config
                .typ
                .iter()
                .map(|typ| (typ != ABSENT).then(|| media_type(typ)))
                .collect(),
            audiences: config.audiences.clone(),
            token_use: config.token_use.clone(),
            max_lifetime: config.max_lifetime.0.as_secs(),
            leeway: config.leeway.0.as_secs(),
            principal_type: config.principal.entity_type.as_str().into(),
            id_claim: config.principal.id.clone(),
            groups: config
                .principal
                .groups
                .as_ref()
                .map(|groups| (groups.claim.clone(), groups.entity_type.as_str().into())),
            attributes: config
                .principal
                .attributes
                .iter()
                .filter_map(|(name, source)| match source {
                    AttributeSource::Claim(claim) => Some((name.as_str().into(), claim.clone())),
                    AttributeSource::Directory { .. } | AttributeSource::Store { .. } => None,
                })
                .collect(),
            session: config.session,
            user_status: config.user_status,
        }
    }
}

// === impl Problems ===

impl<'a> Problems<'a> {
    pub(crate) fn of_issuer(index: usize, found: &'a mut Vec<(String, String)>) -> Self {
        Self { index, found }
    }

    pub(crate) fn add(&mut self, key: &str, message: impl Into<String>) {
        let dot = if key.is_empty() { "" } else { "." };
        self.found
            .push((format!("[{}]{dot}{key}", self.index), message.into()));
    }
}

fn check_unserved(config: &IssuerConfig, problems: &mut Problems<'_>) {
    let kind = match config.kind {
        Kind::FirstParty => None,
        Kind::Cognito => Some("cognito"),
        Kind::Service => Some("service"),
    };
    if let Some(kind) = kind {
        problems.add(
            "kind",
            format!("this version serves `first_party` only, not `{kind}`"),
        );
    }
    if config.session != SessionSource::None {
        problems.add(
            "session",
            "this version keeps no sessions: only `none` is served",
        );
    }
    if config.user_status != UserStatusSource::None {
        problems.add(
            "user_status",
            "this version checks no user status: only `none` is served",
        );
    }
    if !config.client_ids.is_empty() && config.kind == Kind::FirstParty {
        problems.add(
            "client_ids",
            "is for `cognito`; name the `audiences` of a `first_party`",
        );
    }
    for (name, source) in &config.principal.attributes {
        let key = format!("principal.attributes.{name}");
        match source {
            AttributeSource::Directory { .. } => {
                problems.add(
                    &key,
                    "this version asks no directory: use a claim or the store",
                );
            }
            AttributeSource::Store { store: false } => {
                problems.add(
                    &key,
                    "`store` can only be true; leave the attribute out instead",
                );
            }
            AttributeSource::Claim(claim) if claim.is_empty() => {
                problems.add(&key, "the claim's name is empty");
            }
            AttributeSource::Claim(_) | AttributeSource::Store { .. } => {}
        }
    }
}

fn check_names(config: &IssuerConfig, problems: &mut Problems<'_>) {
    let is_label = |name: &str| {
        (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if !is_label(&config.name) {
        problems.add("name", "must be 1 to 64 letters, digits, `-` or `_`");
    }
    if config.issuer.is_empty() {
        problems.add("issuer", "name at least one exact `iss` value");
    }
    for url in &config.issuer {
        if !is_exact(url) {
            problems.add(
                "issuer",
                format!("`{url}` is no exact value: no wildcards, no spaces"),
            );
        }
    }
}

fn check_lists(config: &IssuerConfig, problems: &mut Problems<'_>) {
    if config.algorithms.is_empty() {
        problems.add(
            "algorithms",
            "list the algorithms that the issuer signs with: ES256, RS256",
        );
    }
    if config.audiences.is_empty() && config.kind != Kind::Cognito {
        problems.add("audiences", "name at least one audience");
    }
    for audience in config
        .audiences
        .iter()
        .filter(|audience| !is_exact(audience))
    {
        let message = format!("`{audience}` is no exact value: no wildcards, no spaces");
        problems.add("audiences", message);
    }
    if config.typ.is_empty() {
        problems.add("typ", "an empty list would refuse every token");
    }
    for typ in config.typ.iter().filter(|typ| !is_exact(typ)) {
        problems.add("typ", format!("`{typ}` is no media type"));
    }
    for usage in &config.token_use {
        if !is_exact(usage) || (usage == "svc" && config.kind == Kind::FirstParty) {
            problems.add(
                "token_use",
                format!("`{usage}` is no use of a user's token"),
            );
        }
    }
}

fn check_times(config: &IssuerConfig, problems: &mut Problems<'_>) {
    if config.leeway.0.as_secs() > MAX_LEEWAY {
        problems.add("leeway", format!("must be at most {MAX_LEEWAY}s"));
    }
    if !(1..=MAX_LIFETIME).contains(&config.max_lifetime.0.as_secs()) {
        problems.add("max_lifetime", "must be from 1s to 24h");
    }
}

fn check_principal(config: &IssuerConfig, problems: &mut Problems<'_>) {
    let principal = &config.principal;
    if !is_entity_type(&principal.entity_type) {
        let message = format!("`{}` is no entity type", principal.entity_type);
        problems.add("principal.type", message);
    }
    if principal.id.is_empty() {
        problems.add("principal.id", "the claim's name is empty");
    }
    if let Some(groups) = &principal.groups {
        if groups.claim.is_empty() {
            problems.add("principal.groups.claim", "the claim's name is empty");
        }
        if !is_entity_type(&groups.entity_type) {
            let message = format!("`{}` is no entity type", groups.entity_type);
            problems.add("principal.groups.type", message);
        }
    }
}

/// Whether a configured value can be compared with a token's as it stands.
fn is_exact(value: &str) -> bool {
    !value.is_empty()
        && value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'*')
}

/// Cedar identifiers joined by `::`.
fn is_entity_type(name: &str) -> bool {
    name.split("::").all(|part| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}
