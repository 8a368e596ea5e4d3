//! Files into a [`Snapshot`]: read, parsed, checked against each other. Every mistake of every file
//! is found in one run, each with its place.

mod depth;
mod digests;
mod elements;
mod entities;
mod files;
mod made;
mod place;
mod policies;
mod progress;
mod schema;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use cedar_policy::Schema;
use cedar_policy_core::ast::EntityUID;
use settings::Problem;

use self::digests::revision;
use self::entities::{Input, Names};
use self::files::{READS, restless};
use self::made::{MadeEntities, make_entities};
use crate::config::OnError;
use crate::policies::Policies;
use crate::scan::Scan;
use crate::snapshot::{Parts, Rulebook, Snapshot};
use crate::types::Types;

pub(crate) use self::digests::Digests;
pub(crate) use self::files::{STEADY, read_new, read_steady};
pub(crate) use self::made::Made;
pub use depth::{MAX_HEIGHT, MAX_NESTING};
pub use progress::{Step, tell_progress};

/// Stack of the thread that parses and validates. Parsing, lowering and type checking recurse with
/// the depth of the text, which [`MAX_NESTING`] and [`MAX_HEIGHT`] bound; the memory is only
/// reserved, not used, until something is really that deep.
const LOAD_STACK: usize = 512 << 20;

/// The priority of the thread that loads while requests are served (`nice`): a tenth of the share that
/// they have, so that new policies come in time even where there is more to do than can be done.
#[cfg(target_os = "linux")]
const PRIORITY: i32 = 10;

/// Where the parts of a snapshot are.
#[derive(Debug, Clone)]
pub struct Sources {
    /// A folder of `.cedar` and `.cedar.json` files, read recursively, or one file.
    pub policies: PathBuf,
    /// The schema: Cedar syntax, or JSON where the name ends in `.json`.
    pub schema: Option<PathBuf>,
    /// Stored entities, in Cedar JSON.
    pub entities: Option<PathBuf>,
}

/// How a snapshot is made and decides.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How policies get their ids.
    pub ids: Ids,
    /// Whether policies, and later requests, are held to the schema. It types entities and context
    /// all the same.
    pub validate: bool,
    /// What becomes of an Allow with errors.
    pub on_error: OnError,
}

/// How policies get their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// The `@id` annotation, else `<file stem>#<n>`, counted from 0 in file order, or in JSON the
    /// id that the policy stands under.
    Annotated,
    /// `policy<n>`, counted from 0 over all text files, as Cedar numbers them; in JSON the id that
    /// the policy stands under.
    Positional,
}

/// The contents of the sources, in memory.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// The policy files, in order.
    pub policies: Vec<Text>,
    /// The schema.
    pub schema: Option<Text>,
    /// The stored entities.
    pub entities: Option<Text>,
}

/// One file's content and the name that problems give it.
#[derive(Debug, Clone)]
pub struct Text {
    /// Where it came from.
    pub path: PathBuf,
    /// What it holds.
    pub content: String,
}

/// Why nothing was made of the sources.
#[derive(Debug)]
pub(crate) enum Failed {
    Problems(Vec<Problem>),
    /// A file changed while it was read.
    Changed,
}

/// Reads the sources and makes a snapshot of them.
///
/// # Errors
/// Every mistake in every file.
pub fn load(sources: &Sources, rules: Rules) -> Result<Snapshot, Vec<Problem>> {
    load_new(sources, rules).map(|(_, snapshot)| snapshot)
}

/// Makes the first snapshot of sources, and says what it was made of.
pub(crate) fn load_new(sources: &Sources, rules: Rules) -> Result<(Scan, Snapshot), Vec<Problem>> {
    for _ in 0..READS {
        let (scan, texts) = read_new(sources)?;
        match make(&scan, &texts, rules, None) {
            Ok(made) => return Ok((scan, made.onto(None)?)),
            Err(Failed::Problems(problems)) => return Err(problems),
            Err(Failed::Changed) => {}
        }
    }
    Err(restless(sources))
}

/// Makes a snapshot of texts.
///
/// # Errors
/// Every mistake in every text, in the order of the texts.
pub fn build(texts: Texts, rules: Rules) -> Result<Snapshot, Vec<Problem>> {
    let input = texts.entities.as_ref().map(Input::Text);
    match on_a_large_stack(&texts, false, || make_here(&texts, input, rules, None)) {
        Ok(made) => made.onto(None),
        Err(Failed::Problems(problems)) => Err(problems),
        // Texts in memory hold still.
        Err(Failed::Changed) => Err(Vec::new()),
    }
}

