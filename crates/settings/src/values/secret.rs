//! Values that nobody may see.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::EXPECTED;

/// A secret: the text itself (usually `${VAR}`), or `{file: path}`. It is never displayed.
#[derive(Clone)]
pub struct Secret(Source);

#[derive(Clone)]
enum Source {
    Text(String),
    File(PathBuf),
}

const WORDS: &str = "a secret: text such as `${VAR}`, or `{file: path}`";

/// The largest secret that is read from a file, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

impl Secret {
    /// The secret itself. A file is read anew each time, relative to `base`, without the line break at its end.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 64 KiB or is not UTF-8, and when the secret is empty.
    pub fn reveal(&self, base: &Path) -> io::Result<String> {
        let secret = match &self.0 {
            Source::Text(text) => text.clone(),
            Source::File(path) => {
                let mut text = String::new();
                std::fs::File::open(base.join(path))?
                    .take(MAX_BYTES + 1)
                    .read_to_string(&mut text)?;
                if text.len() as u64 > MAX_BYTES {
                    return Err(invalid("the secret is larger than 64 KiB"));
                }
                let line = text.strip_suffix('\n').unwrap_or(&text);
                line.strip_suffix('\r').unwrap_or(line).to_owned()
            }
        };
        if secret.is_empty() {
            return Err(invalid("the secret is empty"));
        }
        Ok(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrFile)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A secret: text such as `${VAR}`, or `{file: path}`.",
            "type": ["string", "object"],
            "properties": { "file": { "type": "string", "description": "A file that holds nothing but the secret." } },
            "required": ["file"],
            "additionalProperties": false,
            "writeOnly": true,
            EXPECTED: WORDS,
        })
    }
}

struct TextOrFile;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSource {
    file: PathBuf,
}

impl<'de> Visitor<'de> for TextOrFile {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORDS)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(Source::Text(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
        let source = FileSource::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Secret(Source::File(source.file)))
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
