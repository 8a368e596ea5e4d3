//! From an active user to the Cedar principal.
//!
//! Each fact about a principal has one source, named in the configuration of its issuer, and sources are never merged:
//! a role that the issuer no longer grants is gone, whatever the entity store still says.

use std::collections::HashMap;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use cedar_policy_core::ast::{PartialValue, RestrictedExpr};
use identity::config::{AttributeSource, IssuerConfig};
use identity::{Claim, Identity};
use pdp::{Namespace, Snapshot};

use crate::config::KeyedProblem;

#[cfg(test)]
mod tests;

/// How each issuer's identities become principals.
#[derive(Debug, Default)]
pub struct Principals {
    by_issuer: HashMap<String, Mapping>,
}

/// One issuer's rules.
#[derive(Debug)]
struct Mapping {
    principal_type: EntityTypeName,
    /// The type of the parents that the token names; `None` when the store names all of them.
    group_type: Option<EntityTypeName>,
    /// The attributes whose source is the entity store.
    stored_attributes: Vec<String>,
}

/// Why an identity is no principal. The text is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalFault {
    /// The identity comes from an issuer that is not configured here.
    #[error("the issuer has no principal mapping")]
    UnknownIssuer,
    /// An attribute has no Cedar value.
    #[error("an attribute of the principal has no Cedar value")]
    Attribute,
}

// === impl Principals ===

impl Principals {
    /// Reads the `principal` part of every issuer; keys of problems begin with `issuers[0]`.
    ///
    /// # Errors
    /// Names that are no Cedar types.
    pub fn new(issuers: &[IssuerConfig], namespace: &Namespace) -> Result<Self, Vec<KeyedProblem>> {
        let mut by_issuer = HashMap::new();
        let mut problems = Vec::new();
        for (index, issuer) in issuers.iter().enumerate() {
            let mut resolve = |key: &str, name: &str| {
                let key = format!("issuers[{index}].principal.{key}");
                namespace
                    .entity_type(name)
                    .map_err(|error| problems.push((key, error.to_string())))
                    .ok()
            };
            let principal_type = resolve("type", &issuer.principal.entity_type);
            let group_type = match &issuer.principal.groups {
                Some(groups) => resolve("groups.type", &groups.entity_type).map(Some),
                None => Some(None),
            };
            let mut stored_attributes = Vec::new();
            for (name, source) in &issuer.principal.attributes {
                match source {
                    AttributeSource::Store { .. } => stored_attributes.push(name.clone()),
                    // The identity brings these along, or its issuer is refused for want of the source.
                    AttributeSource::Claim(_) | AttributeSource::Directory { .. } => {}
                }
            }
            if let (Some(principal_type), Some(group_type)) = (principal_type, group_type) {
                let mapping = Mapping {
                    principal_type,
                    group_type,
                    stored_attributes,
                };
                by_issuer.insert(issuer.name.clone(), mapping);
            }
        }
        if problems.is_empty() {
            Ok(Self { by_issuer })
        } else {
            Err(problems)
        }
    }

    /// The name of the principal that an identity is.
    pub(crate) fn uid(&self, identity: &Identity) -> Result<EntityUid, PrincipalFault> {
        Ok(self.mapping(identity)?.uid(identity))
    }

    /// The principal that an identity is, with the attributes and parents that its sources give it now. Attributes in
    /// `missing` are added where those have none.
    pub(crate) fn entity(
        &self,
        identity: &Identity,
        snapshot: &Snapshot,
        missing: Vec<(String, String)>,
    ) -> Result<Entity, PrincipalFault> {
        let mapping = self.mapping(identity)?;
        let uid = mapping.uid(identity);
        let mut attributes: HashMap<String, RestrictedExpression> = identity
            .attributes
            .iter()
            .map(|(name, claim)| (name.to_string(), express(claim)))
            .collect();
        for name in &mapping.stored_attributes {
            if let Some(value) = snapshot.stored_attribute(&uid, name) {
                attributes.insert(name.clone(), value);
            }
        }
        for (name, value) in missing {
            attributes
                .entry(name)
                .or_insert_with(|| RestrictedExpression::new_string(value));
        }

        let mut parents: Vec<EntityUid> = Vec::new();
        if let Some(group_type) = &mapping.group_type {
            let group = |name: &String| {
                EntityUid::from_type_name_and_id(group_type.clone(), EntityId::new(name))
            };
            parents.extend(identity.groups.iter().map(group));
        }
        let mut tags = Vec::new();
        if let Some(stored) = snapshot.stored(&uid) {
            let stored = stored.as_ref();
            // Direct parents only: what lies above a role that is gone has to go with it.
            let kept = stored.parents().cloned().map(EntityUid::from);
            parents.extend(
                kept.filter(|parent| Some(parent.type_name()) != mapping.group_type.as_ref()),
            );
            // No claim can give a tag, so the store is their one source.
            tags.extend(stored.tags().filter_map(|(name, value)| match value {
                PartialValue::Value(value) => {
                    Some((name.to_string(), RestrictedExpr::from(value.clone()).into()))
                }
                PartialValue::Residual(_) => None,
            }));
        }
        Entity::new_with_tags(uid, attributes, parents, tags).map_err(|_| PrincipalFault::Attribute)
    }

    fn mapping(&self, identity: &Identity) -> Result<&Mapping, PrincipalFault> {
        self.by_issuer
            .get(&*identity.issuer)
            .ok_or(PrincipalFault::UnknownIssuer)
    }
}

// === impl Mapping ===

impl Mapping {
    fn uid(&self, identity: &Identity) -> EntityUid {
        let id = EntityId::new(&identity.principal_id);
        EntityUid::from_type_name_and_id(self.principal_type.clone(), id)
    }
}

// === helpers ===

/// A claim as a Cedar value.
fn express(claim: &Claim) -> RestrictedExpression {
    match claim {
        Claim::String(text) => RestrictedExpression::new_string(text.clone()),
        Claim::Long(number) => RestrictedExpression::new_long(*number),
        Claim::Bool(truth) => RestrictedExpression::new_bool(*truth),
        Claim::Strings(texts) => RestrictedExpression::new_set(
            texts.iter().cloned().map(RestrictedExpression::new_string),
        ),
    }
}
