//! The stored entities: every version stays as it is, and the next one shares with it all that did
//! not change.

mod closure;
mod order;
mod revision;
mod stored;
mod trie;
mod view;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy_core::ast::{EntityType, EntityUID};

use self::closure::{MAX_ANCESTORS, Nobody, Node, Others, close};
use self::order::Order;
use self::revision::Sum;
pub(crate) use self::stored::{Draft, Lineage, Stored};
use self::trie::{Named, Trie};
pub(crate) use self::view::{View, ViewError};
use crate::uid::{ByUid, Uid};

/// Pairs of an entity and one above it that there may be in all. Each may take 16 bytes.
const MAX_PAIRS: usize = 100_000_000;

/// Children of the first parent that are asked whether they know what is above the same parents.
const ASKED_SIBLINGS: usize = 8;

/// The share of the stored entities, one in so many, up to which changes are made one by one.
const FEW: usize = 16;

/// Every stored entity with all of its ancestors, and the actions of the schema. Copying it is
/// cheap.
#[derive(Debug, Clone)]
pub(crate) struct Entities {
    by_uid: Trie<Kept>,
    /// Who is directly below whom, whether or not the one above is stored.
    below: Trie<Brood>,
    order: Order,
    /// Pairs of an entity and one above it.
    pairs: usize,
    /// Whether the actions are those of a schema, and so no part of what is stored.
    typed: bool,
    sum: Sum,
    revision: Arc<str>,
}

/// An entity where the search for it ends. It lies elsewhere, and is not looked at before its hash.
#[derive(Debug, Clone)]
struct Kept {
    hash: u64,
    stored: Arc<Stored>,
}

/// The entities directly below one.
#[derive(Debug, Clone)]
struct Brood {
    parent: Uid,
    children: Trie<Uid>,
}

/// A change of one stored entity.
#[derive(Debug)]
pub(crate) enum Change {
    /// It is new, or becomes another.
    Put(Draft),
    Remove(Uid),
}

/// Why entities cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntitiesError {
    #[error("entity `{0}` is given twice")]
    Duplicate(Uid),
    #[error("entity `{0}` is its own parent, which is a cycle")]
    OwnParent(Uid),
    #[error("entity `{uid}` is its own ancestor: there is a cycle through its parent `{parent}`")]
    Cycle { uid: Uid, parent: Uid },
    #[error("entity `{0}` has more than {MAX_ANCESTORS} ancestors")]
    TooManyAncestors(Uid),
    #[error("the entities have more than {MAX_PAIRS} ancestors between them, counted up to `{0}`")]
    TooManyPairs(Uid),
    #[error("entity `{0}` is an action, and actions are what the schema says")]
    Action(Uid),
    #[error("the stored entities contradict each other")]
    Inconsistent,
}

// === impl Entities ===

impl Entities {
    /// Of different entities, in any order, and the actions of the schema, if there is one: they
    /// belong among the entities, because without them action groups would silently hold nothing.
    ///
    /// # Errors
    /// On two entities with one name, on a cycle, on too many ancestors, and on an action where
    /// there is a schema.
    pub(crate) fn new(
        drafts: Vec<Draft>,
        actions: Option<Vec<Draft>>,
    ) -> Result<Self, EntitiesError> {
        let typed = actions.is_some();
        if typed && let Some(action) = drafts.iter().find(|draft| draft.uid.is_action()) {
            return Err(EntitiesError::Action(action.uid.clone()));
        }
        let mut drafts = drafts;
        drafts.extend(actions.into_iter().flatten());
        let mut names = HashSet::with_capacity_and_hasher(drafts.len(), ByUid);
        if let Some(twice) = drafts.iter().find(|draft| !names.insert(&draft.uid)) {
            return Err(EntitiesError::Duplicate(twice.uid.clone()));
        }
        drop(names);
        let nodes: Vec<Node<'_>> = drafts.iter().map(Draft::node).collect();
        let lineages = close(&nodes, &Nobody)?;
        let pairs = count_pairs(0, &nodes, &lineages)?;
        drop(nodes);

        let below = broods(&drafts);
        let order = Order::new(drafts.iter().map(|draft| draft.uid.clone()).collect());
        let mut sum = Sum::default();
        let stored = drafts.into_iter().zip(lineages).map(|(draft, lineage)| {
            if !(typed && draft.uid.is_action()) {
                sum.add(&draft);
            }
            Kept::from(draft.with(lineage))
        });
        Ok(Self {
            by_uid: Trie::new(stored.collect()),
            below,
            order,
            pairs,
            typed,
            revision: sum.revision(),
            sum,
        })
    }

