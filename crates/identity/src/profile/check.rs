//! What is wrong with the configuration of an issuer.

use super::{algorithms, audiences, uses};
use crate::config::{
    Algorithm, AttributeSource, IssuerConfig, Kind, PrincipalConfig, UserStatusSource,
};
use crate::directory::region;

/// The longest `leeway` and `max_lifetime`, in seconds.
const MAX_LEEWAY: u64 = 300;
const MAX_LIFETIME: u64 = 24 * 60 * 60;

/// Collects what is wrong, each with its key below the issuer.
pub(crate) struct Problems<'a> {
    index: usize,
    found: &'a mut Vec<(String, String)>,
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

/// Everything that one entry shows by itself.
pub(super) fn check(config: &IssuerConfig, problems: &mut Problems<'_>) {
    check_names(config, problems);
    check_lists(config, problems);
    check_targets(config, problems);
    check_uses(config, problems);
    check_pool(config, problems);
    check_times(config, problems);
    let of_bearer = match config.kind {
        Kind::Service | Kind::Spiffe => Err("a service is in no directory of users"),
        Kind::Cognito | Kind::FirstParty => directory(config),
    };
    check_mapping("principal", &config.principal, of_bearer, problems);
    if !config.trust_domains.is_empty() {
        problems.add("trust_domains", "is for `spiffe`: tokens name an `issuer`");
    }
    check_acting(config, problems);
}

/// Names are unique, and no token can fit two entries.
pub(crate) fn check_distinct(configs: &[IssuerConfig], problems: &mut Vec<(String, String)>) {
    for (index, config) in configs.iter().enumerate() {
        for earlier in configs.iter().take(index) {
            let mut problems = Problems::of_issuer(index, problems);
            if earlier.name == config.name {
                let message = format!("`{}` is taken by another issuer", config.name);
                problems.add("name", message);
            }
            check_tokens_apart(config, earlier, &mut problems);
        }
    }
}

fn check_tokens_apart(config: &IssuerConfig, earlier: &IssuerConfig, problems: &mut Problems<'_>) {
    let shared = |ours: &[String], theirs: &[String]| {
        ours.iter().find(|value| theirs.contains(value)).cloned()
    };
    if let Some(domain) = shared(&config.trust_domains, &earlier.trust_domains) {
        let message = format!("`{domain}` is a trust domain of `{}` as well", earlier.name);
        problems.add("trust_domains", message);
    }
    let Some(url) = shared(&config.issuer, &earlier.issuer) else {
        return;
    };
    if config.kind != earlier.kind {
        if [config.kind, earlier.kind].contains(&Kind::Cognito) {
            let message = format!(
                "`{url}` is the user pool of `{}`, or the reverse: a pool issues no other tokens",
                earlier.name
            );
            problems.add("issuer", message);
        }
        return;
    }
    let uses_meet = uses(config)
        .iter()
        .any(|usage| uses(earlier).contains(usage));
    let (key, ours, theirs) = match config.kind {
        Kind::Cognito => (
            "client_ids",
            config.client_ids.clone(),
            earlier.client_ids.clone(),
        ),
        Kind::FirstParty | Kind::Service | Kind::Spiffe => {
            ("audiences", audiences(config), audiences(earlier))
        }
    };
    if uses_meet && let Some(target) = shared(&ours, &theirs) {
        let message = format!(
            "a token of `{url}` for `{target}` would fit `{}` as well",
            earlier.name
        );
        problems.add(key, message);
    }
}

/// The entry's own name.
pub(crate) fn check_name(config: &IssuerConfig, problems: &mut Problems<'_>) {
    let is_label = |name: &str| {
        (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if !is_label(&config.name) {
        problems.add("name", "must be 1 to 64 letters, digits, `-` or `_`");
    }
}

fn check_names(config: &IssuerConfig, problems: &mut Problems<'_>) {
    check_name(config, problems);
    if config.issuer.is_empty() {
        problems.add("issuer", "name at least one exact `iss` value");
    }
    for url in config.issuer.iter().filter(|url| !is_exact(url)) {
        problems.add(
            "issuer",
            format!("`{url}` is no exact value: no wildcards, no spaces"),
        );
    }
    let pool = |url: &String| url.rsplit('/').next().unwrap_or_default().to_owned();
    let pools: Vec<_> = config.issuer.iter().map(pool).collect();
    if config.kind == Kind::Cognito
        && pools
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a != b))
    {
        problems.add(
            "issuer",
            "these are different user pools: their app clients and keys must not mix, so give each pool an entry",
        );
    }
}

fn check_lists(config: &IssuerConfig, problems: &mut Problems<'_>) {
    let algorithms = algorithms(config);
    if algorithms.is_empty() {
        problems.add(
            "algorithms",
            "list the algorithms that the issuer signs with: ES256, RS256",
        );
    }
    if config.kind == Kind::Cognito && algorithms.contains(&Algorithm::Es256) {
        problems.add("algorithms", "Cognito signs with RS256 alone");
    }
    if config.typ.is_empty() {
        problems.add("typ", "an empty list would refuse every token");
    }
    for typ in config.typ.iter().filter(|typ| !is_exact(typ)) {
        problems.add("typ", format!("`{typ}` is no media type"));
    }
}

