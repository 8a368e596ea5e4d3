//! From an active user to the Cedar principal.
//!
//! Each fact about a principal has one source, named in the configuration of its issuer, and sources are never merged:
//! a role that the issuer no longer grants is gone, whatever the entity store still says.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid};
use cedar_policy_core::ast::{self, PartialValue, Value};
use identity::config::{AttributeSource, IssuerConfig, Kind, PrincipalConfig};
use identity::{ActingFor, Claim, Identity, UserRecord};
use pdp::{Namespace, Snapshot, StoredEntity};

use crate::config::KeyedProblem;

#[cfg(test)]
mod tests;

/// How each issuer's identities become principals.
#[derive(Debug, Default)]
pub struct Principals {
    by_issuer: HashMap<String, Mappings>,
}

/// The rules of one issuer, for the bearers of its tokens and for the users that they act for.
#[derive(Debug)]
struct Mappings {
    bearer: Mapping,
    on_behalf_of: Option<Mapping>,
}

/// What a token says of one person or service, as far as that makes an entity.
#[derive(Clone, Copy)]
pub(crate) struct Person<'a> {
    id: &'a str,
    groups: &'a [String],
    attributes: &'a [(Arc<str>, Claim)],
}

/// How claims become an entity.
#[derive(Debug)]
pub(crate) struct Mapping {
    principal_type: EntityTypeName,
    /// The type of the parents that the token names; `None` when the store names all of them.
    group_type: Option<EntityTypeName>,
    /// The attributes whose source is the entity store.
    stored_attributes: Vec<String>,
    /// The attributes whose source is the user directory, and their names there.
    directory_attributes: Vec<(String, String)>,
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
            let mut read = |key: &str, config: &PrincipalConfig| {
                Mapping::new(config, namespace, |name, error| {
                    problems.push((format!("issuers[{index}].{key}.{name}"), error));
                })
            };
            let bearer = read("principal", &issuer.principal);
            let on_behalf_of = match issuer.kind {
                Kind::Service => {
                    let user = issuer.on_behalf_of.clone().unwrap_or_default();
                    read("on_behalf_of", &user).map(Some)
                }
                Kind::Cognito | Kind::FirstParty | Kind::Spiffe => Some(None),
            };
            if let (Some(bearer), Some(on_behalf_of)) = (bearer, on_behalf_of) {
                let mappings = Mappings {
                    bearer,
                    on_behalf_of,
                };
                by_issuer.insert(issuer.name.clone(), mappings);
            }
        }
        let principals = Self { by_issuer };
        principals.check_apart(issuers, &mut problems);
        if problems.is_empty() {
            Ok(principals)
        } else {
            Err(problems)
        }
    }

    /// The rules for an identity; none when its issuer is not configured here.
    pub(crate) fn of(&self, identity: &Identity) -> Option<&Mapping> {
        Some(&self.by_issuer.get(&*identity.issuer)?.bearer)
    }

    /// The rules for the user that an identity acts for.
    pub(crate) fn acted_for(&self, identity: &Identity) -> Option<&Mapping> {
        self.by_issuer.get(&*identity.issuer)?.on_behalf_of.as_ref()
    }

    /// A service or a workload and a user of one entity type could be taken for each other.
    fn check_apart(&self, issuers: &[IssuerConfig], problems: &mut Vec<KeyedProblem>) {
        let mut users = BTreeSet::new();
        for issuer in issuers {
            let Some(mappings) = self.by_issuer.get(&issuer.name) else {
                continue;
            };
            if matches!(issuer.kind, Kind::Cognito | Kind::FirstParty) {
                users.insert(&mappings.bearer.principal_type);
            }
            users.extend(
                mappings
                    .on_behalf_of
                    .iter()
                    .map(|user| &user.principal_type),
            );
        }
        for (index, issuer) in issuers.iter().enumerate() {
            let Some(mappings) = self.by_issuer.get(&issuer.name) else {
                continue;
            };
            let others = match issuer.kind {
                Kind::Service => "services",
                Kind::Spiffe => "workloads",
                Kind::Cognito | Kind::FirstParty => continue,
            };
            let entity_type = &mappings.bearer.principal_type;
            if users.contains(entity_type) {
                problems.push((
                    format!("issuers[{index}].principal.type"),
                    format!("`{entity_type}` is a type of users: {others} must be of another"),
                ));
            }
        }
    }
}

