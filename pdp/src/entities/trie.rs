//! A map from names to what bears them, of which every version stays as it is.
//!
//! A tree that is found its way through by the hash of a name, five bits a level. A change copies
//! the few nodes on its way and shares all others with the version before, so that it costs the
//! same whatever the map holds, and whoever still reads the older version is not disturbed.

use std::slice;
use std::sync::Arc;

use crate::uid::Uid;

/// What a [`Trie`] holds.
pub(super) trait Named: Clone {
    fn uid(&self) -> &Uid;
}

/// A map by name. Copying it is cheap.
#[derive(Debug, Clone)]
pub(super) struct Trie<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Node<T> {
    /// Which of the 32 ways there are; their slots stand in the same order.
    ways: u32,
    slots: Arc<[Slot<T>]>,
}

#[derive(Debug, Clone)]
enum Slot<T> {
    One(T),
    More(Node<T>),
    /// Those with the very same hash, of which there is hardly ever more than one.
    Clash(Arc<[T]>),
}

/// All that a [`Trie`] holds, in no order.
#[derive(Debug)]
pub(super) struct Iter<'a, T> {
    nodes: Vec<slice::Iter<'a, Slot<T>>>,
    clash: slice::Iter<'a, T>,
}

/// Bits of a hash that one level takes.
const BITS: u32 = 5;

// === impl Trie ===

