//! Bytes into questions.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::time::SystemTime;

use cedar_policy::{Context, Entity, EntityTypeName, EntityUid};
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::fault::{Fault, Invalid};
use super::value::{self, POLICY_STORE_ID, TOKEN};
use super::wire::{ContextDefinition, EntitiesDefinition, EntityItem, Input, Item, Object};
use crate::api::read::{self, Reading, Scope, Unfit};
use crate::bearer::{Bearer, OF_TOKENS, Tokens};
use crate::config::AvpApiConfig;
use crate::json::{Unique, check_nesting};
use crate::namespace::Namespace;
use crate::question::{Consistency, Question};
use crate::snapshot::Snapshot;

/// Questions in one batch.
pub(super) const BATCH_ITEMS: usize = 30;

/// Entities given with a batch: 100 principals and 100 resources.
pub(super) const BATCH_ENTITIES: usize = 200;

/// The members that hold tokens.
pub(super) const IDENTITY_TOKEN: &str = "identityToken";
pub(super) const ACCESS_TOKEN: &str = "accessToken";

/// The id that the policies always have.
const DEFAULT_STORE: &str = "default";

/// A question without its entities.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) scope: Scope,
    context: Result<Context, String>,
    expires_at: Option<SystemTime>,
}

/// Entities given with a call, or why they do not fit the schema.
pub(super) type Entities = Result<Vec<Entity>, String>;

/// Reads the body of `IsAuthorized`; `None` for a question that does not fit the schema. For
/// fuzzing: no bytes may make it panic.
///
/// # Errors
/// When the body is no question.
pub fn read_bytes(
    body: &[u8],
    nesting: usize,
    snapshot: &Snapshot,
    namespace: &Namespace,
) -> Result<Option<Question>, String> {
    let read = || {
        let input: Input = parse(body, nesting)?;
        let mut entities = entities(input.entities, usize::MAX, nesting, snapshot, namespace)?;
        let item = Item {
            principal: input.principal,
            action: input.action,
            resource: input.resource,
            context: input.context,
        };
        Ok::<_, Fault>(question(&item, None, nesting, snapshot, namespace)?.with(&mut entities))
    };
    match read().map_err(|fault| fault.message().to_owned())? {
        Reading::Question(question) => Ok(Some(*question)),
        Reading::OutsideSchema(..) => Ok(None),
    }
}

/// Reads a body. `nesting` is that of Cedar's values, which take two levels each here.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], nesting: usize) -> Result<T, Invalid> {
    let limit = nesting.saturating_mul(2);
    check_nesting(body, limit)
        .map_err(|_| Invalid::new(format!("the body nests more than {limit} deep")))?;
    let text =
        std::str::from_utf8(body).map_err(|_| Invalid::new("the body is not text in UTF-8"))?;
    let read: Result<Object<T>, _> = serde_json::from_str(text);
    read.map(|object| object.0).map_err(|error| {
        // Only a body that is at fault is read again, to say where.
        let mut json = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, Object<T>>(&mut json) {
            Err(error) if names_member(error.path()) => {
                let message = error.inner().to_string();
                let message = message
                    .rsplit_once(" at line ")
                    .map_or(&*message, |(what, _)| what);
                Invalid::new(message).within(&error.path().to_string())
            }
            _ => Invalid::new(format!("the body cannot be read: {error}")),
        }
    })
}

/// Whether the policies are known by this id.
pub(super) fn store(id: Option<&str>, config: &AvpApiConfig) -> Result<(), Fault> {
    let id = id.ok_or_else(|| missing("policyStoreId"))?;
    POLICY_STORE_ID.check(id, "policyStoreId")?;
    if id == DEFAULT_STORE || config.policy_store_ids.iter().any(|known| known == id) {
        return Ok(());
    }
    Err(Fault::no_store(id))
}

/// The tokens of a call, at least one.
pub(super) fn tokens(identity: Option<String>, access: Option<String>) -> Result<Tokens, Invalid> {
    for (token, member) in [(&identity, IDENTITY_TOKEN), (&access, ACCESS_TOKEN)] {
        if let Some(token) = token {
            TOKEN.check(token, member)?;
        }
    }
    if identity.is_none() && access.is_none() {
        return Err(Invalid::new(
            "`identityToken`, `accessToken` or both are required",
        ));
    }
    Ok(Tokens { identity, access })
}

/// Adds what the tokens tell of their bearer to the entities of a call, which may hold neither principals nor groups: those
/// are what the tokens say that they are.
pub(super) fn with_bearer(
    given: Entities,
    bearer: &Bearer,
    snapshot: &Snapshot,
) -> Result<Entities, Invalid> {
    let Ok(mut entities) = given else {
        return Ok(given);
    };
    let people = (bearer.entities)(snapshot, &());
    let mut known: HashSet<EntityTypeName> = HashSet::from([bearer.principal.type_name().clone()]);
    for person in &people {
        known.insert(person.uid().type_name().clone());
        let parents = person.as_ref().parents().map(|parent| parent.entity_type());
        known.extend(parents.map(|parent| parent.clone().into()));
    }
    let theirs = |entity: &&Entity| known.contains(entity.uid().type_name());
    if let Some(entity) = entities.iter().find(theirs) {
        let message = format!("`{}` is of a type that tokens tell of", entity.uid());
        return Err(Invalid::new(message).within("entities"));
    }
    entities.extend(people);
    Ok(Ok(entities))
}

