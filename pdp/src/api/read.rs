//! Bytes into a question.

use std::collections::HashMap;
use std::mem;

use cedar_policy::entities_json_errors::JsonDeserializationError;
use cedar_policy::{Context, ContextJsonError, Entity, EntityUid, entities_errors::EntitiesError};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::wire::{self, EntityBody, QuestionBody};
use crate::answer::Answer;
use crate::json::{Unique, check_nesting};
use crate::namespace::Namespace;
use crate::question::{Consistency, Question};
use crate::snapshot::Snapshot;

/// What is asked about: present even where context or entities do not fit the schema.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) principal: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
}

/// What became of a body that could be read.
#[derive(Debug)]
pub(crate) enum Reading {
    /// A question.
    Question(Box<Question>),
    /// A question that does not fit the schema, and why: it is answered Deny.
    OutsideSchema(Box<Scope>, String),
}

/// The answers to a document that holds one question or an array of them.
#[derive(Debug)]
pub enum Asked {
    /// One question.
    One(Result<Answer, Refusal>),
    /// An array, answered in order.
    Many(Vec<Result<Answer, Refusal>>),
}

/// What the items of a batch have in common. Entities are read once for all of them, and the
/// context once for each action, which says what its values are.
#[derive(Debug, Default)]
pub(super) struct Common {
    fields: QuestionBody,
    entities: Option<Result<Vec<Entity>, Unfit>>,
    contexts: HashMap<EntityUid, Result<Context, Unfit>>,
}

/// The members that an entity may have in Cedar's JSON.
const ENTITY_MEMBERS: [&str; 4] = ["uid", "attrs", "parents", "tags"];

/// Why a value cannot be part of a question.
#[derive(Debug, Clone)]
pub(super) enum Unfit {
    Malformed(String),
    OutsideSchema(String),
}

/// Reads the body of `POST /v1/authorize`; `None` for a question that does not fit the schema. For
/// fuzzing: no bytes may make it panic.
///
/// # Errors
/// When the body is no question.
pub fn read_bytes(
    body: &[u8],
    nesting: usize,
    snapshot: &Snapshot,
    namespace: &Namespace,
) -> Result<Option<Question>, Refusal> {
    let fields: QuestionBody = parse_object(body, nesting)?;
    match question(fields, &mut Common::default(), snapshot, namespace)? {
        Reading::Question(question) => Ok(Some(*question)),
        Reading::OutsideSchema(..) => Ok(None),
    }
}

/// Answers a document that holds one question, as in `POST /v1/authorize`, or an array of them: the
/// API without a listener. `nesting` is the depth that its JSON may have.
///
/// # Errors
/// When the document is not JSON, or neither an object nor an array.
pub fn ask(
    document: &[u8],
    nesting: usize,
    snapshot: &Snapshot,
    namespace: &Namespace,
) -> Result<Asked, Refusal> {
    let answer = |item: &str| {
        let fields: QuestionBody = parse_object(item.as_bytes(), nesting)?;
        Ok(
            match question(fields, &mut Common::default(), snapshot, namespace)? {
                Reading::Question(question) => snapshot.decide(&question),
                Reading::OutsideSchema(_, message) => snapshot.refused(&message),
            },
        )
    };
    let whole: &RawValue = parse(document, nesting)?;
    if whole.get().starts_with('[') {
        let items: Vec<&RawValue> = parse(document, nesting)?;
        return Ok(Asked::Many(
            items.into_iter().map(|item| answer(item.get())).collect(),
        ));
    }
    Ok(Asked::One(answer(whole.get())))
}

/// Reads a JSON object. An array of the same values in the order of our fields is none, though the
/// derived readers would take it for one.
pub(super) fn parse_object<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    nesting: usize,
) -> Result<T, Refusal> {
    if body.trim_ascii_start().starts_with(b"[") {
        // What is too deep is told so, whatever else is wrong with it.
        check_nesting(body, nesting).map_err(|_| Refusal::too_deep(nesting))?;
        return Err(Refusal::invalid(
            "the body cannot be read: an array stands where an object belongs",
        ));
    }
    parse(body, nesting)
}

/// Reads JSON whose nesting is bounded before anything recurses into it.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], nesting: usize) -> Result<T, Refusal> {
    check_nesting(body, nesting).map_err(|_| Refusal::too_deep(nesting))?;
    let text =
        std::str::from_utf8(body).map_err(|_| Refusal::invalid("the body is not text in UTF-8"))?;
    serde_json::from_str(text)
        .map_err(|error| Refusal::invalid(format!("the body cannot be read: {error}")))
}

