//! What is loaded, as numbers: so that the same is not made again, and everybody can tell what decides.

use std::sync::Arc;

use aws_lc_rs::digest::{Context as Digest, SHA256};

use super::policies::Policies;
use super::{Rules, Text, Texts};

/// What policies and schema were made of, so that the same is not made again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    all: [u8; 32],
    pub(super) schema: [u8; 32],
}

impl Digests {
    pub(super) fn of(texts: &Texts, rules: Rules) -> Self {
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
pub(super) fn revision(policies: &Policies, schema: Option<&Text>) -> Arc<str> {
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
