//! Files into a [`Snapshot`]: read, parsed, checked against each other. Every mistake of every file
//! is found in one run, each with its place.

mod depth;
mod elements;
mod entities;
mod place;
mod policies;
mod progress;
mod schema;

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context as Digest, SHA256};
use cedar_policy::Schema;
use cedar_policy_core::ast::EntityUID;
use settings::Problem;

use self::entities::{Changes, Input, Names};
use crate::config::OnError;
use crate::entities::{Draft, Entities};
use crate::policies::Policies;
use crate::scan::{Found, Scan, Stamp, unreadable};
use crate::snapshot::{Parts, Rulebook, Snapshot};
use crate::types::Types;

pub use depth::{MAX_HEIGHT, MAX_NESTING};
pub use progress::{Step, tell_progress};

/// The largest file of policies or schema that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// How long files must not have changed to be taken over: some are written in two steps, emptied
/// and then filled.
pub(crate) const STEADY: Duration = Duration::from_millis(200);

/// How often sources are read that change meanwhile, until the next look.
const READS: usize = 5;

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

/// What was made of the sources: the next snapshot, but for the entities, which may change until it
/// takes their place.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) rulebook: Arc<Rulebook>,
    entities: MadeEntities,
}

#[derive(Debug)]
enum MadeEntities {
    /// Those that are stored.
    Same,
    /// `base`, or those that are stored, with changes.
    Changed {
        base: Option<Entities>,
        changes: Changes,
        path: PathBuf,
    },
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

/// Reads sources that nobody has looked at before, and so without a pause unless something has
/// been written just now.
pub(crate) fn read_new(sources: &Sources) -> Result<(Scan, Texts), Vec<Problem>> {
    let scan = Scan::of(sources);
    let pause = scan.changed_within(STEADY, SystemTime::now());
    read_steady(sources, scan, if pause { STEADY } else { Duration::ZERO })
}

/// Reads the sources as they stood at one moment. A scan before and one after the read must be
/// equal: else there are policies of two versions, and a `forbid` that is in both may be missing.
/// `pause` lies between the scans, so that a file that is being written is not taken for a whole
/// one.
///
/// # Errors
/// Every source that cannot be read, or that they do not hold still.
#[expect(
    clippy::disallowed_methods,
    reason = "files tell of no end of a change, and this thread serves no requests"
)]
pub(crate) fn read_steady(
    sources: &Sources,
    mut scan: Scan,
    mut pause: Duration,
) -> Result<(Scan, Texts), Vec<Problem>> {
    for _ in 0..READS {
        thread::sleep(pause);
        let texts = read(&scan);
        let after = Scan::of(sources);
        match texts {
            Ok(Some(texts)) if after == scan => return Ok((scan, texts)),
            Err(problems) if after == scan => return Err(problems),
            _ => {}
        }
        scan = after;
        pause = STEADY;
    }
    Err(restless(sources))
}

fn restless(sources: &Sources) -> Vec<Problem> {
    vec![Problem::of_file(
        &sources.policies,
        "keeps changing while it is read",
    )]
}

