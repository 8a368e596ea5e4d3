//! Files into a [`Snapshot`]: read, parsed, checked against each other. Every mistake of every file
//! is found in one run, each with its place.

mod depth;
mod entities;
mod place;
mod policies;
mod schema;

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context as Digest, SHA256};
use settings::Problem;

use crate::config::OnError;
use crate::scan::{Found, Scan, Stamp, unreadable};
use crate::snapshot::{Parts, Snapshot};

pub use depth::{MAX_HEIGHT, MAX_NESTING};

/// The largest file that is read, in bytes.
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

/// Reads the sources and makes a snapshot of them.
///
/// # Errors
/// Every mistake in every file.
pub fn load(sources: &Sources, rules: Rules) -> Result<Snapshot, Vec<Problem>> {
    let (_, texts) = read_new(sources)?;
    build(texts, rules)
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
    Err(vec![Problem::of_file(
        &sources.policies,
        "keeps changing while it is read",
    )])
}

/// Reads the files that a scan found; `None` when one is no longer what the scan saw.
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
        entities: scan.entities.as_ref().and_then(&mut take),
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
    let place = texts
        .policies
        .first()
        .map_or_else(PathBuf::new, |text| text.path.clone());
    let failed = |message: String| vec![Problem::of_file(&place, message)];
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("policy-load".to_owned())
            .stack_size(LOAD_STACK)
            .spawn_scoped(scope, || build_here(&texts, rules))
            .map_err(|error| failed(format!("cannot start a thread to load policies: {error}")))?;
        worker
            .join()
            .unwrap_or_else(|_| Err(failed("loading failed on an internal error".to_owned())))
    })
}

fn build_here(texts: &Texts, rules: Rules) -> Result<Snapshot, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let schema = match &texts.schema {
        None => Some(None),
        Some(text) => schema::read(text, &mut problems, &mut warnings).map(Some),
    };
    let policies = policies::read(&texts.policies, rules.ids, &mut problems);
    // Without the schema that was asked for, more than the first mistakes cannot be judged.
    let Some(schema) = schema else {
        return Err(problems);
    };
    if let Some(schema) = &schema
        && rules.validate
    {
        policies.validate(schema, &texts.policies, &mut problems, &mut warnings);
    }
    let entities = entities::read(texts.entities.as_ref(), schema.as_ref(), &mut problems);
    match entities {
        Some(entities) if problems.is_empty() => Ok(Snapshot::new(Parts {
            revision: revision(&policies, texts.schema.as_ref(), &entities),
            height: policies.height,
            policies: policies.set,
            schema,
            entities: entities.store,
            warnings,
            on_error: rules.on_error,
            check_requests: rules.validate,
        })),
        _ => Err(problems),
    }
}

/// The SHA-256 of ids and texts of the policies, the schema and the entities. Neither the order of
/// policies or entities nor the files that they stand in have a part in it.
fn revision(
    policies: &policies::Policies,
    schema: Option<&Text>,
    entities: &entities::StoredEntities<'_>,
) -> Arc<str> {
    let mut digest = Digest::new(&SHA256);
    // With its length before it, no part can pass for the beginning of the next.
    let mut part = |text: &str| {
        digest.update(&(text.len() as u64).to_be_bytes());
        digest.update(text.as_bytes());
    };
    part("policies");
    for (id, text) in policies.texts() {
        part(id);
        part(text);
    }
    part("schema");
    part(schema.map_or("", |schema| &schema.content));
    part("entities");
    for (uid, text) in entities.texts() {
        part(uid);
        part(text);
    }
    let mut revision = String::with_capacity(64);
    for byte in digest.finish().as_ref() {
        use std::fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(revision, "{byte:02x}");
    }
    revision.into()
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