/// The questions of a batch.
pub(super) fn batch<T: Into<Item>>(requests: Option<Vec<Object<T>>>) -> Result<Vec<Item>, Invalid> {
    let requests = requests.ok_or_else(|| missing("requests"))?;
    if requests.is_empty() || requests.len() > BATCH_ITEMS {
        let message = format!("must hold 1 to {BATCH_ITEMS} requests");
        return Err(Invalid::new(message).within("requests"));
    }
    Ok(requests
        .into_iter()
        .map(|request| request.0.into())
        .collect())
}

/// All questions of a batch have to be of one principal, or of one resource.
pub(super) fn share(asked: &[Asked]) -> Result<(), Invalid> {
    let shares = |part: fn(&Scope) -> &EntityUid| {
        let mut parts = asked.iter().map(|asked| part(&asked.scope));
        let first = parts.next();
        parts.all(|part| Some(part) == first)
    };
    if shares(|scope| &scope.principal) || shares(|scope| &scope.resource) {
        return Ok(());
    }
    let message = "must all have the same principal, or all the same resource";
    Err(Invalid::new(message).within("requests"))
}

/// A question without its entities. Who asks is the bearer of a token, where there is one.
pub(super) fn question(
    item: &Item,
    bearer: Option<&Bearer>,
    nesting: usize,
    snapshot: &Snapshot,
    namespace: &Namespace,
) -> Result<Asked, Invalid> {
    let entity = |identifier: &Option<Object<_>>, member| {
        let identifier = identifier.as_ref().ok_or_else(|| missing(member))?;
        value::entity(&identifier.0, namespace).map_err(|invalid| invalid.within(member))
    };
    let action = item.action.as_ref().ok_or_else(|| missing("action"))?;
    let scope = Scope {
        principal: match bearer {
            Some(bearer) => bearer.principal.clone(),
            None => entity(&item.principal, "principal")?,
        },
        action: value::action(&action.0, namespace).map_err(|invalid| invalid.within("action"))?,
        resource: entity(&item.resource, "resource")?,
    };
    let expires_at = bearer.and_then(|bearer| bearer.expires_at);
    let asked = |scope, context| Asked {
        scope,
        context,
        expires_at,
    };
    let told = match bearer.map(|bearer| (bearer.context)(snapshot, &scope.action)) {
        None => Map::new(),
        Some(Ok(told)) => told,
        Some(Err(message)) => return Ok(asked(scope, Err(message))),
    };
    if item.context.is_none() && told.is_empty() {
        return Ok(asked(scope, Ok(Context::empty())));
    }
    let reserved: &[&str] = if bearer.is_some() { &OF_TOKENS } else { &[] };
    let given = item.context.as_ref();
    let context = context(
        given,
        (told, reserved),
        nesting,
        snapshot,
        namespace,
        &scope.action,
    )
    .map_err(|invalid| invalid.within("context"))?;
    Ok(asked(scope, context))
}

/// The entities given with a call, of which there may be `most`.
pub(super) fn entities(
    given: Option<EntitiesDefinition>,
    most: usize,
    nesting: usize,
    snapshot: &Snapshot,
    namespace: &Namespace,
) -> Result<Entities, Invalid> {
    let Some(given) = given else {
        return Ok(Ok(Vec::new()));
    };
    let (values, member) = match given {
        EntitiesDefinition::EntityList(list) => (listed(list, namespace), "entityList"),
        EntitiesDefinition::CedarJson(text) => (cedar_json(&text, nesting), "cedarJson"),
    };
    let read = |values: Vec<Unique>| {
        if values.len() > most {
            return Err(Invalid::new(format!("holds more than {most} entities")));
        }
        let entities = fit(read::entities(values, snapshot))?;
        // An action is what the schema says that it is.
        match entities
            .iter()
            .flatten()
            .find(|entity| is_action(&entity.uid()))
        {
            Some(action) => Err(Invalid::new(format!("`{}` is an action", action.uid()))),
            None => Ok(entities),
        }
    };
    values
        .and_then(read)
        .map_err(|invalid| invalid.within(member).within("entities"))
}