/// Reads the files that a scan found, but for the entities, which are read when they are taken over
/// and then held against the same scan; `None` when one is no longer what the scan saw.
fn read(scan: &Scan) -> Result<Option<Texts>, Vec<Problem>> {
    let mut problems = scan.problems.clone();
    let mut changed = false;
    let mut take = |file: &Found| match read_file(file) {
        Ok(Some(content)) => Some(Text {
            path: file.path.clone(),
            content,
        }),
        Ok(None) => {
            changed = true;
            None
        }
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    let texts = Texts {
        policies: scan.policies.iter().filter_map(&mut take).collect(),
        schema: scan.schema.as_ref().and_then(&mut take),
        entities: None,
    };
    if changed {
        Ok(None)
    } else if problems.is_empty() {
        Ok(Some(texts))
    } else {
        Err(problems)
    }
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

/// What becomes of the stored entities. They are read again when their file or the schema changed.
fn make_entities(
    input: Option<Input<'_>>,
    types: Option<Arc<Types>>,
    rulebook: Option<&Rulebook>,
    before: Option<(&Snapshot, bool)>,
) -> Result<MadeEntities, Failed> {
    let same_types = |snapshot: &Snapshot| match (&snapshot.rulebook().types, &types) {
        (None, None) => true,
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        _ => false,
    };
    let path = input.map_or_else(PathBuf::new, |input| input.path().to_owned());
    let types = types.as_deref();
    let (base, changes) = match (before, input) {
        (Some((snapshot, same_file)), _) if same_types(snapshot) && same_file => {
            return Ok(MadeEntities::Same);
        }
        (Some((snapshot, _)), Some(input)) if same_types(snapshot) => (
            None,
            entities::read(input, types, snapshot.entities(), rulebook)?,
        ),
        (_, Some(input)) => {
            let base = actions_of(types, rulebook)?;
            let changes = entities::read(input, types, &base, rulebook)?;
            (Some(base), changes)
        }
        // What was stored otherwise has to fit the new schema.
        (Some((snapshot, _)), None) => {
            let changes = Changes::of(snapshot.entities(), types)?;
            (Some(actions_of(types, rulebook)?), changes)
        }
        (None, None) => (Some(actions_of(types, rulebook)?), Changes::default()),
    };
    Ok(MadeEntities::Changed {
        base,
        changes,
        path,
    })
}

/// The actions of the schema alone.
fn actions_of(types: Option<&Types>, rulebook: Option<&Rulebook>) -> Result<Entities, Failed> {
    let mut names = Names::new(None, rulebook, None);
    let actions = types.map(|types| {
        let actions = types.actions();
        let drafts = actions.map(|action| Draft::named(action, &mut |uid| names.name(uid)));
        drafts.collect::<Result<Vec<Draft>, _>>()
    });
    let failed = |message: String| Failed::from(vec![Problem::of_file("".as_ref(), message)]);
    let actions = actions
        .transpose()
        .map_err(|error| failed(error.to_string()))?;
    Entities::new(Vec::new(), actions).map_err(|error| failed(error.to_string()))
}

// === impl MadeEntities ===

impl MadeEntities {
    fn changes(&self) -> Option<&Changes> {
        match self {
            Self::Same => None,
            Self::Changed { changes, .. } => Some(changes),
        }
    }
}

// === impl Made ===

impl Made {
    /// The next snapshot after `current`.
    ///
    /// # Errors
    /// When the entities do not go together.
    pub(crate) fn onto(self, current: Option<&Snapshot>) -> Result<Snapshot, Vec<Problem>> {
        let Self { rulebook, entities } = self;
        let (entities, warnings) = match (entities, current) {
            (MadeEntities::Same, Some(current)) => {
                (current.entities().clone(), current.of_entities().to_vec())
            }
            (MadeEntities::Same, None) => Default::default(),
            (
                MadeEntities::Changed {
                    base,
                    changes,
                    path,
                },
                current,
            ) => {
                let none = Entities::default();
                let stored = base.as_ref().or(current.map(Snapshot::entities));
                changes.onto(stored.unwrap_or(&none), &path, rulebook.types.as_deref())?
            }
        };
        Ok(Snapshot::new(rulebook, entities, warnings))
    }
}

impl From<Vec<Problem>> for Failed {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Problems(problems)
    }
}

/// What policies and schema were made of, so that the same is not made again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    all: [u8; 32],
    schema: [u8; 32],
}

impl Digests {
    fn of(texts: &Texts, rules: Rules) -> Self {
        let mut schema = Hashed::default();
        if let Some(text) = &texts.schema {
            schema.add(&text.path.to_string_lossy());
            schema.add(&text.content);
        }
        let schema = schema.digest();
        let mut all = Hashed::default();
        all.0.update(&schema);
        all.add(&format!("{rules:?}"));
        for text in &texts.policies {
            all.add(&text.path.to_string_lossy());
            all.add(&text.content);
        }
        Self {
            all: all.digest(),
            schema,
        }
    }
}

/// The SHA-256 of ids and texts of the policies and of the schema. Neither the order of policies nor
/// the files that they stand in have a part in it.
fn revision(policies: &policies::Policies, schema: Option<&Text>) -> Arc<str> {
    let mut parts = Hashed::default();
    parts.add("policies");
    for (id, text) in policies.texts() {
        parts.add(id);
        parts.add(text);
    }
    parts.add("schema");
    parts.add(schema.map_or("", |schema| &schema.content));
    let mut revision = String::with_capacity(64);
    for byte in parts.digest() {
        use std::fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(revision, "{byte:02x}");
    }
    revision.into()
}

/// The SHA-256 of texts.
struct Hashed(Digest);

impl Hashed {
    /// With its length before it, no part can pass for the beginning of the next.
    fn add(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    fn digest(self) -> [u8; 32] {
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        digest
    }
}

impl Default for Hashed {
    fn default() -> Self {
        Self(Digest::new(&SHA256))
    }
}

/// Reads one file; `None` when it is not, before and after, the file that was found. A link may
/// have been swapped and swapped back meanwhile, which no later scan shows.
fn read_file(found: &Found) -> Result<Option<String>, Problem> {
    let path = &*found.path;
    let fail = |error| unreadable(path, &error);
    let file = File::open(path).map_err(fail)?;
    let as_found = || Ok(Stamp::of(&file.metadata().map_err(fail)?) == found.stamp);
    if !as_found()? {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&file)
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if !as_found()? {
        return Ok(None);
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Problem::of_file(
            path,
            format!("is larger than {} MiB", MAX_FILE_BYTES >> 20),
        ));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before =
            String::from_utf8_lossy(error.as_bytes().get(..at).unwrap_or_default()).into_owned();
        place::at(
            &Text {
                path: path.to_owned(),
                content: before,
            },
            at,
            "is not text in UTF-8",
        )
    })
}

#[cfg(test)]
mod tests;