/// Whom tokens must be for.
fn check_targets(config: &IssuerConfig, problems: &mut Problems<'_>) {
    if config.kind == Kind::Cognito {
        if config.client_ids.is_empty() {
            problems.add("client_ids", "name at least one app client of the pool");
        }
        if !config.audiences.is_empty() {
            problems.add(
                "audiences",
                "Cognito's tokens name app clients: list them as `client_ids`",
            );
        }
    } else {
        if audiences(config).is_empty() {
            problems.add("audiences", "name at least one audience");
        }
        if !config.client_ids.is_empty() {
            problems.add("client_ids", "is for `cognito`; name the `audiences`");
        }
    }
    for (key, values) in [
        ("audiences", &config.audiences),
        ("client_ids", &config.client_ids),
    ] {
        for value in values.iter().filter(|value| !is_exact(value)) {
            let message = format!("`{value}` is no exact value: no wildcards, no spaces");
            problems.add(key, message);
        }
    }
}

fn check_uses(config: &IssuerConfig, problems: &mut Problems<'_>) {
    for usage in &config.token_use {
        let message = match config.kind {
            Kind::Cognito if !["access", "id"].contains(&usage.as_str()) => {
                format!("`{usage}` is none of Cognito's: `access` and `id` are")
            }
            Kind::Service if usage != "svc" => {
                format!("`{usage}` is no use of a service's token: only `svc` is")
            }
            Kind::FirstParty if usage == "svc" || !is_exact(usage) => {
                format!("`{usage}` is no use of a user's token")
            }
            Kind::Cognito | Kind::FirstParty | Kind::Service | Kind::Spiffe => continue,
        };
        problems.add("token_use", message);
    }
}

fn check_pool(config: &IssuerConfig, problems: &mut Problems<'_>) {
    let pool = config.user_pool.as_deref();
    if pool.is_some_and(|pool| region(pool).is_none()) {
        let message = "must be the id of a pool, such as `us-east-1_EXAMPLE`";
        problems.add("user_pool", message);
    }
}

fn check_times(config: &IssuerConfig, problems: &mut Problems<'_>) {
    if config.leeway.0.as_secs() > MAX_LEEWAY {
        problems.add("leeway", format!("must be at most {MAX_LEEWAY}s"));
    }
    if let Some(longest) = config.max_lifetime
        && !(1..=MAX_LIFETIME).contains(&longest.0.as_secs())
    {
        problems.add("max_lifetime", "must be from 1s to 24h");
    }
}

/// Whether a directory is asked about users, whose attributes come with the answer.
fn directory(config: &IssuerConfig) -> Result<(), &'static str> {
    match config.user_status {
        UserStatusSource::None => Err("no directory is asked without `user_status`"),
        UserStatusSource::Cognito | UserStatusSource::Redis => Ok(()),
    }
}

pub(crate) fn check_mapping(
    key: &str,
    principal: &PrincipalConfig,
    directory: Result<(), &'static str>,
    problems: &mut Problems<'_>,
) {
    if !is_entity_type(&principal.entity_type) {
        let message = format!("`{}` is no entity type", principal.entity_type);
        problems.add(&format!("{key}.type"), message);
    }
    if principal.id.is_empty() {
        problems.add(&format!("{key}.id"), "the claim's name is empty");
    }
    if let Some(groups) = &principal.groups {
        if groups.claim.is_empty() {
            problems.add(&format!("{key}.groups.claim"), "the claim's name is empty");
        }
        if !is_entity_type(&groups.entity_type) {
            let message = format!("`{}` is no entity type", groups.entity_type);
            problems.add(&format!("{key}.groups.type"), message);
        }
    }
    for (name, source) in &principal.attributes {
        let key = format!("{key}.attributes.{name}");
        let message = match source {
            AttributeSource::Directory { directory: name } if name.is_empty() => {
                "the attribute's name is empty"
            }
            AttributeSource::Directory { .. } => match directory {
                Ok(()) => continue,
                Err(message) => message,
            },
            AttributeSource::Store { store: false } => {
                "`store` can only be true; leave the attribute out instead"
            }
            AttributeSource::Claim(claim) if claim.is_empty() => "the claim's name is empty",
            AttributeSource::Claim(_) | AttributeSource::Store { .. } => continue,
        };
        problems.add(&key, message);
    }
}

/// Whom a service may act for.
fn check_acting(config: &IssuerConfig, problems: &mut Problems<'_>) {
    let Some(user) = &config.on_behalf_of else {
        return;
    };
    match config.kind {
        Kind::Service => {
            check_mapping("on_behalf_of", user, directory(config), problems);
        }
        Kind::Cognito | Kind::FirstParty | Kind::Spiffe => {
            problems.add("on_behalf_of", "is for `service`: users act for themselves");
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
