//! What the stored entities are, as one number.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use super::stored::Draft;
use crate::canonical::Canonical;
use crate::uid::Uid;

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

/// The SHA-256 of name, attributes, tags and parents.
fn of(entity: &Draft) -> Sum {
    let mut content = Canonical::new(usize::MAX);
    content.uid(&entity.uid);
    content.record(&entity.attributes);
    content.record(&entity.tags);
    // By name: hashes differ from process to process.
    let mut parents: Vec<&Uid> = entity.parents.iter().collect();
    parents.sort_unstable();
    content.count(b'p', parents.len());
    parents.into_iter().for_each(|parent| content.uid(parent));
    let mut sum = Sum::default();
    let digest = digest(&SHA256, content.bytes().unwrap_or_default());
    for (lane, bytes) in sum.0.iter_mut().zip(digest.as_ref().chunks_exact(8)) {
        *lane = bytes
            .iter()
            .fold(0, |lane, byte| lane << 8 | u64::from(*byte));
    }
    sum
}
