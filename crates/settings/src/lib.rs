//! Settings files in YAML: every mistake at once, each with its line and key.
//!
//! A file is read in four steps: the YAML parser's events become a JSON value beside a tree of positions
//! (`yaml`), text takes its `${VAR}` from the environment (`variables`), the JSON Schema of the target type
//! says what is wrong in words (`explain`), and what is left after the refused parts are taken out becomes the
//! typed value (`read`). So the checks that come after the schema run even on a file that has mistakes, and
//! one run reports them all.

mod explain;
mod position;
mod problem;
mod read;
mod values;
mod variables;
mod yaml;

use std::io::Read as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub use problem::Problem;
pub use read::{Document, Loaded};
pub use values::{Address, ByteSize, EXPECTED, Secret, Span};

/// The largest settings file that is read, in bytes, before and after variables are filled in.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Where `${VAR}` takes its values from: the process environment, or a map in tests.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a settings file. Every mistake in it is among the problems of the result.
pub fn load<T: DeserializeOwned + JsonSchema>(path: &Path, env: Environment<'_>) -> Loaded<T> {
    match read_file(path) {
        Ok(text) => parse(&text, path, env),
        Err(message) => Loaded {
            document: None,
            problems: vec![Problem::of_file(path, message)],
        },
    }
}

/// Reads settings from text; `path` is what the problems name and what relative paths are resolved against.
pub fn parse<T: DeserializeOwned + JsonSchema>(
    text: &str,
    path: &Path,
    env: Environment<'_>,
) -> Loaded<T> {
    read::read(text, path, env)
}

/// The JSON Schema (draft 2020-12) of a settings type, with its field docs as descriptions.
#[must_use]
pub fn schema<T: JsonSchema>() -> serde_json::Value {
    schemars::SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value()
}

fn read_file(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|_| "is not text in UTF-8".to_owned())
}

fn too_large() -> String {
    format!("is larger than {} KiB", MAX_FILE_BYTES / 1024)
}
