//! Values and names as bytes, in the one way that equal ones share and different ones do not.
//!
//! Every part stands behind its kind and its length, so that no part can pass for another, whatever
//! characters it holds.

use std::io::Write as _;

use crate::uid::Uid;
use crate::value::{Record, Value, extension_text};

/// Bytes, up to a limit: what is beyond is not written any more, so that a large value costs no
/// more than the limit.
#[derive(Debug)]
pub(crate) struct Canonical {
    bytes: Vec<u8>,
    limit: usize,
}

// === impl Canonical ===

impl Canonical {
    /// `limit` is in bytes. The last part to begin below it is written whole.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(512),
            limit,
        }
    }

    /// The bytes; `None` when the limit was reached, and something may be missing.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        (!self.is_full()).then_some(&*self.bytes)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= self.limit
    }

    pub(crate) fn value(&mut self, of: &Value) {
        if self.is_full() {
            return;
        }
        match of {
            Value::Bool(truth) => self.count(b'b', usize::from(*truth)),
            Value::Long(number) => {
                self.bytes.push(b'n');
                self.bytes.extend_from_slice(&number.to_be_bytes());
            }
            Value::String(string) => self.text(b's', string),
            Value::Entity(name) => self.uid(name),
            Value::Set(set) => {
                // Its order is that of Cedar's values, and so the same in every process.
                self.count(b'e', set.len());
                set.iter().for_each(|member| self.value(member));
            }
            Value::Record(inner) => self.record(inner),
            Value::Extension(extension) => self.text(b'x', &extension_text(extension)),
        }
    }

    pub(crate) fn record(&mut self, of: &Record) {
        self.count(b'r', of.len());
        for (name, inner) in of.iter() {
            if self.is_full() {
                return;
            }
            self.text(b'k', name);
            self.value(inner);
        }
    }

    pub(crate) fn uid(&mut self, of: &Uid) {
        if self.is_full() {
            return;
        }
        self.bytes.push(b't');
        let length = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 8]);
        let start = self.bytes.len();
        // Writing to memory cannot fail.
        let _ = write!(self.bytes, "{}", of.kind());
        let written = (self.bytes.len() - start) as u64;
        if let Some(place) = self.bytes.get_mut(length..start) {
            place.copy_from_slice(&written.to_be_bytes());
        }
        self.text(b'i', of.id());
    }

    pub(crate) fn text(&mut self, kind: u8, text: &str) {
        self.count(kind, text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A number, or how many parts of a kind follow.
    pub(crate) fn count(&mut self, kind: u8, count: usize) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&(count as u64).to_be_bytes());
    }
}