/// Makes a question of its fields.
pub(crate) fn question(
    fields: QuestionBody,
    common: &mut Common,
    snapshot: &Snapshot,
    namespace: &Namespace,
) -> Result<Reading, Refusal> {
    let entity = |name: &str, own: &Option<EntityBody>, shared: &Option<EntityBody>| {
        let body = own.as_ref().or(shared.as_ref());
        let body = body.ok_or_else(|| Refusal::invalid(format!("`{name}` is missing")))?;
        let uid = match body {
            EntityBody::Pair { type_name, id } => namespace.entity(type_name, id),
            EntityBody::Text(text) if name == "action" => namespace.action(text),
            EntityBody::Text(text) => namespace.entity_literal(text),
        };
        uid.map_err(|error| Refusal::invalid(format!("`{name}`: {error}")))
    };
    let scope = Scope {
        principal: entity("principal", &fields.principal, &common.fields.principal)?,
        action: entity("action", &fields.action, &common.fields.action)?,
        resource: entity("resource", &fields.resource, &common.fields.resource)?,
    };
    let consistency = fields.consistency.or(common.fields.consistency);
    let context = match fields.context {
        Some(Unique(own)) => context(own, snapshot, &scope.action),
        None => common.context(snapshot, &scope.action),
    };
    let context = match context {
        Ok(context) => context,
        Err(unfit) => return unfit.of("context", scope),
    };
    let entities = match (fields.entities, &mut common.entities) {
        (Some(own), _) => exact_entities(own, snapshot),
        // Lent, not copied: whoever asks many questions gives them back.
        (None, Some(Ok(shared))) => Ok(mem::take(shared)),
        (None, Some(Err(unfit))) => Err(unfit.clone()),
        (None, None) => Ok(Vec::new()),
    };
    let entities = match entities {
        Ok(entities) => entities,
        Err(unfit) => return unfit.of("entities", scope),
    };
    let Scope {
        principal,
        action,
        resource,
    } = scope;
    Ok(Reading::Question(Box::new(Question {
        principal,
        action,
        resource,
        context,
        entities,
        consistency: consistency.map(Into::into).unwrap_or_default(),
        expires_at: None,
    })))
}

/// Reads a context, which has to be what `action` declares.
pub(super) fn context(
    value: Value,
    snapshot: &Snapshot,
    action: &EntityUid,
) -> Result<Context, Unfit> {
    if !value.is_object() {
        return Err(Unfit::Malformed("is not an object".to_owned()));
    }
    let typed = snapshot.schema().map(|schema| (schema, action));
    Context::from_json_value(value, typed).map_err(|error| match error {
        ContextJsonError::JsonDeserialization(error) => Unfit::from(&error),
        error => Unfit::OutsideSchema(error.to_string()),
    })
}

/// Reads entities, which have to be what the schema declares.
pub(super) fn entities(values: Vec<Unique>, snapshot: &Snapshot) -> Result<Vec<Entity>, Unfit> {
    values
        .into_iter()
        .map(|Unique(value)| {
            Entity::from_json_value(value, snapshot.schema()).map_err(|error| Unfit::from(&error))
        })
        .collect()
}

/// Reads entities of which nobody may find later that a misspelt member of theirs was left out.
fn exact_entities(values: Vec<Unique>, snapshot: &Snapshot) -> Result<Vec<Entity>, Unfit> {
    let members = values.iter().filter_map(|Unique(value)| value.as_object());
    let mut names = members.flat_map(Map::keys);
    match names.find(|name| !ENTITY_MEMBERS.contains(&name.as_str())) {
        Some(name) => Err(Unfit::Malformed(format!(
            "an entity has no member `{name}`, only `uid`, `attrs`, `parents` and `tags`"
        ))),
        None => entities(values, snapshot),
    }
}

// === impl Common ===

impl Common {
    pub(super) fn new(mut fields: QuestionBody, snapshot: &Snapshot) -> Self {
        let entities = fields
            .entities
            .take()
            .map(|values| exact_entities(values, snapshot));
        Self {
            fields,
            entities,
            contexts: HashMap::new(),
        }
    }

    /// The context of questions about `action` that have none of their own.
    fn context(&mut self, snapshot: &Snapshot, action: &EntityUid) -> Result<Context, Unfit> {
        let Some(Unique(shared)) = &self.fields.context else {
            return Ok(Context::empty());
        };
        if let Some(known) = self.contexts.get(action) {
            return known.clone();
        }
        let read = context(shared.clone(), snapshot, action);
        self.contexts.insert(action.clone(), read.clone());
        read
    }

    /// The entities in common, if there are any that can be used.
    pub(super) fn entities(&mut self) -> Option<&mut Vec<Entity>> {
        self.entities.as_mut()?.as_mut().ok()
    }

    pub(super) fn explain(&self) -> bool {
        self.fields.explain.unwrap_or_default()
    }
}

// === impl Unfit ===

impl Unfit {
    fn of(self, field: &str, scope: Scope) -> Result<Reading, Refusal> {
        match self {
            Self::Malformed(message) => Err(Refusal::invalid(format!("`{field}`: {message}"))),
            Self::OutsideSchema(message) => Ok(Reading::OutsideSchema(
                Box::new(scope),
                format!("{field}: {message}"),
            )),
        }
    }
}

impl From<wire::Consistency> for Consistency {
    fn from(wire: wire::Consistency) -> Self {
        match wire {
            wire::Consistency::MinimizeLatency => Self::MinimizeLatency,
            wire::Consistency::FullyConsistent => Self::FullyConsistent,
        }
    }
}

impl From<&EntitiesError> for Unfit {
    fn from(error: &EntitiesError) -> Self {
        match error {
            EntitiesError::Deserialization(error) => Self::from(error),
            EntitiesError::InvalidEntity(error) => Self::OutsideSchema(error.to_string()),
            error => Self::OutsideSchema(error.to_string()),
        }
    }
}

impl From<&JsonDeserializationError> for Unfit {
    fn from(error: &JsonDeserializationError) -> Self {
        use JsonDeserializationError as E;
        match error {
            // Cedar names its own types here.
            E::Serde(error) if error.to_string().contains("untagged enum") => Self::Malformed(
                "holds a value that Cedar does not have: there are booleans, integers of 64 bits, strings, arrays and objects"
                    .to_owned(),
            ),
            E::Serde(_)
            | E::ParseEscape(_)
            | E::RestrictedExpressionError(_)
            | E::DuplicateKey(_)
            | E::ExprTag(_)
            | E::Null(_)
            | E::ReservedName(_) => Self::Malformed(error.to_string()),
            _ => Self::OutsideSchema(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
