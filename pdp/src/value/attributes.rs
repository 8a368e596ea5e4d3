//! The attributes of an entity.

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::{Record, Value};
use crate::uid::Uid;

/// Values by name, sorted by name. As a [`Record`], but few of them lie where the entity does: with what
/// else a decision looks at they are fetched from memory at once, and not one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(SmallVec<[(SmolStr, Value); FEW]>);

/// So many attributes fit beside name and ancestors into four lines of the processor's caches.
const FEW: usize = 3;

// === impl Attributes ===

impl Attributes {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        let at = self.0.binary_search_by(|(name, _)| name.as_str().cmp(key));
        self.0.get(at.ok()?).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&SmolStr, &Value)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// How long the first name is and the last, which lie on either end.
    pub(crate) fn ends(&self) -> (usize, usize) {
        let len = |pair: Option<&(SmolStr, Value)>| pair.map_or(0, |(name, _)| name.len());
        (len(self.0.first()), len(self.0.last()))
    }

    /// Tells `tell` every entity that a value names.
    pub(crate) fn names(&self, tell: &mut dyn FnMut(&Uid)) {
        self.iter().for_each(|(_, value)| value.names(tell));
    }

    /// Whether they are those of a record.
    pub(crate) fn are(&self, record: &Record) -> bool {
        *self.0 == *record.0
    }
}

impl From<&Record> for Attributes {
    fn from(record: &Record) -> Self {
        Self(record.0.iter().cloned().collect())
    }
}

impl From<&Attributes> for Record {
    fn from(attributes: &Attributes) -> Self {
        Self(attributes.0.iter().cloned().collect())
    }
}
