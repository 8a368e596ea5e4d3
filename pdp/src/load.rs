//! Files into a [`Snapshot`]: read, parsed, checked against each other. Every mistake of every file
//! is found in one run, each with its place.

mod depth;
mod entities;
mod place;
mod policies;
mod schema;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use settings::Problem;

use crate::config::OnError;
use crate::scan::{Scan, unreadable};
use crate::snapshot::{Parts, Snapshot};

pub use depth::{MAX_HEIGHT, MAX_NESTING};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Stack of the thread that parses and validates. Parsing, lowering and type checking recurse with
/// the depth of the text, which [`MAX_NESTING`] and [`MAX_HEIGHT`] bound; the memory is only
/// reserved, not used, until something is really that deep.
const LOAD_STACK: usize = 512 << 20;

/// Where the parts of a snapshot are.
#[derive(Debug, Clone)]
pub struct Sources {
    /// A folder of `.cedar` files, read recursively, or one file.
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
    /// The `@id` annotation, else `<file stem>#<n>`, counted from 0 in file order.
    Annotated,
    /// `policy<n>`, counted from 0 over all files, as Cedar numbers them.
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
    let scan = Scan::of(sources)?;
    build(read(sources, &scan)?, rules)
}

/// Reads the files that a scan found.
pub(crate) fn read(sources: &Sources, scan: &Scan) -> Result<Texts, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut take = |path: &Path| match read_file(path) {
        Ok(content) => Some(Text {
            path: path.to_owned(),
            content,
        }),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    let texts = Texts {
        policies: scan.policies.iter().filter_map(|path| take(path)).collect(),
        schema: sources.schema.as_deref().and_then(&mut take),
        entities: sources.entities.as_deref().and_then(&mut take),
    };
    if problems.is_empty() {
        Ok(texts)
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

fn read_file(path: &Path) -> Result<String, Problem> {
    let fail = |error| unreadable(path, &error);
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(fail)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Problem::of_file(
            path,
            format!("is larger than {} MiB", MAX_FILE_BYTES >> 20),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
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