impl<T: Named> Trie<T> {
    /// Of items that all have different names.
    pub(super) fn new(mut items: Vec<T>) -> Self {
        items.sort_unstable_by_key(|item| item.uid().hash());
        Self {
            len: items.len(),
            root: Node::new(&items, 0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn get(&self, uid: &Uid) -> Option<&T> {
        self.find(uid.hash(), |item| item.uid() == uid)
    }

    /// The item with this hash of which `is` holds.
    pub(super) fn find(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<&T> {
        let mut node = &self.root;
        let mut level = 0;
        loop {
            match node.slot(way(hash, level))? {
                Slot::One(item) => return is(item).then_some(item),
                Slot::More(next) => node = next,
                Slot::Clash(items) => return items.iter().find(|item| is(item)),
            }
            level += 1;
        }
    }

    /// [`find`](Self::find) for several at once. Among many items each step waits for memory; side by
    /// side they wait together.
    pub(super) fn find_each<K, const N: usize>(
        &self,
        wanted: &[(u64, K); N],
        is: impl Fn(&K, &T) -> bool,
    ) -> [Option<&T>; N] {
        let mut nodes = [Some(&self.root); N];
        let mut slots: [Option<&Slot<T>>; N] = [None; N];
        let mut level = 0;
        while nodes.iter().any(Option::is_some) {
            for ((node, slot), (hash, _)) in nodes.iter_mut().zip(&mut slots).zip(wanted) {
                let here = node.take().and_then(|node| node.slot(way(*hash, level)));
                match here {
                    Some(Slot::More(next)) => *node = Some(next),
                    Some(_) => *slot = here,
                    None => {}
                }
            }
            level += 1;
        }
        // Hashes come first, for all of them, and then texts.
        let mut likely = [None; N];
        for ((item, slot), (hash, key)) in likely.iter_mut().zip(slots).zip(wanted) {
            *item = match slot {
                Some(Slot::One(item)) if item.uid().hash() == *hash => Some(item),
                Some(Slot::Clash(items)) => items.iter().find(|item| is(key, item)),
                _ => None,
            };
        }
        let mut found = [None; N];
        for ((found, item), (_, key)) in found.iter_mut().zip(likely).zip(wanted) {
            *found = item.filter(|item| is(key, item));
        }
        found
    }

    /// Takes an item in, and hands out the one that had its name before.
    pub(super) fn insert(&mut self, item: T) -> Option<T> {
        let mut before = None;
        self.root = self.root.with(item, 0, &mut before);
        if before.is_none() {
            self.len += 1;
        }
        before
    }

    pub(super) fn remove(&mut self, uid: &Uid) -> Option<T> {
        let mut removed = None;
        if let Some(root) = self.root.without(uid, 0, &mut removed) {
            self.root = root;
            self.len -= 1;
        }
        removed
    }

    pub(super) fn iter(&self) -> Iter<'_, T> {
        Iter {
            nodes: vec![self.root.slots.iter()],
            clash: [].iter(),
        }
    }
}

impl<T: Named> Default for Trie<T> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

// === impl Node ===

impl<T: Named> Node<T> {
    /// Of items that are sorted by hash, and whose hashes are the same above `level`.
    fn new(items: &[T], level: u32) -> Self {
        let mut ways = 0;
        let runs = items.chunk_by(|a, b| way(a.uid().hash(), level) == way(b.uid().hash(), level));
        let slots = runs.filter_map(|run| {
            let first = run.first()?;
            let hash = first.uid().hash();
            ways |= way(hash, level);
            Some(match run {
                [one] => Slot::One(one.clone()),
                same if same.iter().all(|item| item.uid().hash() == hash) => {
                    Slot::Clash(same.into())
                }
                more => Slot::More(Self::new(more, level + 1)),
            })
        });
        Self {
            slots: slots.collect(),
            ways,
        }
    }

    fn slot(&self, way: u32) -> Option<&Slot<T>> {
        if self.ways & way == 0 {
            return None;
        }
        self.slots.get(self.place(way))
    }

    /// Where the slot of a way stands, or would stand.
    fn place(&self, way: u32) -> usize {
        (self.ways & (way - 1)).count_ones() as usize
    }

    fn with(&self, item: T, level: u32, before: &mut Option<T>) -> Self {
        let hash = item.uid().hash();
        let way = way(hash, level);
        let slot = match self.slot(way) {
            None => Slot::One(item),
            Some(Slot::One(other)) if other.uid() == item.uid() => {
                *before = Some(other.clone());
                Slot::One(item)
            }
            Some(Slot::One(other)) => {
                let theirs = other.uid().hash();
                fork((Slot::One(other.clone()), theirs), (item, hash), level + 1)
            }
            Some(Slot::More(node)) => Slot::More(node.with(item, level + 1, before)),
            Some(Slot::Clash(others)) => match others.first().map(|other| other.uid().hash()) {
                Some(theirs) if theirs != hash => fork(
                    (Slot::Clash(Arc::clone(others)), theirs),
                    (item, hash),
                    level + 1,
                ),
                _ => {
                    let same = |other: &&T| other.uid() == item.uid();
                    *before = others.iter().find(same).cloned();
                    let others = others.iter().filter(|other| !same(other)).cloned();
                    let mut all: Vec<T> = others.collect();
                    all.push(item);
                    Slot::Clash(all.into())
                }
            },
        };
        self.put(way, slot)
    }

    /// `None` when there is no such item.
    fn without(&self, uid: &Uid, level: u32, removed: &mut Option<T>) -> Option<Self> {
        let way = way(uid.hash(), level);
        let slot = match self.slot(way)? {
            Slot::One(item) if item.uid() == uid => {
                *removed = Some(item.clone());
                None
            }
            Slot::One(_) => return None,
            Slot::More(node) => {
                let node = node.without(uid, level + 1, removed)?;
                // What no longer needs a level of its own does not keep it.
                match &*node.slots {
                    [] => None,
                    [Slot::One(item)] => Some(Slot::One(item.clone())),
                    [Slot::Clash(items)] => Some(Slot::Clash(Arc::clone(items))),
                    _ => Some(Slot::More(node)),
                }
            }
            Slot::Clash(items) => {
                *removed = Some(items.iter().find(|item| item.uid() == uid)?.clone());
                let others = items.iter().filter(|item| item.uid() != uid).cloned();
                match &*others.collect::<Vec<T>>() {
                    [] => None,
                    [one] => Some(Slot::One(one.clone())),
                    more => Some(Slot::Clash(more.into())),
                }
            }
        };
        Some(match slot {
            Some(slot) => self.put(way, slot),
            None => {
                let gone = self.place(way);
                let others = self.slots.iter().enumerate();
                Self {
                    ways: self.ways & !way,
                    slots: others
                        .filter(|(at, _)| *at != gone)
                        .map(|(_, slot)| slot.clone())
                        .collect(),
                }
            }
        })
    }

    /// The node with another slot on a way.
    fn put(&self, way: u32, slot: Slot<T>) -> Self {
        let at = self.place(way);
        let (head, tail) = self.slots.split_at(at.min(self.slots.len()));
        let tail = tail.get(usize::from(self.ways & way != 0)..);
        let mut slots = Vec::with_capacity(self.slots.len() + 1);
        slots.extend_from_slice(head);
        slots.push(slot);
        slots.extend_from_slice(tail.unwrap_or_default());
        Self {
            ways: self.ways | way,
            slots: slots.into(),
        }
    }
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.clash.next() {
                return Some(item);
            }
            match self.nodes.last_mut()?.next() {
                Some(Slot::One(item)) => return Some(item),
                Some(Slot::More(node)) => self.nodes.push(node.slots.iter()),
                Some(Slot::Clash(items)) => self.clash = items.iter(),
                None => {
                    self.nodes.pop();
                }
            }
        }
    }
}

impl Named for Uid {
    fn uid(&self) -> &Uid {
        self
    }
}

/// The way of a hash on a level, as the one bit that stands for it. From the highest bits down, so
/// that what is sorted by hash is sorted by way.
fn way(hash: u64, level: u32) -> u32 {
    1 << (hash.rotate_left((level + 1) * BITS) & 31)
}

/// Two slots of different hashes below one way of the level above.
fn fork<T: Named>(slot: (Slot<T>, u64), item: (T, u64), level: u32) -> Slot<T> {
    let ((slot, theirs), (item, ours)) = (slot, item);
    if theirs == ours {
        // Then the slot is one item: a clash of the same hash is not forked.
        let items: Vec<T> = match slot {
            Slot::One(other) => vec![other, item],
            Slot::Clash(others) => others.iter().cloned().chain([item]).collect(),
            Slot::More(_) => vec![item],
        };
        return Slot::Clash(items.into());
    }
    let (a, b) = (way(theirs, level), way(ours, level));
    let node = if a == b {
        Node {
            ways: a,
            slots: Arc::from([fork((slot, theirs), (item, ours), level + 1)]),
        }
    } else {
        let both = if a < b {
            [slot, Slot::One(item)]
        } else {
            [Slot::One(item), slot]
        };
        Node {
            ways: a | b,
            slots: Arc::from(both),
        }
    };
    Slot::More(node)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    /// A name whose hash is chosen, so that ways meet and hashes clash.
    fn uid(id: u8) -> Uid {
        static NAMES: LazyLock<Vec<Uid>> = LazyLock::new(|| {
            let hash = |id: u8| match id % 4 {
                0 => u64::from(id),
                1 => u64::from(id) << 56,
                2 => 7,
                _ => u64::from(id % 16) << 60 | 7,
            };
            let ids = 0..=u8::MAX;
            ids.map(|id| Uid::with_hash("U", &id.to_string(), hash(id)))
                .collect()
        });
        NAMES[usize::from(id)].clone()
    }

    #[derive(Debug, Clone, PartialEq)]
    struct Item(Uid, u32);

    impl Named for Item {
        fn uid(&self) -> &Uid {
            &self.0
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_a_map(
            first in prop::collection::btree_map(any::<u8>(), any::<u32>(), 0..40),
            changes in prop::collection::vec((any::<u8>(), any::<Option<u32>>()), 0..80),
        ) {
            let items = first.iter().map(|(id, n)| Item(uid(*id), *n)).collect();
            let mut trie = Trie::new(items);
            let mut map: HashMap<u8, u32> = first.into_iter().collect();
            for (id, change) in changes {
                let (old, held) = (trie.clone(), map.clone());
                let (before, expected) = match change {
                    Some(n) => (trie.insert(Item(uid(id), n)), map.insert(id, n)),
                    None => (trie.remove(&uid(id)), map.remove(&id)),
                };
                prop_assert_eq!(before.map(|item| item.1), expected);
                for (trie, map) in [(&trie, &map), (&old, &held)] {
                    prop_assert_eq!(trie.len(), map.len());
                    prop_assert_eq!(trie.is_empty(), map.is_empty());
                    prop_assert_eq!(trie.iter().count(), map.len());
                    for id in 0..=u8::MAX {
                        prop_assert_eq!(trie.get(&uid(id)).map(|item| item.1), map.get(&id).copied());
                        let both = [id, id.wrapping_mul(7)];
                        let wanted = both.map(|id| (uid(id).hash(), uid(id)));
                        let found = trie.find_each(&wanted, |uid, item| item.0 == *uid);
                        let expected = both.map(|id| map.get(&id).copied());
                        prop_assert_eq!(found.map(|item| item.map(|item| item.1)), expected);
                    }
                }
            }
            // Emptied, it is as if nothing had ever been in it.
            for id in map.into_keys() {
                prop_assert!(trie.remove(&uid(id)).is_some());
            }
            prop_assert_eq!(trie.root.slots.len(), 0);
        }
    }
}