/// Makes the next snapshot of the texts of a scan and of the entities that it found. `before` is
/// what was made last, and whether the entities are still the same file: what has not changed is
/// not made again.
pub(crate) fn make(
    scan: &Scan,
    texts: &Texts,
    rules: Rules,
    before: Option<(&Snapshot, bool)>,
) -> Result<Made, Failed> {
    let input = scan.entities.as_ref().map(Input::File);
    let calm = before.is_some();
    on_a_large_stack(texts, calm, || make_here(texts, input, rules, before))
}

/// `calm` is for while requests are served: they come first.
fn on_a_large_stack(
    texts: &Texts,
    calm: bool,
    make: impl FnOnce() -> Result<Made, Failed> + Send,
) -> Result<Made, Failed> {
    let place = texts
        .policies
        .first()
        .map_or_else(PathBuf::new, |text| text.path.clone());
    let failed = |message: String| Failed::Problems(vec![Problem::of_file(&place, message)]);
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("policy-load".to_owned())
            .stack_size(LOAD_STACK)
            .spawn_scoped(scope, move || {
                if calm {
                    step_back();
                }
                make()
            })
            .map_err(|error| failed(format!("cannot start a thread to load policies: {error}")))?;
        worker
            .join()
            .unwrap_or_else(|_| Err(failed("loading failed on an internal error".to_owned())))
    })
}

/// Has the thread run behind others.
fn step_back() {
    // Elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, PRIORITY) {
        tracing::debug!(%error, "policies are loaded at the priority of requests");
    }
}

fn make_here(
    texts: &Texts,
    input: Option<Input<'_>>,
    rules: Rules,
    before: Option<(&Snapshot, bool)>,
) -> Result<Made, Failed> {
    let sources = Digests::of(texts, rules);
    let before_rulebook = before.map(|(snapshot, _)| snapshot.rulebook());
    let same = before_rulebook.filter(|before| before.sources == sources);
    let mut problems = Vec::new();
    let (schema, types) = match same {
        Some(same) => (None, same.types.clone()),
        None => {
            let Some(schema) = read_schema(texts, &mut problems) else {
                // Without the schema that was asked for, more than the first mistakes cannot be
                // judged.
                let mut names = Names::new(None, None, None);
                policies::read(&texts.policies, rules.ids, &mut names, &mut problems);
                return Err(problems.into());
            };
            let types = match before_rulebook {
                Some(before) if before.sources.schema == sources.schema => before.types.clone(),
                _ => schema.0.as_ref().map(|schema| Arc::new(Types::of(schema))),
            };
            (Some(schema), types)
        }
    };
    // Before the policies, so that the names that both share lie beside the entities: what parsing
    // policies leaves behind is scattered all over memory.
    let entities = make_entities(input, types.clone(), same.map(|same| &**same), before);
    let rulebook = match (schema, &entities) {
        (_, Err(Failed::Changed)) => None,
        (None, _) => same.cloned(),
        (Some((schema, warnings)), entities) => {
            let read = entities.as_ref().ok().and_then(MadeEntities::changes);
            let stored = before.map(|(snapshot, _)| snapshot.entities());
            let mut names = Names::new(stored, None, read);
            let policies = policies::read(&texts.policies, rules.ids, &mut names, &mut problems);
            let parts = Parts {
                revision: revision(&policies, texts.schema.as_ref()),
                sources,
                height: policies.height,
                types,
                warnings,
                on_error: rules.on_error,
                check_requests: rules.validate,
            };
            rulebook(policies, schema, texts, parts, names, &mut problems)
        }
    };
    match (rulebook, entities) {
        (_, Err(Failed::Changed)) => Err(Failed::Changed),
        (Some(rulebook), Ok(entities)) => Ok(Made { rulebook, entities }),
        (_, Err(Failed::Problems(more))) => {
            problems.extend(more);
            Err(problems.into())
        }
        (None, Ok(_)) => Err(problems.into()),
    }
}

/// The schema, if one was asked for, and its warnings.
fn read_schema(
    texts: &Texts,
    problems: &mut Vec<Problem>,
) -> Option<(Option<Schema>, Vec<Problem>)> {
    let mut warnings = Vec::new();
    let schema = match &texts.schema {
        None => None,
        Some(text) => Some(schema::read(text, problems, &mut warnings)?),
    };
    Some((schema, warnings))
}

fn rulebook(
    policies: policies::Policies,
    schema: Option<Schema>,
    texts: &Texts,
    mut parts: Parts,
    mut names: Names<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Rulebook>> {
    if let Some(schema) = &schema
        && parts.check_requests
    {
        policies.validate(schema, &texts.policies, problems, &mut parts.warnings);
    }
    let good = problems.is_empty();
    let mut naming = |uid: &EntityUID| names.name(uid);
    let kept = Policies::new(policies.set, policies.links);
    good.then(|| Arc::new(Rulebook::new(kept, schema, parts, &mut naming)))
}

impl From<Vec<Problem>> for Failed {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Problems(problems)
    }
}

#[cfg(test)]
mod tests;
