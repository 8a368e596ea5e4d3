use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// A name whose hash is chosen, so that ways meet, hashes clash and lists are forked.
fn uid(id: u8) -> Uid {
    static NAMES: LazyLock<Vec<Uid>> = LazyLock::new(|| {
        let hash = |id: u8| match id % 4 {
            0 => u64::from(id),
            1 => u64::from(id) << 56,
            2 if id < 64 => 7,
            2 => u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15),
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
    fn hash(&self) -> u64 {
        self.0.hash()
    }

    fn uid(&self) -> &Uid {
        &self.0
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_a_map(
        first in prop::collection::btree_map(any::<u8>(), any::<u32>(), 0..200),
        changes in prop::collection::vec((any::<u8>(), any::<Option<u32>>()), 0..120),
    ) {
        let items = first.iter().map(|(id, n)| Item(uid(*id), *n)).collect();
        let mut trie = Trie::new(items);
        let mut map: HashMap<u8, u32> = first.into_iter().collect();
        let mut versions = Vec::new();
        for (id, change) in changes {
            versions.push((trie.clone(), map.clone()));
            let (before, expected) = match change {
                Some(n) => (trie.insert(Item(uid(id), n)), map.insert(id, n)),
                None => (trie.remove(&uid(id)), map.remove(&id)),
            };
            prop_assert_eq!(before.map(|item| item.1), expected);
        }
        versions.push((trie.clone(), map.clone()));
        // Each is still what it was, whatever came after it.
        for (trie, map) in &versions {
            prop_assert_eq!(trie.len(), map.len());
            prop_assert_eq!(trie.is_empty(), map.is_empty());
            let held: BTreeMap<String, u32> = trie.iter().map(|item| (item.0.to_string(), item.1)).collect();
            let expected: BTreeMap<String, u32> = map.iter().map(|(id, n)| (uid(*id).to_string(), *n)).collect();
            prop_assert_eq!(held, expected);
            for id in 0..=u8::MAX / 2 {
                let both = [id, !id];
                let wanted = both.map(|id| (uid(id).hash(), id));
                let found = trie.find_each(&wanted, |id, item| item.0 == uid(*id));
                let expected = both.map(|id| map.get(&id).copied());
                prop_assert_eq!(found.map(|item| item.map(|item| item.1)), expected);
            }
        }
        for id in 0..=u8::MAX {
            prop_assert_eq!(trie.get(&uid(id)).map(|item| item.1), map.get(&id).copied());
        }
        // Emptied, it is as if nothing had ever been in it.
        for id in map.into_keys() {
            prop_assert!(trie.remove(&uid(id)).is_some());
        }
        prop_assert!(matches!(&trie.root, Node::List(items) if items.is_empty()));
    }
}
