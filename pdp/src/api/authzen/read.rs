//! AuthZEN's questions into ours.

use std::collections::HashMap;

use cedar_policy::{Context, Entity, EntityTypeName, EntityUid, RestrictedExpression};
use cedar_policy_core::ast;
use serde_json::{Map, Value};

use super::super::refusal::Refusal;
use super::types::{Party, Types};
use super::value;
use super::wire::{ActionBody, EvaluationBody, Members, PartyBody, SoughtBody};
use crate::context_shape::{ContextKind, ContextShape};
use crate::question::{Consistency, Question};
use crate::snapshot::Snapshot;

/// Reads questions for one snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) types: &'a Types,
}

/// What is asked about.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) principal: Party,
    pub(super) action: EntityUid,
    pub(super) resource: Party,
}

/// A question that has all it needs.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) scope: Scope,
    /// The question, or why it does not fit the schema: then it is Deny.
    pub(super) question: Result<Box<Question>, String>,
}

/// A subject or a resource with what is said about it.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) party: Party,
    pub(super) properties: Option<Members>,
}

/// What a search looks for.
#[derive(Debug)]
pub(super) struct Sought {
    /// As the request named it.
    pub(super) type_name: String,
    /// `None` for a name that no Cedar type can have: there are no such entities.
    pub(super) kind: Option<EntityTypeName>,
    pub(super) properties: Option<Members>,
}

// === impl Reader ===