    /// The next version.
    ///
    /// # Errors
    /// As [`new`](Self::new). Then nothing has changed.
    pub(crate) fn with(&self, changes: Vec<Change>) -> Result<Self, EntitiesError> {
        let mut names = HashSet::with_capacity_and_hasher(changes.len(), ByUid);
        for change in &changes {
            let uid = change.uid();
            if self.is_given(uid) {
                return Err(EntitiesError::Action(uid.clone()));
            }
            if !names.insert(uid) {
                return Err(EntitiesError::Duplicate(uid.clone()));
            }
        }
        if changes.len() > self.len() / FEW && changes.len() > ASKED_SIBLINGS {
            drop(names);
            return self.rebuilt(changes);
        }
        let mut next = self.clone();
        let mut moved = Vec::new();
        for change in changes {
            let (uid, put) = match change {
                Change::Put(draft) => (draft.uid.clone(), Some(draft)),
                Change::Remove(uid) => (uid, None),
            };
            if next.change(&uid, put) {
                moved.push(uid);
            }
        }
        if !moved.is_empty() {
            next.close(moved)?;
        }
        next.revision = next.sum.revision();
        Ok(next)
    }

    /// The next version made anew, which is cheaper when much is different.
    fn rebuilt(&self, changes: Vec<Change>) -> Result<Self, EntitiesError> {
        let (mut drafts, mut actions) = (Vec::new(), Vec::new());
        let touched: HashSet<&Uid, ByUid> = changes.iter().map(Change::uid).collect();
        for stored in self.iter().filter(|stored| !touched.contains(&stored.uid)) {
            if self.is_given(&stored.uid) {
                actions.push(Draft::of(stored));
            } else {
                drafts.push(Draft::of(stored));
            }
        }
        drafts.extend(changes.into_iter().filter_map(|change| match change {
            Change::Put(draft) => Some(draft),
            Change::Remove(_) => None,
        }));
        Self::new(drafts, self.typed.then_some(actions))
    }

    /// Makes one change, but for what is above whom: whether that may be different now.
    fn change(&mut self, uid: &Uid, put: Option<Draft>) -> bool {
        let old = match &put {
            Some(_) => self.by_uid.get(uid).cloned(),
            None => self.by_uid.remove(uid),
        };
        let old = old.map(|kept| kept.stored);
        match (&old, &put) {
            (None, None) => return false,
            (None, Some(_)) => self.order.insert(uid),
            (Some(_), None) => self.order.remove(uid),
            (Some(_), Some(_)) => {}
        }
        let before = old.as_ref().map(|old| old.parents()).unwrap_or_default();
        let after = put
            .as_ref()
            .map(|draft| &*draft.parents)
            .unwrap_or_default();
        for parent in before.iter().filter(|parent| !after.contains(parent)) {
            self.part(parent, uid);
        }
        for parent in after.iter().filter(|parent| !before.contains(parent)) {
            self.join(parent, uid);
        }
        let stays = old.is_some() && put.is_some() && before == after;
        if let Some(old) = &old {
            self.sum.take(&Draft::of(old));
            if !stays {
                self.pairs -= old.ancestors().len();
            }
        }
        if let Some(draft) = put {
            self.sum.add(&draft);
            let lineage = match &old {
                Some(old) if stays => Arc::clone(&old.lineage),
                // Until it is computed.
                _ => Arc::new(Lineage::new(draft.parents.to_vec(), Vec::new())),
            };
            self.by_uid.insert(Kept::from(draft.with(lineage)));
        }
        !stays
    }

