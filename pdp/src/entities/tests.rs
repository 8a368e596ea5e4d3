//! However the entities came to be what they are, they are the same.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cedar_policy::{Entities as CedarEntities, Entity, EntityUid, RestrictedExpression};
use proptest::prelude::*;

use super::*;

/// Names of the entities that tests make, by number.
const NAMES: u8 = 12;

/// What an entity is, but for its name.
#[derive(Debug, Clone, PartialEq)]
struct Shape {
    parents: BTreeSet<u8>,
    n: i64,
}

fn cedar_uid(id: u8) -> EntityUid {
    let kind = ["A", "B"][usize::from(id % 2)];
    format!("{kind}::\"{id:02}\"").parse().unwrap()
}

fn uid(id: u8) -> Uid {
    Uid::of(cedar_uid(id).as_ref())
}

fn cedar(id: u8, shape: &Shape) -> Entity {
    let friend = RestrictedExpression::new_entity_uid(cedar_uid(id.wrapping_add(1)));
    let n = RestrictedExpression::new_long(shape.n);
    let attributes = [("n".to_owned(), n), ("friend".to_owned(), friend)];
    let parents = shape.parents.iter().map(|id| cedar_uid(*id)).collect();
    Entity::new(cedar_uid(id), attributes.into(), parents).unwrap()
}

fn draft(entities: &Entities, id: u8, shape: &Shape) -> Draft {
    Draft::named(cedar(id, shape).as_ref(), &mut |uid| entities.name(uid)).unwrap()
}

fn fresh(shapes: &BTreeMap<u8, Shape>) -> Result<Entities, EntitiesError> {
    let none = Entities::default();
    let drafts = shapes.iter().map(|(id, shape)| draft(&none, *id, shape));
    Entities::new(drafts.collect(), None)
}

fn shape(id: u8) -> impl Strategy<Value = Shape> {
    // Mostly upwards, so that there are hierarchies; now and then not, so that there are cycles.
    let above = prop_oneof![8 => id.saturating_add(1).min(NAMES)..=NAMES, 1 => 0..NAMES];
    (prop::collection::btree_set(above, 0..4), 0..3_i64)
        .prop_map(|(parents, n)| Shape { parents, n })
}

fn shapes() -> impl Strategy<Value = BTreeMap<u8, Shape>> {
    let all: Vec<_> = (0..NAMES)
        .map(|id| prop::option::weighted(0.7, shape(id)).prop_map(move |shape| Some((id, shape?))))
        .collect();
    all.prop_map(|all| all.into_iter().flatten().collect())
}

fn changes() -> impl Strategy<Value = Vec<Vec<(u8, Option<Shape>)>>> {
    let change = (0..NAMES).prop_flat_map(|id| (Just(id), prop::option::weighted(0.7, shape(id))));
    // Small ones are made one by one, large ones by making all anew.
    prop::collection::vec(prop::collection::vec(change, 1..12), 1..6)
}

/// Everything that can be seen of the entities.
fn seen(entities: &Entities) -> impl PartialEq + std::fmt::Debug + use<> {
    let names = |uids: &[Uid]| -> BTreeSet<String> { uids.iter().map(Uid::to_string).collect() };
    let all: BTreeMap<String, _> = entities
        .iter()
        .map(|stored| {
            let attributes = (stored.attributes.clone(), stored.tags.clone());
            let above = (names(stored.parents()), names(stored.ancestors()));
            (stored.uid.to_string(), (attributes, above))
        })
        .collect();
    let order: Vec<String> = entities.order.iter().map(Uid::to_string).collect();
    let below: BTreeMap<String, BTreeSet<String>> = entities
        .below
        .iter()
        .map(|brood| {
            let children = brood.children.iter().map(Uid::to_string).collect();
            (brood.parent.to_string(), children)
        })
        .collect();
    let revision = entities.revision().to_string();
    (all, order, below, entities.pairs, entities.len(), revision)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn changes_lead_to_what_loading_the_result_does(first in shapes(), changes in changes()) {
        let mut shapes = first;
        let Ok(mut entities) = fresh(&shapes) else {
            return Ok(());
        };
        for batch in changes {
            // Each name once, the last change of it.
            let batch: BTreeMap<u8, Option<Shape>> = batch.into_iter().collect();
            let list = batch.iter().map(|(id, shape)| match shape {
                Some(shape) => Change::Put(draft(&entities, *id, shape)),
                None => Change::Remove(uid(*id)),
            });
            let list = list.collect();
            let before = seen(&entities);
            let changed = entities.with(list);
            prop_assert!(seen(&entities) == before);
            let mut next = shapes.clone();
            for (id, shape) in batch {
                match shape {
                    Some(shape) => next.insert(id, shape),
                    None => next.remove(&id),
                };
            }
            match (changed, fresh(&next)) {
                (Ok(changed), Ok(fresh)) => {
                    prop_assert_eq!(seen(&changed), seen(&fresh));
                    entities = changed;
                    shapes = next;
                }
                // What it names may be another one on the same cycle.
                (changed, fresh) => {
                    prop_assert_eq!(changed.is_err(), fresh.is_err());
                }
            }
        }
    }

    #[test]
    fn ancestors_are_those_that_cedar_finds(shapes in shapes()) {
        let theirs = CedarEntities::from_entities(
            shapes.iter().map(|(id, shape)| cedar(*id, shape)),
            None,
        );
        let (theirs, ours) = match (theirs, fresh(&shapes)) {
            (Ok(theirs), Ok(ours)) => (theirs, ours),
            (theirs, ours) => {
                prop_assert_eq!(theirs.is_err(), ours.is_err());
                return Ok(());
            }
        };
        prop_assert_eq!(theirs.iter().count(), ours.len());
        for entity in theirs.iter() {
            let stored = ours.find(entity.uid().as_ref()).unwrap();
            prop_assert!(stored.to_cedar().deep_eq(entity.as_ref()));
            for id in 0..=NAMES {
                let above = theirs.is_ancestor_of(&cedar_uid(id), &entity.uid())
                    && cedar_uid(id) != entity.uid();
                prop_assert_eq!(stored.is_within(&uid(id)), above);
            }
        }
    }

    #[test]
    fn the_revision_is_of_the_content(a in shapes(), b in shapes()) {
        if let (Ok(ours), Ok(other)) = (fresh(&a), fresh(&b)) {
            prop_assert_eq!(ours.revision() == other.revision(), a == b);
            prop_assert_eq!(ours.revision().len(), 64);
        }
    }
}