impl Reader<'_> {
    /// A question of its parts.
    ///
    /// # Errors
    /// When a required part is missing.
    pub(super) fn asked(self, body: EvaluationBody<'_>) -> Result<Asked, Refusal> {
        let subject = self.described("subject", body.subject)?;
        let (action, about) = self.action(body.action)?;
        let resource = self.described("resource", body.resource)?;
        let question = self
            .context(&action, body.context, about)
            .and_then(|context| self.question(&subject, &action, &resource, context));
        let scope = Scope {
            principal: subject.party,
            action,
            resource: resource.party,
        };
        Ok(Asked { scope, question })
    }

    /// A subject or a resource that has to be known by its id.
    pub(super) fn described(
        self,
        name: &str,
        body: Option<PartyBody>,
    ) -> Result<Described, Refusal> {
        let body = body.ok_or_else(|| missing(name))?;
        let type_name = body.type_name.ok_or_else(|| missing_in(name, "type"))?;
        let id = body.id.ok_or_else(|| missing_in(name, "id"))?;
        Ok(Described {
            party: self.types.party(type_name, id),
            properties: body.properties,
        })
    }

    /// A subject or a resource of which only the type has to be known.
    pub(super) fn sought(self, name: &str, body: Option<SoughtBody>) -> Result<Sought, Refusal> {
        let body = body.ok_or_else(|| missing(name))?;
        let type_name = body.type_name.ok_or_else(|| missing_in(name, "type"))?;
        Ok(Sought {
            kind: self.types.entity_type(&type_name),
            type_name,
            properties: body.properties,
        })
    }

    /// The action, and what is said about it.
    pub(super) fn action(
        self,
        body: Option<ActionBody>,
    ) -> Result<(EntityUid, Option<Members>), Refusal> {
        let body = body.ok_or_else(|| missing("action"))?;
        let name = body.name.ok_or_else(|| missing_in("action", "name"))?;
        Ok((self.types.action(&name), body.properties))
    }

    /// A question; `Err` where it does not fit the schema, with the reason.
    pub(super) fn question(
        self,
        subject: &Described,
        action: &EntityUid,
        resource: &Described,
        context: Context,
    ) -> Result<Box<Question>, String> {
        let uid = |name: &str, described: &Described| match &described.party {
            Party::Entity(uid) => Ok(uid.clone()),
            Party::Nameless { .. } => Err(format!("{name}: the schema has no such entity type")),
        };
        let principal = uid("subject", subject)?;
        let target = uid("resource", resource)?;
        let mut entities = Vec::new();
        if principal == target {
            let both = both(subject.properties.clone(), resource.properties.clone())?;
            entities.extend(self.overlaid(&principal, both, "subject")?);
        } else {
            entities.extend(self.overlaid(&principal, subject.properties.clone(), "subject")?);
            entities.extend(self.overlaid(&target, resource.properties.clone(), "resource")?);
        }
        Ok(Box::new(Question {
            principal,
            action: action.clone(),
            resource: target,
            context,
            entities,
            consistency: Consistency::default(),
            expires_at: None,
        }))
    }

    /// The context that `action` declares, of what was given; without a schema all of it.
    pub(super) fn context(
        self,
        action: &EntityUid,
        given: Option<Members>,
        about: Option<Members>,
    ) -> Result<Context, String> {
        let mut members = given.unwrap_or_default().0;
        let pairs = match self.snapshot.schema() {
            Some(_) => {
                let Some(shape) = self.snapshot.context_shape(action) else {
                    // An action that the schema does not know, which the engine says.
                    return Ok(Context::empty());
                };
                if declares_action(shape) {
                    put_action(&mut members, about);
                }
                value::declared(members, shape, self.types)
            }
            None => {
                put_action(&mut members, about);
                value::undeclared(members, self.types)
            }
        };
        let pairs = pairs.map_err(|misfit| format!("context: {misfit}"))?;
        Context::from_pairs(pairs).map_err(|error| format!("context: {error}"))
    }

    /// The stored entity with `properties` laid over its attributes; `None` where they say nothing.
    fn overlaid(
        self,
        uid: &EntityUid,
        properties: Option<Members>,
        name: &str,
    ) -> Result<Option<Entity>, String> {
        let Some(Members(members)) = properties else {
            return Ok(None);
        };
        let pairs = match self.snapshot.schema() {
            None => value::undeclared(members, self.types),
            // The engine says of an unknown type that it is one.
            Some(_) => match self.snapshot.entity_shape(uid.type_name()) {
                None => return Ok(None),
                Some(shape) => value::declared(members, shape, self.types),
            },
        };
        let pairs = pairs.map_err(|misfit| format!("{name}: {}", misfit.below("properties")))?;
        if pairs.is_empty() {
            return Ok(None);
        }
        self.overlay(uid, pairs)
            .map(Some)
            .map_err(|error| format!("{name}: {error}"))
    }

    fn overlay(
        self,
        uid: &EntityUid,
        pairs: Vec<(String, RestrictedExpression)>,
    ) -> Result<Entity, String> {
        let pairs: HashMap<String, RestrictedExpression> = pairs.into_iter().collect();
        let given =
            Entity::new(uid.clone(), pairs, [].into()).map_err(|error| error.to_string())?;
        let Some(stored) = self.snapshot.stored(uid) else {
            return Ok(given);
        };
        let given: &ast::Entity = given.as_ref();
        let stored = stored.to_entity();
        let stored: &ast::Entity = stored.as_ref();
        let (uid, mut attributes, ancestors, parents, tags) = stored.clone().into_inner();
        for (name, value) in given.attrs() {
            attributes.insert(name.clone(), value.clone());
        }
        Ok(Entity::from(ast::Entity::new_with_attr_partial_value(
            uid, attributes, ancestors, parents, tags,
        )))
    }
}

/// Whether policies can see what is said about the action.
fn declares_action(shape: &ContextShape) -> bool {
    shape
        .get(ACTION)
        .is_some_and(|member| matches!(member.kind, ContextKind::Record(_)))
}

/// The context attribute that holds the properties of the action.
const ACTION: &str = "action";

fn put_action(members: &mut Map<String, Value>, about: Option<Members>) {
    if let Some(Members(about)) = about {
        members.insert(ACTION.to_owned(), Value::Object(about));
    }
}

/// What is said about one entity in two places.
fn both(a: Option<Members>, b: Option<Members>) -> Result<Option<Members>, String> {
    let (mut all, more) = match (a, b) {
        (Some(Members(all)), Some(Members(more))) => (all, more),
        (a, b) => return Ok(a.or(b)),
    };
    for (name, value) in more {
        if all.get(&name).is_some_and(|known| *known != value) {
            return Err(format!(
                "subject and resource are one entity with two values for `{name}`"
            ));
        }
        all.insert(name, value);
    }
    Ok(Some(Members(all)))
}

fn missing(name: &str) -> Refusal {
    Refusal::invalid(format!("`{name}` is missing"))
}

fn missing_in(name: &str, member: &str) -> Refusal {
    Refusal::invalid(format!("`{name}.{member}` is missing"))
}
