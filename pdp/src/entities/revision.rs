//! What the stored entities are, as one number.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, digest};

use super::stored::Draft;
use crate::uid::Uid;
use crate::value::{Record, Value, extension_text};

/// The sum of the SHA-256 of every entity, as four numbers of 64 bits that overflow each for itself.
///
/// It does not matter in which order entities came, so that it is the same wherever the content is
/// the same, and one entity more or less costs the hash of that one. It tells versions apart; it is
/// no seal against somebody who writes entities in order to meet a sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum([u64; 4]);

// === impl Sum ===

impl Sum {
    pub(super) fn add(&mut self, entity: &Draft) {
        let Self(lanes) = of(entity);
        for (lane, more) in self.0.iter_mut().zip(lanes) {
            *lane = lane.wrapping_add(more);
        }
    }

    pub(super) fn take(&mut self, entity: &Draft) {
        let Self(lanes) = of(entity);
        for (lane, less) in self.0.iter_mut().zip(lanes) {
            *lane = lane.wrapping_sub(less);
        }
    }

    /// In hexadecimal, 64 digits.
    pub(super) fn revision(&self) -> Arc<str> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|lane| lane.to_be_bytes()).collect();
        let mut revision = String::with_capacity(64);
        for byte in digest(&SHA256, &bytes).as_ref() {
            use std::fmt::Write as _;
            // Writing to a string cannot fail.
            let _ = write!(revision, "{byte:02x}");
        }
        revision.into()
    }
}

/// The SHA-256 of name, attributes, tags and parents, each written in the one way that equal
/// contents share. With its kind and its length before it, no part can pass for another.
fn of(entity: &Draft) -> Sum {
    let mut bytes = Vec::with_capacity(512);
    uid(&mut bytes, &entity.uid);
    record(&mut bytes, &entity.attributes);
    record(&mut bytes, &entity.tags);
    // By name: hashes differ from process to process.
    let mut parents: Vec<&Uid> = entity.parents.iter().collect();
    parents.sort_unstable();
    count(&mut bytes, b'p', parents.len());
    parents
        .into_iter()
        .for_each(|parent| uid(&mut bytes, parent));
    let mut context = Context::new(&SHA256);
    context.update(&bytes);
    let mut sum = Sum::default();
    let digest = context.finish();
    for (lane, bytes) in sum.0.iter_mut().zip(digest.as_ref().chunks_exact(8)) {
        *lane = bytes
            .iter()
            .fold(0, |lane, byte| lane << 8 | u64::from(*byte));
    }
    sum
}

fn value(bytes: &mut Vec<u8>, of: &Value) {
    match of {
        Value::Bool(truth) => count(bytes, b'b', usize::from(*truth)),
        Value::Long(number) => {
            bytes.push(b'n');
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        Value::String(string) => text(bytes, b's', string),
        Value::Entity(name) => uid(bytes, name),
        Value::Set(set) => {
            // Its order is that of Cedar's values, and so the same in every process.
            count(bytes, b'e', set.len());
            set.iter().for_each(|member| value(bytes, member));
        }
        Value::Record(inner) => record(bytes, inner),
        Value::Extension(extension) => text(bytes, b'x', &extension_text(extension)),
    }
}

fn record(bytes: &mut Vec<u8>, of: &Record) {
    count(bytes, b'r', of.len());
    for (name, inner) in of.iter() {
        text(bytes, b'k', name);
        value(bytes, inner);
    }
}

fn uid(bytes: &mut Vec<u8>, of: &Uid) {
    text(bytes, b't', &of.kind().to_string());
    text(bytes, b'i', of.id());
}

fn text(bytes: &mut Vec<u8>, kind: u8, text: &str) {
    count(bytes, kind, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

fn count(bytes: &mut Vec<u8>, kind: u8, count: usize) {
    bytes.push(kind);
    bytes.extend_from_slice(&(count as u64).to_be_bytes());
}
