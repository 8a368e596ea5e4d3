//! From an active user to the Cedar principal.
//!
//! Each fact about a principal has one source, named in the configuration of its issuer, and sources are never merged:
//! a role that the issuer no longer grants is gone, whatever the entity store still says.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid};
use cedar_policy_core::ast::{self, PartialValue, Value};
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
pub(crate) struct Mapping {
    principal_type: EntityTypeName,
    /// The type of the parents that the token names; `None` when the store names all of them.
    group_type: Option<EntityTypeName>,
    /// The attributes whose source is the entity store.
    stored_attributes: Vec<String>,
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

    /// The rules for an identity; none when its issuer is not configured here.
    pub(crate) fn of(&self, identity: &Identity) -> Option<&Mapping> {
        self.by_issuer.get(&*identity.issuer)
    }
}

// === impl Mapping ===

impl Mapping {
    /// The name of the principal that an identity is.
    pub(crate) fn uid(&self, identity: &Identity) -> EntityUid {
        let id = EntityId::new(&identity.principal_id);
        EntityUid::from_type_name_and_id(self.principal_type.clone(), id)
    }

    /// The principal of this name that an identity is, with the attributes and parents that its sources give it now.
    /// Attributes in `missing` are added where those have none.
    pub(crate) fn entity(
        &self,
        uid: EntityUid,
        identity: &Identity,
        snapshot: &Snapshot,
        missing: Vec<(String, String)>,
    ) -> Entity {
        let stored = snapshot.stored(&uid).map(AsRef::as_ref);

        // Of two values for one name the later counts.
        let missing = missing
            .into_iter()
            .map(|(name, text)| (name.into(), text.into()));
        let claimed = identity
            .attributes
            .iter()
            .map(|(name, claim)| (name.as_ref().into(), express(claim)));
        let kept = stored.into_iter().flat_map(|stored| {
            let of = |name: &String| Some((name.into(), whole(stored.get(name)?)?));
            self.stored_attributes.iter().filter_map(of)
        });
        let attributes = missing.chain(claimed).chain(kept);

        let groups = self.group_type.iter().flat_map(|group_type| {
            let group = |name: &String| {
                EntityUid::from_type_name_and_id(group_type.clone(), EntityId::new(name)).into()
            };
            identity.groups.iter().map(group)
        });
        // Direct parents only: what lies above a role that is gone has to go with it.
        let others = stored.into_iter().flat_map(ast::Entity::parents);
        let others = others.filter(|parent| {
            Some(parent.entity_type()) != self.group_type.as_ref().map(AsRef::as_ref)
        });
        let parents = groups.chain(others.cloned()).collect();

        // No claim can give a tag, so the store is their one source.
        let tags = stored.into_iter().flat_map(ast::Entity::tags);
        let tags = tags.filter_map(|(name, value)| Some((name.clone(), whole(value)?)));

        let ancestors = HashSet::new();
        ast::Entity::new_with_attr_partial_value(uid.into(), attributes, ancestors, parents, tags)
            .into()
    }
}

// === helpers ===

/// A claim as a Cedar value.
fn express(claim: &Claim) -> PartialValue {
    match claim {
        Claim::String(text) => text.as_str().into(),
        Claim::Long(number) => (*number).into(),
        Claim::Bool(truth) => (*truth).into(),
        Claim::Strings(texts) => {
            Value::set(texts.iter().map(|text| text.as_str().into()), None).into()
        }
    }
}

/// A stored value, unless part of it is unknown.
fn whole(value: &PartialValue) -> Option<PartialValue> {
    matches!(value, PartialValue::Value(_)).then(|| value.clone())
}