    /// Computes what is above those that moved, came or went, and above all below them.
    fn close(&mut self, moved: Vec<Uid>) -> Result<(), EntitiesError> {
        let mut affected: HashSet<Uid, ByUid> = moved.iter().cloned().collect();
        let mut waiting = moved;
        let mut stored = Vec::new();
        while let Some(uid) = waiting.pop() {
            stored.extend(self.by_uid.get(&uid).map(|kept| Arc::clone(&kept.stored)));
            let below = self.below.get(&uid).map(|brood| brood.children.iter());
            for child in below.into_iter().flatten() {
                if affected.insert(child.clone()) {
                    waiting.push(child.clone());
                }
            }
        }
        let nodes: Vec<Node<'_>> = stored.iter().map(|stored| stored.node()).collect();
        let unmoved = Unmoved {
            entities: self,
            affected: &affected,
        };
        let lineages = close(&nodes, &unmoved)?;
        let before: usize = stored.iter().map(|stored| stored.ancestors().len()).sum();
        self.pairs = count_pairs(self.pairs - before, &nodes, &lineages)?;
        drop(nodes);
        for (stored, lineage) in stored.into_iter().zip(lineages) {
            if *stored.lineage != *lineage {
                self.by_uid.insert(Kept::from(stored.below(lineage)));
            }
        }
        Ok(())
    }

    fn join(&mut self, parent: &Uid, child: &Uid) {
        let brood = self.below.get(parent).cloned();
        let mut brood = brood.unwrap_or_else(|| Brood {
            parent: parent.clone(),
            children: Trie::default(),
        });
        brood.children.insert(child.clone());
        self.below.insert(brood);
    }

    fn part(&mut self, parent: &Uid, child: &Uid) {
        let Some(mut brood) = self.below.get(parent).cloned() else {
            return;
        };
        brood.children.remove(child);
        if brood.children.is_empty() {
            self.below.remove(parent);
        } else {
            self.below.insert(brood);
        }
    }

    pub(crate) fn get(&self, uid: &Uid) -> Option<&Stored> {
        self.by_uid.get(uid).map(|kept| &*kept.stored)
    }

    pub(crate) fn find(&self, uid: &EntityUID) -> Option<&Stored> {
        let kept = self
            .by_uid
            .find(Uid::hash_of(uid), |kept| kept.stored.is(uid));
        kept.map(|kept| &*kept.stored)
    }

    /// The name, shared with what is stored under it or below it.
    pub(crate) fn name(&self, uid: &EntityUID) -> Uid {
        let [(name, _)] = self.names([uid]);
        name.into_owned()
    }

    /// The names as they lie here, where there is or is meant to be an entity that bears them, with
    /// the entity if it is stored.
    pub(crate) fn names<const N: usize>(
        &self,
        uids: [&EntityUID; N],
    ) -> [(Cow<'_, Uid>, Option<&Stored>); N] {
        let wanted = uids.map(|uid| (Uid::hash_of(uid), uid));
        let is = |uid: &&EntityUID, kept: &Kept| kept.stored.is(uid);
        let found = self.by_uid.find_each(&wanted, is);
        for kept in found.iter().flatten() {
            kept.stored.touch();
        }
        let mut found = found.into_iter();
        wanted.map(|(hash, uid)| match found.next().flatten() {
            Some(kept) => (Cow::Borrowed(&kept.stored.uid), Some(&*kept.stored)),
            None => match self.below.find(hash, |brood| brood.parent.is(uid)) {
                Some(brood) => (Cow::Borrowed(&brood.parent), None),
                None => (Cow::Owned(Uid::of(uid)), None),
            },
        })
    }

    /// The name as it is shared here, if there is or is meant to be an entity that bears it.
    pub(crate) fn shared(&self, uid: &Uid) -> Option<&Uid> {
        match self.by_uid.get(uid) {
            Some(kept) => Some(&kept.stored.uid),
            None => self.below.get(uid).map(|brood| &brood.parent),
        }
    }

    /// The names of the entities of a type in the order of their ids, from the first one after the
    /// id `after` on.
    pub(crate) fn of_kind(
        &self,
        kind: EntityType,
        after: Option<&str>,
    ) -> impl Iterator<Item = &Uid> + use<'_> {
        self.order.of_kind(kind, after)
    }