/// Each entity in Cedar's JSON; of two with the same identifier the last.
fn listed(list: Vec<Object<EntityItem>>, namespace: &Namespace) -> Result<Vec<Unique>, Invalid> {
    let mut places = HashMap::with_capacity(list.len());
    let mut values = Vec::with_capacity(list.len());
    for (index, item) in list.into_iter().enumerate() {
        let (uid, value) = listed_one(&item.0, namespace)
            .map_err(|invalid| invalid.within(&format!("[{index}]")))?;
        let place = *places.entry(uid).or_insert(values.len());
        match values.get_mut(place) {
            Some(earlier) => *earlier = Unique(value),
            None => values.push(Unique(value)),
        }
    }
    Ok(values)
}

fn listed_one(item: &EntityItem, namespace: &Namespace) -> Result<(EntityUid, Value), Invalid> {
    let EntityItem {
        identifier,
        attributes,
        parents,
        tags,
    } = item;
    let uid =
        value::entity(&identifier.0, namespace).map_err(|invalid| invalid.within("identifier"))?;
    let record = |values: &Option<_>, member| match values {
        Some(values) => value::record(values, namespace).map_err(|invalid| invalid.within(member)),
        None => Ok(Value::Object(Map::new())),
    };
    let parents = parents.iter().flatten().enumerate().map(|(index, parent)| {
        value::entity(&parent.0, namespace)
            .map(|parent| value::uid(&parent))
            .map_err(|invalid| invalid.within(&format!("[{index}]")).within("parents"))
    });
    let mut entity = Map::new();
    entity.insert("uid".to_owned(), value::uid(&uid));
    entity.insert("attrs".to_owned(), record(attributes, "attributes")?);
    let parents = parents.collect::<Result<_, _>>()?;
    entity.insert("parents".to_owned(), Value::Array(parents));
    if tags.is_some() {
        entity.insert("tags".to_owned(), record(tags, "tags")?);
    }
    Ok((uid, Value::Object(entity)))
}

/// What is given, and what tokens tell beside it, which nobody else may give.
fn context(
    given: Option<&ContextDefinition>,
    (told, reserved): (Map<String, Value>, &[&str]),
    nesting: usize,
    snapshot: &Snapshot,
    namespace: &Namespace,
    action: &EntityUid,
) -> Result<Result<Context, String>, Invalid> {
    let (value, member) = match given {
        None => (Ok(Value::Object(Map::new())), ""),
        Some(ContextDefinition::ContextMap(values)) => {
            (value::record(values, namespace), "contextMap")
        }
        Some(ContextDefinition::CedarJson(text)) => {
            let value = cedar_json(text, nesting).map(|Unique(value)| value);
            (value, "cedarJson")
        }
    };
    let complete = |mut value: Value| {
        if let Value::Object(members) = &mut value {
            if let Some(name) = reserved.iter().find(|name| members.contains_key(**name)) {
                return Err(Invalid::new("is what tokens tell").within(name));
            }
            members.extend(told);
        }
        fit(read::context(value, snapshot, action))
    };
    value
        .and_then(complete)
        .map_err(|invalid| invalid.within(member))
}

/// Reads JSON in a string.
fn cedar_json<T: for<'a> Deserialize<'a>>(text: &str, nesting: usize) -> Result<T, Invalid> {
    check_nesting(text.as_bytes(), nesting)
        .map_err(|_| Invalid::new(format!("nests more than {nesting} deep")))?;
    serde_json::from_str(text).map_err(|error| Invalid::new(format!("cannot be read: {error}")))
}

/// What Cedar does not have is invalid; what the schema does not have is Deny.
fn fit<T>(read: Result<T, Unfit>) -> Result<Result<T, String>, Invalid> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(Unfit::OutsideSchema(message)) => Ok(Err(message)),
        Err(Unfit::Malformed(message)) => Err(Invalid::new(message)),
    }
}

fn is_action(uid: &EntityUid) -> bool {
    uid.type_name().basename() == "Action"
}

/// Whether the path leads to a member, and each step on it is known.
fn names_member(path: &Path) -> bool {
    path.iter().next().is_some() && !path.iter().any(|step| matches!(step, Segment::Unknown))
}

fn missing(member: &str) -> Invalid {
    Invalid::new("is missing").within(member)
}

// === impl Asked ===

impl Asked {
    /// The question over these entities, which it borrows: what asks it gives them back.
    pub(super) fn with(self, entities: &mut Entities) -> Reading {
        let Self {
            scope,
            context,
            expires_at,
        } = self;
        let outside = |member: &str, message: String, scope| {
            Reading::OutsideSchema(Box::new(scope), format!("{member}: {message}"))
        };
        let (context, entities) = match (context, entities) {
            (Err(message), _) => return outside("context", message, scope),
            (_, Err(message)) => return outside("entities", message.clone(), scope),
            (Ok(context), Ok(entities)) => (context, mem::take(entities)),
        };
        let Scope {
            principal,
            action,
            resource,
        } = scope;
        Reading::Question(Box::new(Question {
            principal,
            action,
            resource,
            context,
            entities,
            consistency: Consistency::default(),
            expires_at,
        }))
    }
}
