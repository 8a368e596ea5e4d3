//! Workloads of a mesh, which show no token: the SPIFFE ID in the certificate that the proxy in front of us checked.
//!
//! A SPIFFE ID is read as the standard (SPIFFE-ID, 2) writes it down and in no other spelling, so that one workload
//! has one name.

use std::sync::Arc;

use crate::config::{AttributeSource, IssuerConfig, Kind};
use crate::identity::{Claim, Identity};
use crate::profile::{Mapping, Problems, check_mapping, check_name};

#[cfg(test)]
mod tests;

/// The longest SPIFFE ID and the longest trust domain, in bytes.
const MAX_ID: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;
/// What stands for a claim where a mapping wants one.
const FACTS: [&str; 6] = [
    "spiffe_id",
    "sub",
    "trust_domain",
    "path",
    "namespace",
    "service_account",
];

/// The workloads of some trust domains: one entry of `kind: spiffe`.
#[derive(Debug)]
pub(crate) struct Workloads {
    name: Arc<str>,
    /// The domains that are believed, each with the text that stands for an `iss`.
    trust_domains: Vec<(String, Arc<str>)>,
    principal: Mapping,
}

/// The name of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SpiffeId<'a> {
    text: &'a str,
    trust_domain: &'a str,
    /// With its leading slash.
    path: &'a str,
}

// === impl Workloads ===

impl Workloads {
    /// Takes over an entry of `kind: spiffe`.
    pub(crate) fn new(config: &IssuerConfig, problems: &mut Problems<'_>) -> Self {
        check(config, problems);
        let domain = |domain: &String| (domain.clone(), format!("spiffe://{domain}").into());
        Self {
            name: config.name.as_str().into(),
            trust_domains: config.trust_domains.iter().map(domain).collect(),
            principal: Mapping::new(&config.principal),
        }
    }

    /// The workload of this name, if it is of one of the trust domains. `now` in seconds since 1970.
    pub(crate) fn identify(&self, name: &str, now: u64) -> Option<Identity> {
        let id = SpiffeId::parse(name)?;
        let mut domains = self.trust_domains.iter();
        let (_, url) = domains.find(|(domain, _)| domain == id.trust_domain)?;
        let attributes = self.principal.attributes.iter();
        let attributes = attributes.filter_map(|(name, fact)| {
            Some((Arc::clone(name), Claim::String(id.fact(fact)?.to_owned())))
        });
        Some(Identity {
            issuer: Arc::clone(&self.name),
            issuer_url: Arc::clone(url),
            kind: Kind::Spiffe,
            is_id_token: false,
            subject: id.text.into(),
            principal_type: Arc::clone(&self.principal.entity_type),
            principal_id: id.fact(&self.principal.id_claim)?.into(),
            group_type: None,
            groups: Vec::new(),
            attributes: attributes.collect(),
            scopes: Vec::new(),
            username: None,
            client_id: None,
            token_id: None,
            origin_token_id: None,
            authenticated_at: None,
            // A certificate is shown anew with each connection, and holds for the request that came over it.
            issued_at: now,
            expires_at: now,
            session: None,
            session_source: crate::config::SessionSource::None,
            status_source: crate::config::UserStatusSource::None,
            on_behalf_of: None,
        })
    }
}

// === impl SpiffeId ===

impl<'a> SpiffeId<'a> {
    /// Reads `spiffe://trust-domain/path`. A trust domain by itself names no workload.
    fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_ID {
            return None;
        }
        let rest = text.strip_prefix("spiffe://")?;
        let (trust_domain, path) = rest.split_at(rest.find('/')?);
        let segments = path.strip_prefix('/')?;
        let sound = is_trust_domain(trust_domain) && segments.split('/').all(is_segment);
        sound.then_some(Self {
            text,
            trust_domain,
            path,
        })
    }

    /// What stands for a claim of this name.
    fn fact(&self, name: &str) -> Option<&'a str> {
        match name {
            "spiffe_id" | "sub" => Some(self.text),
            "trust_domain" => Some(self.trust_domain),
            "path" => Some(self.path),
            "namespace" => self.kubernetes().map(|(namespace, _)| namespace),
            "service_account" => self.kubernetes().map(|(_, account)| account),
            _ => None,
        }
    }

    /// Namespace and service account, where the path is of the form that Istio gives it: `/ns/…/sa/…`.
    fn kubernetes(&self) -> Option<(&'a str, &'a str)> {
        let (namespace, account) = self.path.strip_prefix("/ns/")?.split_once("/sa/")?;
        let one = |part: &str| !part.contains('/');
        (one(namespace) && one(account)).then_some((namespace, account))
    }
}

fn is_trust_domain(domain: &str) -> bool {
    (1..=MAX_TRUST_DOMAIN).contains(&domain.len())
        && domain
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

// === configuration ===

/// Everything that one entry shows by itself.
fn check(config: &IssuerConfig, problems: &mut Problems<'_>) {
    check_name(config, problems);
    if config.trust_domains.is_empty() {
        problems.add("trust_domains", "name at least one trust domain");
    }
    for (index, domain) in config.trust_domains.iter().enumerate() {
        if !is_trust_domain(domain) {
            problems.add(
                &format!("trust_domains[{index}]"),
                format!("`{domain}` is no trust domain: lower-case letters, digits, `.`, `-` and `_`, without `spiffe://`"),
            );
        }
    }
    check_tokens(config, problems);
    let principal = &config.principal;
    check_mapping(
        "principal",
        principal,
        Err("a workload is in no directory of users"),
        problems,
    );
    if principal.groups.is_some() {
        problems.add("principal.groups", "a certificate names no groups");
    }
    if !["sub", "spiffe_id"].contains(&principal.id.as_str()) {
        problems.add(
            "principal.id",
            "must be `spiffe_id`, which names one workload",
        );
    }
    for (name, source) in &principal.attributes {
        if let AttributeSource::Claim(fact) = source
            && !FACTS.contains(&fact.as_str())
        {
            problems.add(
                &format!("principal.attributes.{name}"),
                "of a workload only `spiffe_id`, `trust_domain`, `path`, `namespace` and `service_account` are known",
            );
        }
    }
}

/// What is about tokens has no meaning here.
fn check_tokens(config: &IssuerConfig, problems: &mut Problems<'_>) {
    let default = IssuerConfig::default();
    for (key, given) in [
        ("issuer", !config.issuer.is_empty()),
        ("jwks", config.jwks.is_some()),
        ("algorithms", !config.algorithms.is_empty()),
        ("audiences", !config.audiences.is_empty()),
        ("client_ids", !config.client_ids.is_empty()),
        ("token_use", !config.token_use.is_empty()),
        ("typ", config.typ != default.typ),
        ("max_lifetime", config.max_lifetime.is_some()),
        ("leeway", config.leeway.0 != default.leeway.0),
        ("on_behalf_of", config.on_behalf_of.is_some()),
        ("session", config.session != default.session),
        ("user_status", config.user_status != default.user_status),
    ] {
        if given {
            problems.add(key, "is about tokens, and workloads of `spiffe` show none");
        }
    }
}