    /// Every entity, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stored> {
        self.by_uid.iter().map(|kept| &*kept.stored)
    }

    /// Whether an entity is an action of the schema, which is no part of what is stored.
    pub(crate) fn is_given(&self, uid: &Uid) -> bool {
        self.typed && uid.is_action()
    }

    /// How many there are, the actions of the schema included.
    pub(crate) fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// Those that name parents that are not stored, each with one such parent.
    pub(crate) fn dangling(&self) -> impl Iterator<Item = (&Uid, &Uid)> {
        let nowhere = self
            .below
            .iter()
            .filter(|brood| self.get(&brood.parent).is_none());
        nowhere.filter_map(|brood| Some((brood.children.iter().min()?, &brood.parent)))
    }

    /// The SHA-256 of the content, in hexadecimal: the same wherever the content is the same.
    /// Actions of a schema are no part of it.
    pub(crate) fn revision(&self) -> &Arc<str> {
        &self.revision
    }
}

impl Default for Entities {
    fn default() -> Self {
        let sum = Sum::default();
        Self {
            by_uid: Trie::default(),
            below: Trie::default(),
            order: Order::default(),
            pairs: 0,
            typed: false,
            revision: sum.revision(),
            sum,
        }
    }
}

// === impl Change ===

impl Change {
    pub(crate) fn uid(&self) -> &Uid {
        match self {
            Self::Put(draft) => &draft.uid,
            Self::Remove(uid) => uid,
        }
    }
}

/// The entities that a change leaves where they are.
struct Unmoved<'a> {
    entities: &'a Entities,
    affected: &'a HashSet<Uid, ByUid>,
}

impl Others for Unmoved<'_> {
    fn lineage(&self, uid: &Uid) -> Option<&Arc<Lineage>> {
        Some(&self.entities.get(uid)?.lineage)
    }

    fn of_sibling(&self, parents: &[Uid]) -> Option<&Arc<Lineage>> {
        let brood = self.entities.below.get(parents.first()?)?;
        let siblings = brood.children.iter().take(ASKED_SIBLINGS);
        let mut siblings = siblings.filter(|uid| !self.affected.contains(uid));
        let sibling = siblings.find_map(|uid| {
            let sibling = self.entities.get(uid)?;
            (sibling.parents() == parents).then_some(sibling)
        })?;
        Some(&sibling.lineage)
    }
}

impl From<Stored> for Kept {
    fn from(stored: Stored) -> Self {
        Self {
            hash: stored.uid.hash(),
            stored: Arc::new(stored),
        }
    }
}

impl Named for Kept {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn uid(&self) -> &Uid {
        &self.stored.uid
    }
}

impl Named for Brood {
    fn hash(&self) -> u64 {
        self.parent.hash()
    }

    fn uid(&self) -> &Uid {
        &self.parent
    }
}

/// Who is directly below whom.
fn broods(drafts: &[Draft]) -> Trie<Brood> {
    let mut children: HashMap<&Uid, Vec<Uid>, ByUid> = HashMap::default();
    for draft in drafts {
        for parent in &draft.parents {
            children.entry(parent).or_default().push(draft.uid.clone());
        }
    }
    let broods = children.into_iter().map(|(parent, children)| Brood {
        parent: parent.clone(),
        children: Trie::new(children),
    });
    Trie::new(broods.collect())
}

/// The pairs there are with those of `nodes` added.
fn count_pairs(
    pairs: usize,
    nodes: &[Node<'_>],
    lineages: &[Arc<Lineage>],
) -> Result<usize, EntitiesError> {
    let mut pairs = pairs;
    for (node, lineage) in nodes.iter().zip(lineages) {
        pairs = pairs.saturating_add(lineage.ancestors().len());
        if pairs > MAX_PAIRS {
            return Err(EntitiesError::TooManyPairs(node.uid.clone()));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests;
