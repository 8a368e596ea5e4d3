//! Do issuers make principals that the schema knows?

use cedar_policy::EntityTypeName;
use identity::config::{AttributeSource, IssuerConfig, Kind, PrincipalConfig};

use super::vocabulary::{AttributeKind, Vocabulary, hint, listed};
use super::{Findings, Parts, Place};

pub(super) fn check(parts: &Parts<'_>, vocabulary: &Vocabulary<'_>, findings: &mut Findings) {
    for (index, issuer) in parts.issuers.iter().enumerate() {
        let mut check = IssuerCheck {
            parts,
            vocabulary,
            index,
            key: "principal",
            findings: &mut *findings,
        };
        check.issuer(issuer);
        if issuer.kind == Kind::Service {
            check.key = "on_behalf_of";
            check.acted_for(issuer);
        }
    }
}

struct IssuerCheck<'c> {
    parts: &'c Parts<'c>,
    vocabulary: &'c Vocabulary<'c>,
    index: usize,
    /// Which of the issuer's mappings is looked at.
    key: &'static str,
    findings: &'c mut Findings,
}

impl IssuerCheck<'_> {
    fn issuer(&mut self, issuer: &IssuerConfig) {
        let principal = &issuer.principal;
        let Some(principal_type) = self.mapping(principal) else {
            return;
        };
        if !self
            .vocabulary
            .askable_actions()
            .iter()
            .any(|action| self.vocabulary.principals(action).contains(&principal_type))
        {
            let message = format!(
                "no action is for principals of type `{principal_type}`: all of them are denied everything"
            );
            self.findings.warning(self.place("type"), message);
        }
    }

    /// The users that services act for. Without a word about them they are of a type that a schema need not know, as
    /// long as no service acts for anybody.
    fn acted_for(&mut self, issuer: &IssuerConfig) {
        if let Some(user) = &issuer.on_behalf_of {
            self.mapping(user);
            return;
        }
        let name = PrincipalConfig::default().entity_type;
        let entity_type = self.parts.namespace.entity_type(&name);
        if entity_type.is_ok_and(|entity_type| !self.vocabulary.has_type(&entity_type)) {
            let message = format!(
                "the schema has no entity type `{name}`: services that act for users are denied everything"
            );
            self.findings.warning(self.place("type"), message);
        }
    }

    /// What any mapping must be; the type that it makes.
    fn mapping(&mut self, principal: &PrincipalConfig) -> Option<EntityTypeName> {
        let principal_type = self.known_type("type", &principal.entity_type)?;
        if let Some(groups) = &principal.groups
            && let Some(group_type) = self.known_type("groups.type", &groups.entity_type)
        {
            let fitting = self.vocabulary.groups(&principal_type);
            if !fitting.contains(&group_type) {
                let fitting: Vec<_> = fitting.into_iter().collect();
                let may = match fitting.as_slice() {
                    [] => "it is a member of nothing".to_owned(),
                    fitting => format!("it may be a member of {}", listed(fitting)),
                };
                self.problem(
                    "groups.type",
                    format!("`{principal_type}` cannot be a member of `{group_type}`: {may}"),
                );
            }
        }
        self.attributes(principal, &principal_type);
        Some(principal_type)
    }

    fn attributes(&mut self, principal: &PrincipalConfig, principal_type: &EntityTypeName) {
        let attributes = &principal.attributes;
        for (name, source) in attributes {
            let key = format!("attributes.{name}");
            match (self.vocabulary.attribute(principal_type, name), source) {
                (None, _) => {
                    let known = self.vocabulary.attributes(principal_type);
                    let hint = hint(name, known.into_iter());
                    self.problem(
                        &key,
                        format!("`{principal_type}` declares no attribute `{name}`{hint}"),
                    );
                }
                (Some(attribute), AttributeSource::Claim(_))
                    if attribute.kind == AttributeKind::Other =>
                {
                    self.problem(
                        &key,
                        format!("attribute `{name}` of `{principal_type}` is of a type that no claim gives: String, Long, Bool and Set<String> are"),
                    );
                }
                (Some(_), _) => {}
            }
        }
        let missing: Vec<String> = self
            .vocabulary
            .required(principal_type)
            .into_iter()
            .filter(|name| !attributes.contains_key(name))
            .collect();
        if !missing.is_empty() {
            self.problem(
                "attributes",
                format!(
                    "`{principal_type}` requires {}: without a source every request is denied",
                    listed(&missing)
                ),
            );
        }
    }

    fn known_type(&mut self, key: &str, name: &str) -> Option<EntityTypeName> {
        // A name that is none is reported where issuers are read.
        let entity_type = self.parts.namespace.entity_type(name).ok()?;
        if self.vocabulary.has_type(&entity_type) {
            return Some(entity_type);
        }
        let hint = self.vocabulary.type_hint(&entity_type);
        self.problem(
            key,
            format!("the schema has no entity type `{entity_type}`{hint}"),
        );
        None
    }

    fn problem(&mut self, key: &str, message: String) {
        let place = self.place(key);
        self.findings.problem(place, message);
    }

    fn place(&self, key: &str) -> Place {
        Place::Configuration(format!("issuers[{}].{}.{key}", self.index, self.key))
    }
}
