//! One entity.

use std::collections::{BTreeMap, HashSet};
use std::hint::black_box;
use std::sync::Arc;

use cedar_policy_core::ast::{self, EntityType, EntityUID, PartialValue};
use smol_str::SmolStr;

use super::closure::Node;
use crate::uid::Uid;
use crate::value::{Attributes, Naming, Record, Value};

/// An entity with all of its ancestors.
///
/// What a decision looks at stands side by side: among very many entities each step to another place
/// waits for memory longer than all else takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) uid: Uid,
    /// The text of the name once more.
    id: SmolStr,
    kind: Arc<EntityType>,
    pub(crate) attributes: Attributes,
    pub(crate) tags: Record,
    /// What is above it. Siblings with the same parents share it.
    pub(crate) lineage: Arc<Lineage>,
}

/// The parents of an entity and all that is above them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// Sorted by hash, each once.
    parents: Box<[Uid]>,
    /// The parents among them. Sorted by hash, each once, so that one is found by comparing numbers
    /// that stand side by side.
    ancestors: Box<[Uid]>,
}

/// An entity of which it is not known yet what is above its parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) uid: Uid,
    pub(crate) attributes: Record,
    pub(crate) tags: Record,
    /// Sorted by hash, each once.
    pub(crate) parents: Box<[Uid]>,
}

/// An entity that holds an unknown, which only partial evaluation knows what to do with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entity `{uid}` has no value for `{name}`")]
pub(crate) struct Unknown {
    pub(crate) uid: Uid,
    pub(crate) name: SmolStr,
}

// === impl Stored ===

impl Stored {
    /// An entity whose ancestors are complete.
    ///
    /// # Errors
    /// When an attribute or a tag is unknown.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the evaluator that uses it comes next")
    )]
    pub(crate) fn of(entity: &ast::Entity) -> Result<Self, Unknown> {
        Self::named(entity, &mut Uid::of)
    }

    /// The entity with the names that `naming` gives.
    ///
    /// # Errors
    /// When an attribute or a tag is unknown.
    pub(crate) fn named(entity: &ast::Entity, naming: Naming<'_>) -> Result<Self, Unknown> {
        let ancestors = entity.ancestors().map(&mut *naming).collect();
        let draft = Draft::named(entity, naming)?;
        let lineage = Lineage::new(draft.parents.to_vec(), ancestors);
        Ok(draft.with(Arc::new(lineage)))
    }

    pub(crate) fn to_cedar(&self) -> ast::Entity {
        let value = |(key, value): (&SmolStr, &Value)| (key.clone(), value.to_cedar().into());
        let attributes: BTreeMap<SmolStr, PartialValue> =
            self.attributes.iter().map(value).collect();
        let tags: BTreeMap<SmolStr, PartialValue> = self.tags.iter().map(value).collect();
        let parents: HashSet<EntityUID> = self.parents().iter().map(Uid::to_cedar).collect();
        let indirect = self.ancestors().iter().map(Uid::to_cedar);
        let indirect = indirect.filter(|uid| !parents.contains(uid)).collect();
        ast::Entity::new_with_attr_partial_value(
            self.uid.to_cedar(),
            attributes,
            indirect,
            parents,
            tags,
        )
    }

    /// The same with something else above it.
    pub(super) fn below(&self, lineage: Arc<Lineage>) -> Self {
        Self {
            lineage,
            ..self.clone()
        }
    }

    pub(super) fn node(&self) -> Node<'_> {
        Node {
            uid: &self.uid,
            parents: self.parents(),
        }
    }

    /// Those directly above it, sorted by hash.
    pub(crate) fn parents(&self) -> &[Uid] {
        &self.lineage.parents
    }

    /// All that are above it, sorted by hash.
    pub(crate) fn ancestors(&self) -> &[Uid] {
        &self.lineage.ancestors
    }

    /// Whether its name is `uid`.
    pub(crate) fn is(&self, uid: &EntityUID) -> bool {
        self.id == <_ as AsRef<str>>::as_ref(uid.eid()) && *self.kind == *uid.entity_type()
    }

    /// Begins to fetch what a decision looks at, all at once.
    pub(super) fn touch(&self) {
        let (first, last) = self.attributes.ends();
        black_box((first, last, self.ancestors().len()));
    }

    /// Whether `uid` is among those above it. It is not within itself.
    pub(crate) fn is_within(&self, uid: &Uid) -> bool {
        self.lineage.contains(uid)
    }

    /// Tells `tell` every entity that an attribute or a tag names.
    pub(crate) fn names(&self, tell: &mut dyn FnMut(&Uid)) {
        self.attributes.names(tell);
        self.tags.names(tell);
    }
}

// === impl Draft ===

