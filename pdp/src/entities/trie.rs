//! A map from names to what bears them, of which every version stays as it is.
//!
//! A tree that is found its way through by the hash of a name, five bits a level, down to short lists
//! that are sorted by hash. A change copies the few nodes on its way and shares all others with the
//! version before, so that it costs the same whatever the map holds, and whoever still reads the older
//! version is not disturbed.
//!
//! Among a million items a search waits for memory. The nodes down to the lists are small enough to be
//! in the processor's caches, a list is searched where the item must be about, as hashes are spread
//! evenly, and what is wrong is told by the hash, without a look at the item.

use std::array;
use std::slice;
use std::sync::Arc;

use crate::uid::Uid;

/// What a [`Trie`] holds. Its hash lies in the list, beside where the rest of it is.
pub(super) trait Named: Clone {
    fn hash(&self) -> u64;

    fn uid(&self) -> &Uid;
}

/// A map by name. Copying it is cheap.
#[derive(Debug, Clone)]
pub(super) struct Trie<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Debug, Clone)]
enum Node<T> {
    /// Sorted by hash. No longer than [`MOST`], but on the [`DEEPEST`] level.
    List(Arc<[T]>),
    Fork(Arc<[Node<T>; WAYS]>),
}

/// All that a [`Trie`] holds, in no order.
#[derive(Debug)]
pub(super) struct Iter<'a, T> {
    nodes: Vec<slice::Iter<'a, Node<T>>>,
    list: slice::Iter<'a, T>,
}

/// Bits of a hash that one level takes.
const BITS: u32 = 5;

/// Ways that a fork has.
const WAYS: usize = 1 << BITS;

/// Items that a list holds before it becomes a fork. A fork becomes a list again when half as many are
/// left, so that one item that comes and goes does not change it each time.
const MOST: usize = 64;

/// The level of the lists that are never forked: no bits of a hash are left for it.
const DEEPEST: u32 = u64::BITS / BITS;

// === impl Trie ===

impl<T: Named> Trie<T> {
    /// Of items that all have different names.
    pub(super) fn new(mut items: Vec<T>) -> Self {
        items.sort_unstable_by_key(Named::hash);
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
        let [found] = self.find_each(&[(hash, ())], |(), item| is(item));
        found
    }

    /// [`find`](Self::find) for several at once. Among many items each step waits for memory; side by
    /// side they wait together.
    pub(super) fn find_each<K, const N: usize>(
        &self,
        wanted: &[(u64, K); N],
        is: impl Fn(&K, &T) -> bool,
    ) -> [Option<&T>; N] {
        let mut nodes = [(&self.root, 0); N];
        let mut further = true;
        while further {
            further = false;
            for ((node, level), (hash, _)) in nodes.iter_mut().zip(wanted) {
                if let Node::Fork(ways) = node
                    && let Some(next) = ways.get(way(*hash, *level))
                {
                    (*node, *level, further) = (next, *level + 1, true);
                }
            }
        }
        // Hashes come first, for all of them, and then what the items are.
        let mut likely: [&[T]; N] = [&[]; N];
        for ((likely, (node, level)), (hash, _)) in likely.iter_mut().zip(nodes).zip(wanted) {
            *likely = node.of_hash(*hash, level);
        }
        let mut found = [None; N];
        for ((found, likely), (_, key)) in found.iter_mut().zip(likely).zip(wanted) {
            *found = likely.iter().find(|item| is(key, item));
        }
        found
    }

    /// Takes an item in, and hands out the one that had its name before.
    pub(super) fn insert(&mut self, item: T) -> Option<T> {
        let before = self.root.insert(item, 0);
        if before.is_none() {
            self.len += 1;
        }
        before
    }

    pub(super) fn remove(&mut self, uid: &Uid) -> Option<T> {
        // For nothing, nothing is copied.
        let removed = self.get(uid)?.clone();
        self.root.remove(uid, 0);
        self.len -= 1;
        Some(removed)
    }