fn shapes_of(parents: &[(u8, &[u8])]) -> BTreeMap<u8, Shape> {
    let shape = |parents: &[u8]| Shape {
        parents: parents.iter().copied().collect(),
        n: 0,
    };
    let all = parents.iter().map(|(id, parents)| (*id, shape(parents)));
    all.collect()
}

#[test]
fn a_cycle_is_named() {
    let error = |parents: &[(u8, &[u8])]| fresh(&shapes_of(parents)).unwrap_err().to_string();
    assert_eq!(
        error(&[(1, &[1])]),
        r#"entity `B::"01"` is its own parent, which is a cycle"#
    );
    // From below the cycle, which is not on it.
    assert_eq!(
        error(&[(0, &[5]), (5, &[3]), (3, &[4]), (4, &[5]), (9, &[])]),
        r#"entity `A::"04"` is its own ancestor: there is a cycle through its parent `B::"05"`"#
    );
}

#[test]
fn a_change_that_makes_a_cycle_changes_nothing() {
    let entities = fresh(&shapes_of(&[(1, &[2]), (2, &[3]), (3, &[])])).unwrap();
    let up = draft(&entities, 3, &shapes_of(&[(3, &[1])])[&3]);
    let error = entities.with(vec![Change::Put(up)]).unwrap_err();
    assert!(matches!(error, EntitiesError::Cycle { .. }), "{error}");
    assert!(!entities.get(&uid(3)).unwrap().is_within(&uid(1)));
}

#[test]
fn a_name_is_changed_once_at_a_time() {
    let entities = fresh(&shapes_of(&[(1, &[2])])).unwrap();
    let twice = vec![Change::Remove(uid(1)), Change::Remove(uid(1))];
    assert_eq!(
        entities.with(twice).unwrap_err(),
        EntitiesError::Duplicate(uid(1))
    );
}

#[test]
fn actions_of_a_schema_are_beside_the_content() {
    let action: EntityUid = r#"Action::"a""#.parse().unwrap();
    let action = Draft::named(Entity::with_uid(action).as_ref(), &mut Uid::of).unwrap();
    let user = draft(&Entities::default(), 1, &shapes_of(&[(1, &[])])[&1]);
    let typed = Entities::new(vec![user.clone()], Some(vec![action.clone()])).unwrap();
    let plain = Entities::new(vec![user.clone()], None).unwrap();
    assert_eq!(typed.len(), 2);
    assert_eq!(typed.revision(), plain.revision());
    for change in [
        Change::Put(action.clone()),
        Change::Remove(action.uid.clone()),
    ] {
        assert_eq!(
            typed.with(vec![change]).unwrap_err(),
            EntitiesError::Action(action.uid.clone())
        );
    }
    assert!(Entities::new(vec![action.clone()], Some(Vec::new())).is_err());
    // Without a schema an action is an entity as any other.
    let both = Entities::new(vec![user, action], None).unwrap();
    assert_ne!(both.revision(), plain.revision());
}

#[test]
fn siblings_share_what_is_above_them() {
    let shapes = shapes_of(&[(0, &[5, 6]), (2, &[5, 6]), (5, &[7]), (6, &[])]);
    let entities = fresh(&shapes).unwrap();
    let lineage = |entities: &Entities, id| Arc::clone(&entities.get(&uid(id)).unwrap().lineage);
    assert!(Arc::ptr_eq(&lineage(&entities, 0), &lineage(&entities, 2)));
    let third = draft(&entities, 4, &shapes[&0]);
    let more = entities.with(vec![Change::Put(third)]).unwrap();
    assert!(Arc::ptr_eq(&lineage(&more, 0), &lineage(&more, 4)));
    // The name of a parent that is not stored is shared as well.
    let seven = more.name(cedar_uid(7).as_ref());
    assert!(lineage(&more, 0).ancestors().contains(&seven));
    assert_eq!(more.dangling().collect::<Vec<_>>(), [(&uid(5), &uid(7))]);
}