// === impl Mapping ===

impl Mapping {
    fn new(
        config: &PrincipalConfig,
        namespace: &Namespace,
        mut problem: impl FnMut(&str, String),
    ) -> Option<Self> {
        let mut resolve = |key: &str, name: &str| {
            namespace
                .entity_type(name)
                .map_err(|error| problem(key, error.to_string()))
                .ok()
        };
        let principal_type = resolve("type", &config.entity_type);
        let group_type = match &config.groups {
            Some(groups) => resolve("groups.type", &groups.entity_type).map(Some),
            None => Some(None),
        };
        let mut stored_attributes = Vec::new();
        let mut directory_attributes = Vec::new();
        for (name, source) in &config.attributes {
            match source {
                AttributeSource::Store { .. } => stored_attributes.push(name.clone()),
                AttributeSource::Directory { directory } => {
                    directory_attributes.push((name.clone(), directory.clone()));
                }
                // The identity brings these along.
                AttributeSource::Claim(_) => {}
            }
        }
        Some(Self {
            principal_type: principal_type?,
            group_type: group_type?,
            stored_attributes,
            directory_attributes,
        })
    }

    /// The name of the principal that somebody is.
    pub(crate) fn uid<'a>(&self, who: impl Into<Person<'a>>) -> EntityUid {
        let id = EntityId::new(who.into().id);
        EntityUid::from_type_name_and_id(self.principal_type.clone(), id)
    }

    /// The entity of this name that somebody is, with the attributes and parents that its sources give it now.
    /// `record` is what the user directory says of them.
    pub(crate) fn entity<'a>(
        &self,
        uid: EntityUid,
        who: impl Into<Person<'a>>,
        record: Option<&UserRecord>,
        snapshot: &Snapshot,
    ) -> Entity {
        let who = who.into();
        let stored = snapshot.stored(&uid);

        let claimed = who
            .attributes
            .iter()
            .map(|(name, claim)| (name.as_ref().into(), express(claim)));
        let kept = stored.iter().flat_map(|stored| {
            let of = |name: &String| Some((name.into(), stored.attribute(name)?.into()));
            self.stored_attributes.iter().filter_map(of)
        });
        // What the directory does not say is left out, whatever another source would say.
        let looked_up = record.into_iter().flat_map(|record| {
            let of = |(name, there): &(String, String)| {
                Some((name.into(), record.attribute(there)?.into()))
            };
            self.directory_attributes.iter().filter_map(of)
        });
        let attributes = claimed.chain(kept).chain(looked_up);

        let groups = self.group_type.iter().flat_map(|group_type| {
            let group = |name: &String| {
                EntityUid::from_type_name_and_id(group_type.clone(), EntityId::new(name)).into()
            };
            who.groups.iter().map(group)
        });
        // Direct parents only: what lies above a role that is gone has to go with it.
        let others = stored.iter().flat_map(StoredEntity::parents);
        let others = others.filter(|parent| {
            Some(parent.entity_type()) != self.group_type.as_ref().map(AsRef::as_ref)
        });
        let parents = groups.chain(others).collect();

        // No claim can give a tag, so the store is their one source.
        let tags = stored.iter().flat_map(StoredEntity::tags);
        let tags = tags.map(|(name, value)| (name, value.into()));

        let ancestors = HashSet::new();
        ast::Entity::new_with_attr_partial_value(uid.into(), attributes, ancestors, parents, tags)
            .into()
    }
}

// === impl Person ===

impl<'a> From<&'a Identity> for Person<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self {
            id: &identity.principal_id,
            groups: &identity.groups,
            attributes: &identity.attributes,
        }
    }
}

impl<'a> From<&'a ActingFor> for Person<'a> {
    fn from(user: &'a ActingFor) -> Self {
        Self {
            id: &user.principal_id,
            groups: &user.groups,
            attributes: &user.attributes,
        }
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
