//! An entities text into the entity store.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use cedar_policy::Schema;
use cedar_policy_core::ast::Entity;
use cedar_policy_core::entities::{EntityJsonParser, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;
use serde_json::value::RawValue;
use settings::Problem;

use super::{Text, place};
use crate::entity_store::{EntityStore, StoreError};
use crate::json;
use crate::one_line::one_line;

/// Depth that the JSON of entities may have.
const MAX_DEPTH: usize = 64;

/// The entity store and what it was made of.
#[derive(Debug)]
pub(super) struct StoredEntities<'a> {
    pub(super) store: EntityStore,
    /// By uid, sorted.
    texts: BTreeMap<String, &'a str>,
}

/// Reads the entities, and with them the actions of the schema. `None` when something was wrong.
pub(super) fn read<'a>(
    text: Option<&'a Text>,
    schema: Option<&Schema>,
    problems: &mut Vec<Problem>,
) -> Option<StoredEntities<'a>> {
    let before = problems.len();
    let mut entities = Vec::new();
    let mut texts = BTreeMap::new();
    if let Some(text) = text {
        for (raw, entity) in parse(text, schema, problems) {
            match texts.entry(entity.uid().to_string()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(raw);
                    entities.push(entity);
                }
                Entry::Occupied(taken) => {
                    let first = place::at(text, offset(text, taken.get()), "");
                    let message = format!(
                        "entity `{}` is already given in line {}",
                        taken.key(),
                        first.line
                    );
                    problems.push(place::at(text, offset(text, raw), message));
                }
            }
        }
    }
    if problems.len() > before {
        return None;
    }
    match EntityStore::new(entities, schema) {
        Ok(store) => Some(StoredEntities { store, texts }),
        Err(error) => {
            match (text, &error) {
                (Some(text), StoreError::Cedar(error)) => {
                    place::diagnostics(text, &**error, problems);
                }
                (text, error) => {
                    let path = text.map_or("".as_ref(), |text| text.path.as_path());
                    problems.push(Problem::of_file(path, one_line(&error.to_string())));
                }
            }
            None
        }
    }
}

// === impl StoredEntities ===

impl StoredEntities<'_> {
    /// Uids and texts, sorted by uid.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(uid, text)| (uid.as_str(), *text))
    }
}

/// The entities of a text that could be read, each with its own JSON.
fn parse<'a>(
    text: &'a Text,
    schema: Option<&Schema>,
    problems: &mut Vec<Problem>,
) -> Vec<(&'a str, Entity)> {
    if let Err(json::TooDeep { at }) = json::check_nesting(text.content.as_bytes(), MAX_DEPTH) {
        problems.push(place::at(
            text,
            at,
            format!("nests more than {MAX_DEPTH} deep"),
        ));
        return Vec::new();
    }
    let items: Vec<&'a RawValue> = match serde_json::from_str(&text.content) {
        Ok(items) => items,
        Err(error) => {
            let message = format!("is not a JSON array of entities: {error}");
            problems.push(Problem::at(
                &text.path,
                error.line(),
                error.column(),
                message,
            ));
            return Vec::new();
        }
    };
    let core = schema.map(|schema| CoreSchema::new(schema.as_ref()));
    let typed = EntityJsonParser::new(
        core.as_ref(),
        Extensions::all_available(),
        TCComputation::ComputeNow,
    );
    // What an action is can only be judged with its ancestors, which the store does.
    let untyped = EntityJsonParser::<NoEntitiesSchema>::new(
        None,
        Extensions::all_available(),
        TCComputation::ComputeNow,
    );
    let mut entities = Vec::with_capacity(items.len());
    for item in items {
        let raw = item.get();
        let mut parsed = typed.single_from_json_str(raw);
        if parsed.is_err()
            && let Ok(entity) = untyped.single_from_json_str(raw)
            && entity.uid().is_action()
        {
            parsed = Ok(entity);
        }
        match parsed {
            Ok(entity) => entities.push((raw, entity)),
            Err(error) => {
                let mut found = Vec::new();
                place::diagnostics(text, &error, &mut found);
                let at = offset(text, raw);
                problems.extend(
                    found
                        .into_iter()
                        .map(|problem| place::at(text, at, problem.message)),
                );
            }
        }
    }
    entities
}

/// Where `part`, which was borrowed from the text, begins in it.
fn offset(text: &Text, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.content.as_ptr() as usize)
}