#[test]
fn a_long_chain_is_refused_before_it_costs_anything() {
    let kind = "G".parse().unwrap();
    let name = |n: usize| Uid::new(&kind, &n.to_string());
    let chain = |length: usize| {
        let draft = |n: usize| Draft {
            uid: name(n),
            attributes: Default::default(),
            tags: Default::default(),
            parents: Box::new([name(n + 1)]),
        };
        Entities::new((0..length).map(draft).collect(), None)
    };
    let entities = chain(MAX_ANCESTORS).unwrap();
    assert_eq!(
        entities.get(&name(0)).unwrap().ancestors().len(),
        MAX_ANCESTORS
    );
    for length in [MAX_ANCESTORS + 1, 20_000] {
        let error = chain(length).unwrap_err();
        let first = name(length - MAX_ANCESTORS - 1);
        assert_eq!(error, EntitiesError::TooManyAncestors(first));
    }
    // Nor can it grow to be one.
    let end = Draft {
        uid: name(MAX_ANCESTORS),
        attributes: Default::default(),
        tags: Default::default(),
        parents: Box::new([name(MAX_ANCESTORS + 1)]),
    };
    let error = entities.with(vec![Change::Put(end)]).unwrap_err();
    assert_eq!(error, EntitiesError::TooManyAncestors(name(0)));
}

#[test]
fn entities_of_a_type_come_in_the_order_of_their_ids() {
    let all: Vec<(u8, &[u8])> = (0..NAMES).map(|id| (id, &[] as &[u8])).collect();
    let entities = fresh(&shapes_of(&all)).unwrap();
    let kind: EntityType = "B".parse().unwrap();
    let ids = |after| -> Vec<&str> { entities.of_kind(kind.clone(), after).map(Uid::id).collect() };
    assert_eq!(ids(None), ["01", "03", "05", "07", "09", "11"]);
    assert_eq!(ids(Some("05")), ["07", "09", "11"]);
    assert_eq!(ids(Some("06")), ["07", "09", "11"]);
    assert!(ids(Some("11")).is_empty());
}

#[test]
fn a_view_lays_entities_over_the_stored_ones() {
    let entities = fresh(&shapes_of(&[(0, &[1]), (1, &[2]), (2, &[3]), (6, &[])])).unwrap();
    let given = shapes_of(&[(2, &[5, 6]), (5, &[7])]);
    let given: Vec<Entity> = given.iter().map(|(id, shape)| cedar(*id, shape)).collect();
    let view = View::with(&entities, given.iter().map(AsRef::as_ref)).unwrap();
    let above = |view: &View<'_>, id| -> BTreeSet<String> {
        let stored = view.entity(&uid(id)).unwrap();
        stored.ancestors().iter().map(Uid::to_string).collect()
    };
    let names =
        |ids: &[u8]| -> BTreeSet<String> { ids.iter().map(|id| uid(*id).to_string()).collect() };
    for (id, expected) in [
        (0, &[1, 2, 5, 6, 7][..]),
        (1, &[2, 5, 6, 7]),
        (2, &[5, 6, 7]),
        (5, &[7]),
        (6, &[]),
    ] {
        // Twice: once computed, once remembered.
        assert_eq!(above(&view, id), names(expected), "{id}");
        assert_eq!(above(&view, id), names(expected), "{id}");
    }
    assert!(view.entity(&uid(3)).is_none());
    assert!(view.failure().is_none());
    let plain = View::of(&entities);
    assert_eq!(above(&plain, 0), names(&[1, 2, 3]));
}

#[test]
fn a_cycle_through_given_entities_is_refused() {
    let entities = fresh(&shapes_of(&[(0, &[1]), (1, &[2])])).unwrap();
    let given = cedar(2, &shapes_of(&[(2, &[0])])[&2]);
    let error = View::with(&entities, [given.as_ref()]).unwrap_err();
    assert_eq!(error, ViewError::Cycle(uid(2)));
}

#[test]
fn removing_and_adding_again_leaves_no_trace() {
    let shapes = shapes_of(&[(0, &[1]), (1, &[2]), (2, &[])]);
    let entities = fresh(&shapes).unwrap();
    let gone = entities.with(vec![Change::Remove(uid(1))]).unwrap();
    let above: HashSet<&Uid> = gone.get(&uid(0)).unwrap().ancestors().iter().collect();
    assert_eq!(above, HashSet::from([&uid(1)]));
    let back = gone
        .with(vec![Change::Put(draft(&gone, 1, &shapes[&1]))])
        .unwrap();
    assert_eq!(seen(&back), seen(&entities));
    assert_eq!(
        gone.with(vec![Change::Remove(uid(1))]).unwrap().revision(),
        gone.revision()
    );
}
