//! Stored entities, read one at a time and held against those that are stored already.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use cedar_policy_core::ast::{self, EntityType, EntityUID};
use cedar_policy_core::entities::{EntityJsonParser, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use miette::Diagnostic;
use settings::Problem;

use super::elements::{Broken, Elements, Place};
use super::progress::Progress;
use super::{Failed, Text, place};
use crate::entities::{Change, Draft, Entities, EntitiesError};
use crate::one_line::one_line;
use crate::scan::{Found, Stamp, unreadable};
use crate::snapshot::Rulebook;
use crate::types::Types;
use crate::uid::{ByUid, Uid, id_of};

/// Problems after which no more are looked for.
const MAX_PROBLEMS: usize = 100;

/// Warnings of one kind that are told one by one.
const MAX_WARNINGS: usize = 20;

/// Bytes of the largest file that is read.
const MAX_BYTES: u64 = 8 << 30;

/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;

/// Where entities are read from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input<'a> {
    Text(&'a Text),
    File(&'a Found),
}

/// What makes the stored entities what a file says.
#[derive(Debug, Default)]
pub(super) struct Changes {
    list: Vec<Change>,
    /// Where each entity of the file begins.
    places: HashMap<Uid, Place, ByUid>,
}

/// Reads entities one at a time.
struct Reader<'a> {
    path: &'a Path,
    types: Option<&'a Types>,
    /// What is stored already.
    stored: &'a Entities,
    names: Names<'a>,
    changes: Changes,
    problems: Vec<Problem>,
}

/// The names that were read so far, each once. Entities and policies share theirs, so that most of
/// what is the same has the same address: whichever is read later takes those of the other.
pub(super) struct Names<'a> {
    stored: Option<&'a Entities>,
    policies: Option<&'a Rulebook>,
    /// What is going to be stored.
    read: Option<&'a Changes>,
    kinds: HashMap<EntityType, Arc<EntityType>>,
    uids: HashSet<Uid, ByUid>,
}

/// What makes `stored` the entities of `input`, for these policies.
pub(super) fn read(
    input: Input<'_>,
    types: Option<&Types>,
    stored: &Entities,
    policies: Option<&Rulebook>,
) -> Result<Changes, Failed> {
    let reader = Reader {
        path: input.path(),
        types,
        stored,
        names: Names::new(Some(stored), policies, None),
        changes: Changes::default(),
        problems: Vec::new(),
    };
    match input {
        Input::Text(text) => reader.read(text.content.as_bytes(), text.content.len() as u64),
        Input::File(found) => {
            let fail = |error: io::Error| vec![unreadable(&found.path, &error)];
            let file = File::open(&found.path).map_err(fail)?;
            let as_found =
                || Ok::<_, Vec<Problem>>(Stamp::of(&file.metadata().map_err(fail)?) == found.stamp);
            if !as_found()? {
                return Err(Failed::Changed);
            }
            if found.bytes() > MAX_BYTES {
                let message = format!("is larger than {} GiB", MAX_BYTES >> 30);
                return Err(vec![Problem::of_file(&found.path, message)].into());
            }
            // What is appended meanwhile is found out below, and must not be read for ever.
            let bounded = (&file).take(MAX_BYTES);
            let read = reader.read(BufReader::with_capacity(BUFFER, bounded), found.bytes());
            if !as_found()? {
                return Err(Failed::Changed);
            }
            read
        }
    }
}

// === impl Input ===

impl<'a> Input<'a> {
    pub(super) fn path(self) -> &'a Path {
        match self {
            Self::Text(text) => &text.path,
            Self::File(found) => &found.path,
        }
    }
}

// === impl Changes ===

impl Changes {
    /// Everything that is stored, for entities that were made for another schema.
    pub(super) fn of(stored: &Entities, types: Option<&Types>) -> Result<Self, Failed> {
        let mut changes = Self::default();
        for entity in stored.iter().filter(|entity| !stored.is_given(&entity.uid)) {
            let fits = types.map_or(Ok(()), |types| types.check(&entity.to_cedar()));
            if let Err(error) = fits {
                let message = format!("stored entity `{}`: {error}", entity.uid);
                return Err(vec![Problem::of_file(Path::new(""), one_line(&message))].into());
            }
            changes.list.push(Change::Put(Draft::of(entity)));
        }
        Ok(changes)
    }

