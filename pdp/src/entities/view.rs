//! What one question sees of the entities: the stored ones, with the question's own laid over them.
//!
//! An entity that a question brings replaces the stored one whole, for this question only, and with
//! it what is above those below it. Nothing is copied but what that touches, and only when somebody
//! looks at it.

use std::cell::{Cell, OnceCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Entities;
use super::stored::{Lineage, Stored, Unknown};
use crate::uid::{ByUid, Uid};

/// Steps up the hierarchy that one question may take. Every entity holds all of its ancestors, so
/// that a long chain of given entities costs the square of its length.
const MAX_STEPS: usize = 100_000;

/// Buckets of the entities that were looked at and are touched by given ones.
const BUCKETS: usize = 64;

/// The entities, as one question sees them.
#[derive(Debug)]
pub(crate) struct View<'a> {
    entities: &'a Entities,
    /// The question's own, with all of their ancestors.
    given: HashMap<Uid, Given, ByUid>,
    /// Stored entities below given ones, that were looked at.
    touched: Box<[Touched]>,
    /// Steps that the given entities took.
    given_steps: usize,
    /// Steps taken so far.
    steps: Cell<usize>,
    failure: OnceCell<ViewError>,
}

/// An entity that a question brings.
#[derive(Debug)]
struct Given {
    /// All that it says is above it.
    above: Box<[Uid]>,
    /// Computed once all given ones are known.
    stored: Stored,
}

/// A list that only grows, so that what is in it can be lent.
#[derive(Debug, Default)]
struct Touched(OnceCell<Box<(Stored, Touched)>>);

/// Why a question's own entities cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ViewError {
    #[error("entity `{0}` is given twice with different contents")]
    Duplicate(Uid),
    #[error("entity `{0}` would be its own ancestor")]
    Cycle(Uid),
    #[error("the given entities have more than {MAX_STEPS} ancestors between them")]
    TooMany,
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("{0}")]
    OutsideSchema(String),
}

// === impl View ===

impl<'a> View<'a> {
    /// The stored entities alone.
    pub(crate) fn of(entities: &'a Entities) -> Self {
        Self {
            entities,
            given: HashMap::default(),
            touched: Box::default(),
            given_steps: 0,
            steps: Cell::new(0),
            failure: OnceCell::new(),
        }
    }

