//! The names of the stored entities in order: by type, and by id within one.
//!
//! A tree of sorted blocks, of which every version stays as it is: a change copies the blocks on its
//! way down. Searches walk it, and go on from a name where an earlier one ended, whether or not that
//! name is still there.

use std::slice;
use std::sync::Arc;

use cedar_policy_core::ast::EntityType;

use crate::uid::Uid;

/// Names in order. Copying it is cheap.
#[derive(Debug, Clone, Default)]
pub(super) struct Order {
    root: Arc<Block>,
}

#[derive(Debug)]
enum Block {
    Names(Vec<Uid>),
    /// Each with a name that none in it comes before, and all in those before it do. Never empty.
    Blocks(Vec<(Uid, Arc<Block>)>),
}

/// Names in order, from one on.
#[derive(Debug)]
pub(super) struct From<'a> {
    blocks: Vec<slice::Iter<'a, (Uid, Arc<Block>)>>,
    names: slice::Iter<'a, Uid>,
}

/// Names, or blocks, in one block at most.
const MOST: usize = 64;

// === impl Order ===

impl Order {
    /// Of different names in any order.
    pub(super) fn new(mut names: Vec<Uid>) -> Self {
        names.sort_unstable();
        let blocks = names.chunks(MOST / 4 * 3);
        let mut level: Vec<Arc<Block>> = blocks
            .map(|names| Arc::new(Block::Names(names.to_vec())))
            .collect();
        while level.len() > 1 {
            let blocks = level.chunks(MOST / 4 * 3);
            level = blocks
                .map(|blocks| Arc::new(Block::Blocks(blocks.iter().filter_map(entry).collect())))
                .collect();
        }
        Self {
            root: level.pop().unwrap_or_default(),
        }
    }

    /// Takes a name in, unless it is there.
    pub(super) fn insert(&mut self, uid: &Uid) {
        let halves = self.root.with(uid);
        self.root = match &*halves {
            [one] => Arc::clone(one),
            more => Arc::new(Block::Blocks(more.iter().filter_map(entry).collect())),
        };
    }

    pub(super) fn remove(&mut self, uid: &Uid) {
        let mut root = self.root.without(uid).unwrap_or_default();
        while let Block::Blocks(blocks) = &*root
            && let [(_, only)] = &**blocks
        {
            root = Arc::clone(only);
        }
        self.root = root;
    }

    /// The names of a type, from the first one after the id `after` on.
    pub(super) fn of_kind(
        &self,
        kind: EntityType,
        after: Option<&str>,
    ) -> impl Iterator<Item = &Uid> + use<'_> {
        let before = |uid: &Uid| match uid.kind().cmp(&kind) {
            std::cmp::Ordering::Equal => after.is_some_and(|after| uid.id() <= after),
            order => order.is_lt(),
        };
        let names = From::new(&self.root, before);
        names.take_while(move |uid| *uid.kind() == kind)
    }

    /// All names.
    #[cfg(test)]
    pub(super) fn iter(&self) -> From<'_> {
        From::new(&self.root, |_| false)
    }
}

// === impl Block ===

impl Block {
    /// The block with a name more, in two when it is too large for one.
    fn with(&self, uid: &Uid) -> Vec<Arc<Self>> {
        match self {
            Self::Names(names) => {
                let Err(at) = names.binary_search(uid) else {
                    return vec![Arc::new(Self::Names(names.clone()))];
                };
                let mut names = names.clone();
                names.insert(at, uid.clone());
                halves(names).map(Self::Names).map(Arc::new).collect()
            }
            Self::Blocks(blocks) => {
                let at = child(blocks, |first| first <= uid);
                let mut blocks = blocks.clone();
                let grown = blocks.get(at).map(|(_, block)| block.with(uid));
                let grown = grown.unwrap_or_default();
                blocks.splice(at..=at, grown.iter().filter_map(entry));
                halves(blocks).map(Self::Blocks).map(Arc::new).collect()
            }
        }
    }

