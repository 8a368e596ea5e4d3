//! From text to typed settings.

use std::path::{Path, PathBuf};

use jsonschema::Validator;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::explain::{self, Finding};
use crate::position::{Node, Step, key_path};
use crate::yaml::{self, Mistake, Tree};
use crate::{Environment, MAX_FILE_BYTES, Problem, too_large};

/// How many problems of one file are reported.
const MAX_PROBLEMS: usize = 100;

/// How often what was refused is taken out and the rest looked at again. Taking out a part can only make its
/// parents incomplete, and those are few.
const MAX_ROUNDS: usize = 256;

/// What was read of a file.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The settings without what is wrong in them, for checks that go on after mistakes; nothing when too little
    /// of the file could be read. Settings whose file has problems must not be used.
    pub document: Option<Document<T>>,
    /// All that is wrong, in the order of the file.
    pub problems: Vec<Problem>,
}

/// Settings that were read from a file, and where in it each key stands.
#[derive(Debug)]
pub struct Document<T> {
    /// The settings.
    pub value: T,
    path: PathBuf,
    root: Node,
}

impl<T> Document<T> {
    /// A problem of the key, such as `issuers[0].leeway`, or of its nearest ancestor that the file has.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let found = self.root.walk_key(key);
        let key = if found.exact {
            key_path(&found.steps)
        } else {
            key.to_owned()
        };
        Problem {
            file: self.path.clone(),
            line: found.node.line,
            column: found.node.column,
            key,
            message: message.into(),
        }
    }

    /// The settings by themselves, and their places for later problems.
    pub fn split(self) -> (T, Document<()>) {
        let Self { value, path, root } = self;
        let places = Document {
            value: (),
            path,
            root,
        };
        (value, places)
    }

    /// Whether the file has this key, and not only a default for it.
    pub fn given(&self, key: &str) -> bool {
        self.root.walk_key(key).exact
    }

    /// Whether the file has this key with a value that is wrong or holds something wrong: then nothing more need
    /// be said about its absence.
    pub fn refused(&self, key: &str) -> bool {
        let found = self.root.walk_key(key);
        found.exact && found.node.any_refused()
    }

    /// A path of the settings, which is relative to the folder of their file.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base().join(path)
    }

    /// The folder of the file; relative paths start there.
    pub fn base(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The file, as it was named by whoever asked for it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

pub(crate) fn read<T: DeserializeOwned + JsonSchema>(
    text: &str,
    path: &Path,
    env: Environment<'_>,
) -> Loaded<T> {
    if text.len() > MAX_FILE_BYTES {
        return failed(Problem::of_file(path, too_large()));
    }
    let schema = crate::schema::<T>();
    let validator = match jsonschema::validator_for(&schema) {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("cannot be checked, because its own schema is wrong: {error}");
            return failed(Problem::of_file(path, message));
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Tree {
        value,
        root,
        mistakes,
    } = match yaml::read(text, env) {
        Ok(tree) => tree,
        Err(mistake) => return failed(mistake.of(path)),
    };
    let mut reader = Reader {
        path,
        schema,
        validator,
        value,
        root,
        problems: mistakes.into_iter().map(|m| m.of(path)).collect(),
    };
    reader.retype();
    reader.validate();
    let value = reader.deserialize();
    let mut problems = reader.problems;
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems.dedup();
    if problems.len() > MAX_PROBLEMS {
        let more = problems.len() - MAX_PROBLEMS;
        problems.truncate(MAX_PROBLEMS);
        problems.push(Problem::of_file(path, format!("{more} more problems")));
    }
    Loaded {
        document: value.map(|value| Document {
            value,
            path: path.to_path_buf(),
            root: reader.root,
        }),
        problems,
    }
}

struct Reader<'p> {
    path: &'p Path,
    schema: Value,
    validator: Validator,
    /// The file as it was written; what is wrong is marked in `root` and left out by `Node::keep`.
    value: Value,
    root: Node,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// What a variable holds is text, until the schema asks for a number or a boolean.
    fn retype(&mut self) {
        let kept = self.root.keep(&self.value);
        let mut texts = Vec::new();
        for error in self.validator.iter_errors(&kept) {
            explain::mistyped_texts(&error, &mut texts);
        }
        for steps in texts {
            let found = self.root.walk(&steps);
            if !found.exact || !found.node.retypable {
                continue;
            }
            if let Some(value) = value_at(&mut self.value, &found.steps)
                && let Some(text) = value.as_str()
                && let number @ (Value::Bool(_) | Value::Number(_)) = yaml::resolve_plain(text)
            {
                *value = number;
            }
        }
    }

    /// Reports all that the schema has against the value, and refuses it.
    fn validate(&mut self) {
        let kept = self.root.keep(&self.value);
        let findings: Vec<Finding> = self
            .validator
            .iter_errors(&kept)
            .flat_map(|error| explain::explain(&error, &self.schema, &self.root))
            .collect();
        let mut refused = Vec::new();
        for finding in findings {
            let found = self.root.walk(&finding.steps);
            let was_refused = finding
                .missing
                .as_ref()
                .is_some_and(|key| self.root.was_given(&found.steps, key));
            if !was_refused {
                self.problems.push(Problem {
                    file: self.path.to_path_buf(),
                    line: found.node.line,
                    column: found.node.column,
                    key: key_path(&found.steps),
                    message: finding.message,
                });
            }
            refused.push(found.steps);
        }
        for steps in refused {
            self.root.refuse(&steps);
        }
    }

    /// The typed value of what is left, when anything is.
    fn deserialize<T: DeserializeOwned>(&mut self) -> Option<T> {
        for _ in 0..MAX_ROUNDS {
            if self.root.refused {
                return None;
            }
            let kept = self.root.keep(&self.value);
            let refused: Vec<Vec<Step>> = self
                .validator
                .iter_errors(&kept)
                .flat_map(|error| explain::explain(&error, &self.schema, &self.root))
                .map(|finding| self.root.walk(&finding.steps).steps)
                .collect();
            if !refused.is_empty() {
                for steps in refused {
                    self.root.refuse(&steps);
                }
                continue;
            }
            let error = match serde_path_to_error::deserialize::<_, T>(&kept) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let found = self.root.walk(&steps(error.path()));
            let steps = found.steps;
            self.problems.push(Problem {
                file: self.path.to_path_buf(),
                line: found.node.line,
                column: found.node.column,
                key: key_path(&steps),
                message: if found.node.from_variable {
                    "is not valid, and not shown because it comes from a variable".to_owned()
                } else {
                    one_line(&error.inner().to_string())
                },
            });
            self.root.refuse(&steps);
        }
        None
    }
}

impl Mistake {
    fn of(self, path: &Path) -> Problem {
        Problem {
            file: path.to_path_buf(),
            line: self.line,
            column: self.column,
            key: self.key,
            message: self.message,
        }
    }
}

fn failed<T>(problem: Problem) -> Loaded<T> {
    Loaded {
        document: None,
        problems: vec![problem],
    }
}

fn value_at<'v>(value: &'v mut Value, steps: &[Step]) -> Option<&'v mut Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { variant } => Some(Step::Key(variant.clone())),
            Segment::Unknown => None,
        })
        .collect()
}

/// The message of another library as ours are written: on one line and not longer than it helps.
fn one_line(message: &str) -> String {
    message
        .chars()
        .take(300)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