    /// With entities of the question's own, whose ancestors need not be complete.
    ///
    /// # Errors
    /// When one is given twice with different contents, or would be its own ancestor.
    pub(crate) fn with<'e>(
        entities: &'a Entities,
        given: impl IntoIterator<Item = &'e cedar_policy_core::ast::Entity>,
    ) -> Result<Self, ViewError> {
        let mut view = Self::of(entities);
        let mut names = Vec::new();
        for entity in given {
            let stored = Stored::named(entity, &mut |uid| entities.name(uid))?;
            let above: Box<[Uid]> = stored.ancestors().into();
            names.push(stored.uid.clone());
            if let Some(before) = view.given.get(&stored.uid) {
                if !before.says(&above, &stored) {
                    return Err(ViewError::Duplicate(stored.uid));
                }
            } else {
                let given = Given { above, stored };
                view.given.insert(given.stored.uid.clone(), given);
            }
        }
        if view.given.is_empty() {
            return Ok(view);
        }
        view.touched = (0..BUCKETS).map(|_| Touched::default()).collect();
        // In the order given, so that the same question always gets the same error.
        let mut closed = Vec::with_capacity(names.len());
        for uid in names {
            if let Some(given) = view.given.get(&uid) {
                closed.push(view.below(&given.stored, &given.above)?);
            }
        }
        for stored in closed {
            if let Some(given) = view.given.get_mut(&stored.uid) {
                given.stored = stored;
            }
        }
        view.given_steps = view.steps.get();
        Ok(view)
    }

    /// Begins another question: it has all of its steps before it, and nothing has failed.
    pub(crate) fn begin(&mut self) {
        self.steps.set(self.given_steps);
        self.failure.take();
    }

    /// An entity with all of its ancestors; `None` when there is none of this name.
    pub(crate) fn entity(&self, uid: &Uid) -> Option<&Stored> {
        if self.given.is_empty() {
            return self.entities.get(uid);
        }
        if let Some(given) = self.given.get(uid) {
            return Some(&given.stored);
        }
        let stored = self.entities.get(uid)?;
        if !self.touches(stored) {
            return Some(stored);
        }
        let buckets = self.touched.len() as u64;
        let bucket = usize::try_from(uid.hash().checked_rem(buckets)?).ok()?;
        let mut list = self.touched.get(bucket)?;
        while let Some(entry) = list.0.get() {
            let (stored, next) = &**entry;
            if stored.uid == *uid {
                return Some(stored);
            }
            list = next;
        }
        match self.below(stored, stored.parents()) {
            Ok(stored) => {
                let entry = list
                    .0
                    .get_or_init(|| Box::new((stored, Touched::default())));
                Some(&entry.0)
            }
            Err(error) => {
                // The answer is thrown away: see `failure`.
                let _ = self.failure.set(error);
                None
            }
        }
    }

    /// [`entity`](Self::entity), where the stored one of this name may be at hand, which saves the
    /// search for it.
    pub(crate) fn entity_at_hand<'s>(
        &'s self,
        uid: &Uid,
        stored: Option<&'s Stored>,
    ) -> Option<&'s Stored> {
        match stored {
            Some(stored) if self.given.is_empty() => Some(stored),
            _ => self.entity(uid),
        }
    }

    /// What went wrong while entities were looked at. The answer that was found must then not be
    /// used, because an entity was missing from it.
    pub(crate) fn failure(&self) -> Option<&ViewError> {
        self.failure.get()
    }

    /// Whether a given entity is among the ancestors of a stored one, so that they may have changed.
    fn touches(&self, stored: &Stored) -> bool {
        // From the side that has fewer.
        if stored.ancestors().len() < self.given.len() {
            stored
                .ancestors()
                .iter()
                .any(|uid| self.given.contains_key(uid))
        } else {
            self.given.keys().any(|uid| stored.is_within(uid))
        }
    }

    /// The entity with all that is above `parents`.
    fn below(&self, entity: &Stored, parents: &[Uid]) -> Result<Stored, ViewError> {
        let ancestors = self.above(&entity.uid, parents)?;
        let lineage = Lineage::new(entity.parents().to_vec(), ancestors);
        Ok(entity.below(Arc::new(lineage)))
    }

    /// All that is reached upwards from `parents`.
    fn above(&self, uid: &Uid, parents: &[Uid]) -> Result<Vec<Uid>, ViewError> {
        let mut above: HashSet<&Uid, ByUid> = HashSet::default();
        let mut waiting: Vec<&Uid> = parents.iter().collect();
        while let Some(next) = waiting.pop() {
            self.step(1)?;
            if next == uid {
                return Err(ViewError::Cycle(uid.clone()));
            }
            if !above.insert(next) {
                continue;
            }
            if let Some(given) = self.given.get(next) {
                waiting.extend(&given.above);
            } else if let Some(stored) = self.entities.get(next) {
                if self.touches(stored) {
                    waiting.extend(stored.parents());
                } else {
                    // Nothing on the way up is given, so what is stored holds as it is. It cannot
                    // lead back to `uid` either, unless `uid` is stored and among it.
                    if stored.is_within(uid) {
                        return Err(ViewError::Cycle(uid.clone()));
                    }
                    self.step(stored.ancestors().len())?;
                    above.extend(stored.ancestors());
                }
            }
        }
        Ok(above.into_iter().cloned().collect())
    }

    fn step(&self, steps: usize) -> Result<(), ViewError> {
        self.steps.set(self.steps.get() + steps);
        if self.steps.get() > MAX_STEPS {
            Err(ViewError::TooMany)
        } else {
            Ok(())
        }
    }
}

// === impl Given ===

impl Given {
    fn says(&self, above: &[Uid], stored: &Stored) -> bool {
        *self.above == *above
            && self.stored.attributes == stored.attributes
            && self.stored.tags == stored.tags
    }
}