    /// `None` when nothing is left.
    fn without(&self, uid: &Uid) -> Option<Arc<Self>> {
        let left = match self {
            Self::Names(names) => {
                let others = names.iter().filter(|name| *name != uid);
                Self::Names(others.cloned().collect())
            }
            Self::Blocks(blocks) => {
                let at = child(blocks, |first| first <= uid);
                let mut blocks = blocks.clone();
                let (_, block) = blocks.get(at)?;
                let left = block.without(uid);
                blocks.splice(at..=at, left.iter().filter_map(entry));
                Self::Blocks(blocks)
            }
        };
        (!left.is_empty()).then(|| Arc::new(left))
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Names(names) => names.is_empty(),
            Self::Blocks(blocks) => blocks.is_empty(),
        }
    }

    fn first(&self) -> Option<&Uid> {
        match self {
            Self::Names(names) => names.first(),
            Self::Blocks(blocks) => blocks.first().map(|(first, _)| first),
        }
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

// === impl From ===

impl<'a> From<'a> {
    /// From the first name on that is not `before`.
    fn new(root: &'a Block, before: impl Fn(&Uid) -> bool) -> Self {
        let mut blocks = Vec::new();
        let mut block = root;
        loop {
            match block {
                Block::Names(names) => {
                    let from = names.partition_point(&before);
                    let names = names.get(from..).unwrap_or_default().iter();
                    return Self { blocks, names };
                }
                Block::Blocks(children) => {
                    let at = child(children, &before);
                    let mut rest = children.get(at..).unwrap_or_default().iter();
                    let Some((_, next)) = rest.next() else {
                        let names = [].iter();
                        return Self { blocks, names };
                    };
                    blocks.push(rest);
                    block = next;
                }
            }
        }
    }
}

impl<'a> Iterator for From<'a> {
    type Item = &'a Uid;

    fn next(&mut self) -> Option<&'a Uid> {
        loop {
            if let Some(uid) = self.names.next() {
                return Some(uid);
            }
            match self.blocks.last_mut()?.next() {
                None => {
                    self.blocks.pop();
                }
                Some((_, block)) => match &**block {
                    Block::Names(names) => self.names = names.iter(),
                    Block::Blocks(blocks) => self.blocks.push(blocks.iter()),
                },
            }
        }
    }
}

/// The block that goes on where `before` ends.
fn child(blocks: &[(Uid, Arc<Block>)], before: impl Fn(&Uid) -> bool) -> usize {
    let after = blocks.partition_point(|(first, _)| before(first));
    after.saturating_sub(1)
}

fn entry(block: &Arc<Block>) -> Option<(Uid, Arc<Block>)> {
    Some((block.first()?.clone(), Arc::clone(block)))
}

/// The whole, in two when it is too large for one block.
fn halves<T>(mut whole: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let second = (whole.len() > MOST).then(|| whole.split_off(whole.len() / 2));
    std::iter::once(whole).chain(second)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    fn uid(n: u16) -> Uid {
        static NAMES: LazyLock<Vec<Uid>> = LazyLock::new(|| {
            let kinds = ["A", "B", "B::A"].map(|kind| kind.parse().unwrap());
            let kind = |n: u16| &kinds[usize::from(n % 3)];
            (0..2000)
                .map(|n| Uid::new(kind(n), &format!("{n:x}")))
                .collect()
        });
        NAMES[usize::from(n)].clone()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn names_stand_in_order(
            first in prop::collection::btree_set(0..2000_u16, 0..400),
            changes in prop::collection::vec((0..2000_u16, any::<bool>()), 0..600),
            after in 0..2000_u16,
        ) {
            let mut order = Order::new(first.iter().map(|n| uid(*n)).collect());
            let mut set: BTreeSet<Uid> = first.iter().map(|n| uid(*n)).collect();
            let (old, held) = (order.clone(), set.clone());
            for (n, add) in changes {
                if add {
                    order.insert(&uid(n));
                    set.insert(uid(n));
                } else {
                    order.remove(&uid(n));
                    set.remove(&uid(n));
                }
            }
            for (order, set) in [(&order, &set), (&old, &held)] {
                prop_assert!(order.iter().eq(set));
                let kind: EntityType = "B".parse().unwrap();
                let after = format!("{after:x}");
                let of_kind = |uid: &&Uid| uid.kind() == &kind;
                prop_assert!(order.of_kind(kind.clone(), None).eq(set.iter().filter(of_kind)));
                prop_assert!(
                    order.of_kind(kind.clone(), Some(&after))
                        .eq(set.iter().filter(of_kind).filter(|uid| uid.id() > after.as_str()))
                );
            }
            for uid in &set {
                order.remove(uid);
            }
            prop_assert!(order.iter().next().is_none());
            order.insert(&uid(1));
            prop_assert_eq!(order.iter().count(), 1);
        }
    }
}
