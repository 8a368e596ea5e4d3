//! Names of entities, as the decision path handles them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use cedar_policy_core::ast::{Eid, EntityType, EntityUID};
use foldhash::quality::RandomState;
use smol_str::SmolStr;

/// An entity's name: its type and its id.
///
/// Made once and then cheap to copy, to compare and to look up: the hash is computed when the name
/// is made, with a key of this process that nobody outside can know, so that nobody can choose names
/// that collide. Two names are compared by hash first, by address next and only then by text.
#[derive(Clone)]
pub(crate) struct Uid {
    hash: u64,
    name: Arc<Name>,
}

struct Name {
    kind: Arc<EntityType>,
    id: SmolStr,
}

/// Looks [`Uid`]s up by the hash that they bring along.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ByUid;

/// Passes one `u64` through.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PassThrough(u64);

/// The key of this process.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::default);

// === impl Uid ===

impl Uid {
    #[cfg(test)]
    pub(crate) fn new(kind: &EntityType, id: &str) -> Self {
        Self::of_kind(bare(kind), SmolStr::new(id))
    }

    pub(crate) fn of(uid: &EntityUID) -> Self {
        Self::of_kind(bare(uid.entity_type()), id_of(uid))
    }

    /// Of a type that is shared, and not copied.
    pub(crate) fn of_kind(kind: Arc<EntityType>, id: SmolStr) -> Self {
        let hash = hash(&kind, &id);
        Self {
            hash,
            name: Arc::new(Name { kind, id }),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_hash(kind: &str, id: &str, hash: u64) -> Self {
        let Self { name, .. } = Self::new(&kind.parse().unwrap(), id);
        Self { hash, name }
    }

    /// What [`hash`](Self::hash) of the name `uid` would be.
    pub(crate) fn hash_of(uid: &EntityUID) -> u64 {
        hash(uid.entity_type(), uid.eid().as_ref())
    }

    pub(crate) fn kind(&self) -> &EntityType {
        &self.name.kind
    }

    pub(crate) fn id(&self) -> &str {
        &self.name.id
    }

    /// Type and id, as they are shared.
    pub(crate) fn parts(&self) -> (&Arc<EntityType>, &SmolStr) {
        (&self.name.kind, &self.name.id)
    }

    /// The hash that it was made with: the same for equal names, in this process.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn is_action(&self) -> bool {
        self.name.kind.is_action()
    }

    /// Whether it is the name `uid`.
    pub(crate) fn is(&self, uid: &EntityUID) -> bool {
        self.id() == <_ as AsRef<str>>::as_ref(uid.eid()) && self.kind() == uid.entity_type()
    }

    pub(crate) fn to_cedar(&self) -> EntityUID {
        let id = Eid::new(self.name.id.clone());
        EntityUID::from_components(EntityType::clone(&self.name.kind), id, None)
    }

    /// An order for searching: by hash, and by name where two hashes are the same.
    pub(crate) fn cmp_hash(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash).then_with(|| self.cmp(other))
    }
}

impl PartialEq for Uid {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && (Arc::ptr_eq(&self.name, &other.name)
                || (self.name.id == other.name.id && self.name.kind == other.name.kind))
    }
}

impl Eq for Uid {}

impl Hash for Uid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Ord for Uid {
    /// By type, then by id, as Cedar orders names.
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.name, &other.name) {
            return Ordering::Equal;
        }
        let kinds = if Arc::ptr_eq(&self.name.kind, &other.name.kind) {
            Ordering::Equal
        } else {
            self.name.kind.cmp(&other.name.kind)
        };
        kinds.then_with(|| self.name.id.cmp(&other.name.id))
    }
}

impl PartialOrd for Uid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::\"{}\"", self.kind(), self.id().escape_debug())
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl ByUid ===

impl BuildHasher for ByUid {
    type Hasher = PassThrough;

    fn build_hasher(&self) -> PassThrough {
        PassThrough::default()
    }
}

// === impl PassThrough ===

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// For anything but a [`Uid`], which this is not meant for, still a hash.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = KEY.hash_one((self.0, bytes));
    }
}

fn hash(kind: &EntityType, id: &str) -> u64 {
    KEY.hash_one((kind, id))
}

/// The type without the place in a text where it stood, which would hold on to that text.
fn bare(kind: &EntityType) -> Arc<EntityType> {
    Arc::new(kind.with_loc(None))
}

/// The id, shared with `uid` where it is long.
pub(crate) fn id_of(uid: &EntityUID) -> SmolStr {
    uid.eid().clone().into_smolstr()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn names() -> impl Strategy<Value = EntityUID> {
        let kind = prop::sample::select(vec!["User", "A::User", "A::B::User", "Action", "Us"]);
        let id = prop_oneof!["[ab]{0,2}", "[a-z]{20,30}", any::<String>()];
        (kind, id).prop_map(|(kind, id)| {
            EntityUID::from_components(kind.parse().unwrap(), Eid::new(id), None)
        })
    }

    proptest! {
        #[test]
        fn a_name_is_what_cedar_makes_of_it(a in names(), b in names()) {
            let (ours, other) = (Uid::of(&a), Uid::of(&b));
            prop_assert_eq!(ours.to_cedar(), a.clone());
            prop_assert_eq!(ours.to_string(), a.to_string());
            prop_assert_eq!(ours.is_action(), a.is_action());
            prop_assert_eq!(ours == other, a == b);
            prop_assert_eq!(ours.is(&b), a == b);
            prop_assert_eq!(ours.cmp(&other), a.cmp(&b));
            prop_assert_eq!(ours.hash() == other.hash(), a == b);
            prop_assert_eq!(Uid::hash_of(&a), ours.hash());
            prop_assert_eq!(&Uid::new(a.entity_type(), a.eid().as_ref()), &ours);
        }
    }

    #[test]
    fn a_name_is_found_by_the_hash_it_brings() {
        let uid = |text: &str| Uid::of(&text.parse().unwrap());
        let mut map = HashMap::with_hasher(ByUid);
        map.insert(uid(r#"User::"a""#), 1);
        map.insert(uid(r#"User::"b""#), 2);
        assert_eq!(map.get(&uid(r#"User::"b""#)), Some(&2));
        assert_eq!(map.get(&uid(r#"Group::"b""#)), None);
    }

    #[test]
    fn nothing_holds_on_to_the_text_that_a_name_was_read_from() {
        let parsed: EntityUID = r#"User::"a""#.parse().unwrap();
        assert!(parsed.loc().is_some());
        assert!(Uid::of(&parsed).kind().loc().is_none());
        assert!(Uid::of(&parsed).to_cedar().loc().is_none());
    }

    #[test]
    fn a_name_takes_little_room() {
        assert_eq!(size_of::<Uid>(), 16);
        assert_eq!(size_of::<Option<Uid>>(), 16);
        assert_eq!(size_of::<Name>(), 32);
    }
}