    /// The entities with the changes made.
    pub(super) fn onto(
        self,
        entities: &Entities,
        path: &Path,
        types: Option<&Types>,
    ) -> Result<(Entities, Vec<Problem>), Vec<Problem>> {
        let Self { list, places } = self;
        let at = |uid: &Uid, message: String| match places.get(uid) {
            Some(place) => Problem::at(path, place.line, place.column, message),
            None => Problem::of_file(path, message),
        };
        let next = entities.with(list).map_err(|error| {
            let message = error.to_string();
            match error.entity() {
                Some(uid) => vec![at(uid, message)],
                None => vec![Problem::of_file(path, message)],
            }
        })?;
        let mut dangling: Vec<(&Uid, &Uid)> = next
            .dangling()
            .filter(|(_, parent)| types.is_none_or(|types| !types.is_enumerated(parent.kind())))
            .collect();
        dangling.sort_unstable();
        let mut warnings: Vec<Problem> = dangling
            .iter()
            .take(MAX_WARNINGS)
            .map(|(uid, parent)| {
                let message = format!("entity `{uid}` is in `{parent}`, which is not stored");
                at(uid, message)
            })
            .collect();
        if let Some(more @ 1..) = dangling.len().checked_sub(MAX_WARNINGS) {
            let message = format!("{more} more parents are not stored");
            warnings.push(Problem::of_file(path, message));
        }
        Ok((next, warnings))
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn read(mut self, input: impl BufRead, bytes: u64) -> Result<Changes, Failed> {
        let mut elements = Elements::new(input);
        let mut progress = Progress::new(self.path, bytes);
        loop {
            match elements.next() {
                Ok(None) => break,
                Ok(Some(element)) => self.take(element.place, element.text),
                Err(Broken::Text(place, message)) => {
                    self.problem(place, message);
                    break;
                }
                Err(Broken::Input(error)) => {
                    self.problems.push(unreadable(self.path, &error));
                    break;
                }
            }
            if self.problems.len() >= MAX_PROBLEMS {
                self.problems.push(Problem::of_file(
                    self.path,
                    "has more problems than are told",
                ));
                break;
            }
            progress.at(elements.bytes());
        }
        if !self.problems.is_empty() {
            return Err(self.problems.into());
        }
        let Self {
            stored,
            mut changes,
            ..
        } = self;
        let gone = stored
            .iter()
            .map(|entity| &entity.uid)
            .filter(|uid| !changes.places.contains_key(uid) && !stored.is_given(uid));
        changes.list.extend(gone.cloned().map(Change::Remove));
        Ok(changes)
    }

    /// Takes in one entity.
    fn take(&mut self, place: Place, text: &str) {
        let entity = match self.parse(text) {
            Ok(entity) => entity,
            Err(messages) => {
                for message in messages {
                    self.problem(place, message);
                }
                return;
            }
        };
        let names = &mut self.names;
        let draft = match Draft::named(&entity, &mut |uid| names.name(uid)) {
            Ok(draft) => draft,
            Err(error) => return self.problem(place, error.to_string()),
        };
        if let Some(first) = self.changes.places.insert(draft.uid.clone(), place) {
            let message = format!(
                "entity `{}` is already given in line {}",
                draft.uid, first.line
            );
            return self.problem(place, message);
        }
        // The schema's actions are there already, and this one is as the schema says.
        let given = self.types.is_some() && draft.uid.is_action();
        let same = self.stored.get(&draft.uid);
        if !given && !same.is_some_and(|stored| draft.says(stored)) {
            self.changes.list.push(Change::Put(draft));
        }
    }

    fn parse(&self, text: &str) -> Result<ast::Entity, Vec<String>> {
        let extensions = Extensions::all_available();
        let typed = EntityJsonParser::new(self.types, extensions, TCComputation::ComputeNow);
        let error = match typed.single_from_json_str(text) {
            Ok(entity) => return Ok(entity),
            Err(error) => error,
        };
        // What an action is can only be judged with its ancestors.
        let untyped =
            EntityJsonParser::<NoEntitiesSchema>::new(None, extensions, TCComputation::ComputeNow);
        if let Some(types) = self.types
            && let Ok(entity) = untyped.single_from_json_str(text)
            && entity.uid().is_action()
        {
            return match types.check(&entity) {
                Ok(()) => Ok(entity),
                Err(error) => Err(sentences(&*error)),
            };
        }
        Err(sentences(&error))
    }

    fn problem(&mut self, place: Place, message: String) {
        let problem = Problem::at(self.path, place.line, place.column, message);
        self.problems.push(problem);
    }
}

// === impl Names ===

impl<'a> Names<'a> {
    pub(super) fn new(
        stored: Option<&'a Entities>,
        policies: Option<&'a Rulebook>,
        read: Option<&'a Changes>,
    ) -> Self {
        Self {
            stored,
            policies,
            read,
            kinds: HashMap::new(),
            uids: HashSet::default(),
        }
    }

    pub(super) fn name(&mut self, uid: &EntityUID) -> Uid {
        let kind = match self.kinds.get(uid.entity_type()) {
            Some(kind) => Arc::clone(kind),
            None => {
                let kind = Arc::new(uid.entity_type().with_loc(None));
                self.kinds
                    .insert(EntityType::clone(&kind), Arc::clone(&kind));
                kind
            }
        };
        let new = Uid::of_kind(kind, id_of(uid));
        if let Some(known) = self.uids.get(&new) {
            return known.clone();
        }
        let stored = self.stored.and_then(|stored| stored.shared(&new));
        let known = stored
            .or_else(|| self.policies?.shared(&new))
            .or_else(|| self.read?.places.get_key_value(&new).map(|(uid, _)| uid));
        let name = known.unwrap_or(&new).clone();
        self.uids.insert(name.clone());
        name
    }
}

fn sentences(error: &dyn Diagnostic) -> Vec<String> {
    let readable = |message: String| {
        // Cedar names its own types here.
        if message.contains("untagged enum") {
            "holds a value that Cedar does not have: there are booleans, integers of 64 bits, strings, arrays and objects".to_owned()
        } else {
            message
        }
    };
    let sentences = place::sentences(error).into_iter();
    sentences.map(readable).collect()
}

impl EntitiesError {
    /// The entity that it names.
    fn entity(&self) -> Option<&Uid> {
        match self {
            Self::Duplicate(uid)
            | Self::OwnParent(uid)
            | Self::Cycle { uid, .. }
            | Self::TooManyAncestors(uid)
            | Self::TooManyPairs(uid)
            | Self::Action(uid) => Some(uid),
            Self::Inconsistent => None,
        }
    }
}
