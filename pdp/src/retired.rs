//! Snapshots that decide no longer.

use std::sync::Arc;

use crate::snapshot::Snapshot;

/// So many are kept at most, however long somebody reads them.
const MOST: usize = 4;

/// Snapshots that were replaced by a reload, kept until nobody reads them. To free a hundred thousand
/// policies takes as long as thousands of decisions: whoever happens to be the last reader is not to
/// do it, but the next look at the source.
#[derive(Debug, Default)]
pub(crate) struct Retired(Vec<Arc<Snapshot>>);

// === impl Retired ===

impl Retired {
    pub(crate) fn take(&mut self, snapshot: Arc<Snapshot>) {
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(snapshot);
    }

    /// Frees what nobody but `self` has. Versions of `current` that differ in few entities share all
    /// that is large with it.
    pub(crate) fn free(&mut self, current: &Snapshot) {
        self.0.retain(|old| {
            let rulebook = old.rulebook();
            let in_use =
                Arc::strong_count(rulebook) > 1 && !Arc::ptr_eq(rulebook, current.rulebook());
            in_use || Arc::strong_count(old) > 1
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