impl Draft {
    /// The entity with its parents, and without what else its ancestors are said to be.
    ///
    /// # Errors
    /// When an attribute or a tag is unknown.
    pub(crate) fn named(entity: &ast::Entity, naming: Naming<'_>) -> Result<Self, Unknown> {
        let uid = naming(entity.uid());
        Ok(Self {
            attributes: record(&uid, entity.attrs(), naming)?,
            tags: record(&uid, entity.tags(), naming)?,
            parents: Lineage::sorted(entity.parents().map(&mut *naming).collect()),
            uid,
        })
    }

    pub(crate) fn of(stored: &Stored) -> Self {
        Self {
            uid: stored.uid.clone(),
            attributes: Record::from(&stored.attributes),
            tags: stored.tags.clone(),
            parents: stored.parents().into(),
        }
    }

    /// The entity with what is above it. `lineage` begins with the same parents.
    pub(crate) fn with(self, lineage: Arc<Lineage>) -> Stored {
        let (kind, id) = self.uid.parts();
        Stored {
            id: id.clone(),
            kind: Arc::clone(kind),
            uid: self.uid,
            attributes: Attributes::from(&self.attributes),
            tags: self.tags,
            lineage,
        }
    }

    /// Whether it says what is stored.
    pub(crate) fn says(&self, stored: &Stored) -> bool {
        self.uid == stored.uid
            && stored.attributes.are(&self.attributes)
            && self.tags == stored.tags
            && *self.parents == *stored.parents()
    }

    pub(super) fn node(&self) -> Node<'_> {
        Node {
            uid: &self.uid,
            parents: &self.parents,
        }
    }
}

// === impl Lineage ===

impl Lineage {
    /// Of names in any order.
    pub(crate) fn new(parents: Vec<Uid>, ancestors: Vec<Uid>) -> Self {
        Self {
            parents: Self::sorted(parents),
            ancestors: Self::sorted(ancestors),
        }
    }

    pub(crate) fn ancestors(&self) -> &[Uid] {
        &self.ancestors
    }

    fn contains(&self, uid: &Uid) -> bool {
        let above = &self.ancestors;
        above.binary_search_by(|one| one.cmp_hash(uid)).is_ok()
    }

    /// Sorted by hash, each once.
    pub(crate) fn sorted(mut names: Vec<Uid>) -> Box<[Uid]> {
        names.sort_unstable_by(Uid::cmp_hash);
        names.dedup();
        names.into_boxed_slice()
    }
}

fn record<'v>(
    uid: &Uid,
    pairs: impl Iterator<Item = (&'v SmolStr, &'v PartialValue)>,
    naming: Naming<'_>,
) -> Result<Record, Unknown> {
    let known = pairs.map(|(name, value)| match value {
        PartialValue::Value(value) => Ok((name, value)),
        PartialValue::Residual(_) => Err(Unknown {
            uid: uid.clone(),
            name: name.clone(),
        }),
    });
    let known: Vec<_> = known.collect::<Result<_, _>>()?;
    Ok(Record::of(known.into_iter(), naming))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use cedar_policy_core::entities::{EntityJsonParser, NoEntitiesSchema, TCComputation};
    use cedar_policy_core::extensions::Extensions;

    use super::*;

    fn uid(id: &str) -> EntityUID {
        format!("G::\"{id}\"").parse().unwrap()
    }

    #[test]
    fn an_entity_comes_back_as_it_was() {
        let parser = EntityJsonParser::<NoEntitiesSchema>::new(
            None,
            Extensions::all_available(),
            TCComputation::AssumeAlreadyComputed,
        );
        let mut entity = parser
            .single_from_json_str(
                r#"{"uid":{"type":"U","id":"a"},
                    "attrs":{"n":1,"s":["x",{"__entity":{"type":"U","id":"b"}}],"r":{"ip":{"__extn":{"fn":"ip","arg":"::1"}}}},
                    "tags":{"t":true},
                    "parents":[{"type":"G","id":"1"},{"type":"G","id":"2"}]}"#,
            )
            .unwrap();
        entity.add_indirect_ancestor(uid("3"));
        let stored = Stored::of(&entity).unwrap();
        assert!(stored.to_cedar().deep_eq(&entity));
        let parents: HashSet<_> = entity.parents().cloned().collect();
        assert_eq!(
            stored.to_cedar().parents().cloned().collect::<HashSet<_>>(),
            parents
        );
        for (id, within) in [("1", true), ("2", true), ("3", true), ("4", false)] {
            assert_eq!(stored.is_within(&Uid::of(&uid(id))), within, "{id}");
        }
        assert!(!stored.is_within(&stored.uid));
        assert_eq!((stored.parents().len(), stored.ancestors().len()), (2, 3));
        let mut names = Vec::new();
        stored.names(&mut |uid| names.push(uid.to_string()));
        assert_eq!(names, [r#"U::"b""#]);
    }

    #[test]
    fn an_entity_with_its_counts_takes_four_lines_of_a_cache() {
        let counts = 2 * size_of::<usize>();
        assert!(
            size_of::<Stored>() + counts <= 256,
            "{}",
            size_of::<Stored>()
        );
    }
}