    pub(super) fn iter(&self) -> Iter<'_, T> {
        Iter {
            nodes: vec![slice::from_ref(&self.root).iter()],
            list: [].iter(),
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
        if items.len() <= MOST || level == DEEPEST {
            return Self::List(items.into());
        }
        let mut rest = items;
        Self::Fork(Arc::new(array::from_fn(|at| {
            let these = rest.partition_point(|item| way(item.hash(), level) <= at);
            let (these, others) = rest.split_at(these);
            rest = others;
            Self::new(these, level + 1)
        })))
    }

    /// The items of a list with this hash, of which there is hardly ever more than one.
    fn of_hash(&self, hash: u64, level: u32) -> &[T] {
        let Self::List(items) = self else {
            return &[];
        };
        let from = first_from(items, hash, level);
        let items = items.get(from..).unwrap_or_default();
        let same = items.iter().take_while(|item| item.hash() == hash).count();
        items.get(..same).unwrap_or_default()
    }

    fn insert(&mut self, item: T, level: u32) -> Option<T> {
        match self {
            Self::Fork(ways) => {
                let next = Arc::make_mut(ways).get_mut(way(item.hash(), level))?;
                next.insert(item, level + 1)
            }
            Self::List(items) => {
                let hash = item.hash();
                let (head, tail) = items.split_at(first_from(items, hash, level));
                let mut same = tail.iter().take_while(|other| other.hash() == hash);
                let taken = same.position(|other| other.uid() == item.uid());
                let Some(taken) = taken else {
                    let mut more = Vec::with_capacity(items.len() + 1);
                    more.extend_from_slice(head);
                    more.push(item);
                    more.extend_from_slice(tail);
                    *self = Self::new(&more, level);
                    return None;
                };
                let at = head.len() + taken;
                let place = Arc::make_mut(items).get_mut(at)?;
                Some(std::mem::replace(place, item))
            }
        }
    }

    /// Takes out what bears this name.
    fn remove(&mut self, uid: &Uid, level: u32) {
        match self {
            Self::List(items) => {
                let is = |item: &T| item.hash() == uid.hash() && item.uid() == uid;
                *items = items.iter().filter(|item| !is(item)).cloned().collect();
            }
            Self::Fork(ways) => {
                if let Some(next) = Arc::make_mut(ways).get_mut(way(uid.hash(), level)) {
                    next.remove(uid, level + 1);
                }
                let lists = ways.iter().map(|node| match node {
                    Self::List(items) => Some(&**items),
                    Self::Fork(_) => None,
                });
                if let Some(lists) = lists.collect::<Option<Vec<&[T]>>>()
                    && lists.iter().map(|items| items.len()).sum::<usize>() <= MOST / 2
                {
                    *self = Self::List(lists.concat().into());
                }
            }
        }
    }
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.list.next() {
                return Some(item);
            }
            match self.nodes.last_mut()?.next() {
                Some(Node::List(items)) => self.list = items.iter(),
                Some(Node::Fork(ways)) => self.nodes.push(ways.iter()),
                None => {
                    self.nodes.pop();
                }
            }
        }
    }
}

impl Named for Uid {
    fn hash(&self) -> u64 {
        Self::hash(self)
    }

    fn uid(&self) -> &Uid {
        self
    }
}

/// The way of a hash on a level. From the highest bits down, so that what is sorted by hash is sorted
/// by way.
fn way(hash: u64, level: u32) -> usize {
    (hash.rotate_left((level + 1) * BITS) % WAYS as u64) as usize
}

/// How many of a list's items have a smaller hash. It is looked for where it is likely to be: hashes
/// are spread evenly over what is left of them on the list's level.
fn first_from<T: Named>(items: &[T], hash: u64, level: u32) -> usize {
    let share = u128::from(hash << (level * BITS));
    let guess = (share * items.len() as u128) >> u64::BITS;
    let (before, after) = items.split_at(usize::try_from(guess).unwrap_or_default());
    let back = before.iter().rev().take_while(|item| item.hash() >= hash);
    match back.count() {
        0 => before.len() + after.iter().take_while(|item| item.hash() < hash).count(),
        back => before.len() - back,
    }
}

#[cfg(test)]
mod tests;
