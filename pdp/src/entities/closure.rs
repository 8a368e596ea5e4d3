//! Who is above whom: the ancestors of entities, computed from their parents, top down.

use std::collections::HashMap;
use std::sync::Arc;

use super::EntitiesError;
use super::stored::Lineage;
use crate::uid::{ByUid, Uid};

/// Entities that one entity may have above it.
pub(crate) const MAX_ANCESTORS: usize = 1_000;

/// An entity whose ancestors are to be computed.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) uid: &'a Uid,
    /// Sorted by hash, each once.
    pub(super) parents: &'a [Uid],
}

/// What [`close`] may ask about entities that are not among its nodes.
pub(super) trait Others {
    /// What is above a stored entity; `None` for one that is not stored.
    fn lineage(&self, uid: &Uid) -> Option<&Arc<Lineage>>;

    /// What is above these parents, if that is known of another child of theirs.
    fn of_sibling(&self, parents: &[Uid]) -> Option<&Arc<Lineage>>;
}

/// No others.
pub(super) struct Nobody;

/// What is above each of `nodes`, in their order. Those with the same parents share it.
///
/// Parents come before their children, so that nothing recurses, and an entity that has too much
/// above it is told before anything below it is looked at.
///
/// # Errors
/// On a cycle and on an entity with more than [`MAX_ANCESTORS`] ancestors.
pub(super) fn close(
    nodes: &[Node<'_>],
    others: &impl Others,
) -> Result<Vec<Arc<Lineage>>, EntitiesError> {
    let places: HashMap<&Uid, u32, ByUid> = nodes.iter().map(|node| node.uid).zip(0..).collect();
    // From parent to child, by place.
    let mut steps: Vec<(u32, u32)> = Vec::new();
    let mut waiting: Vec<u32> = Vec::with_capacity(nodes.len());
    for (node, at) in nodes.iter().zip(0..) {
        let parents = node.parents.iter().filter_map(|uid| places.get(uid));
        let before = steps.len();
        steps.extend(parents.map(|parent| (*parent, at)));
        waiting.push(u32::try_from(steps.len() - before).unwrap_or(u32::MAX));
    }
    steps.sort_unstable();

    let mut ready: Vec<u32> = (0..)
        .zip(&waiting)
        .filter_map(|(at, waiting)| (*waiting == 0).then_some(at))
        .collect();
    let alone = ready.len();
    let mut done: Vec<Option<Arc<Lineage>>> = vec![None; nodes.len()];
    let mut known: HashMap<&[Uid], Arc<Lineage>, foldhash::fast::RandomState> = HashMap::default();
    let mut next = 0;
    while let Some(at) = ready.get(next).copied() {
        let Some(node) = nodes.get(at as usize) else {
            break;
        };
        let lineage = match known.get(node.parents) {
            Some(known) => Arc::clone(known),
            None => {
                let sibling = (next < alone)
                    .then(|| others.of_sibling(node.parents))
                    .flatten();
                let lineage = match sibling {
                    Some(lineage) => Arc::clone(lineage),
                    None => Arc::new(above(node, |uid| match places.get(uid) {
                        Some(at) => done.get(*at as usize)?.as_ref(),
                        None => others.lineage(uid),
                    })?),
                };
                known.insert(node.parents, Arc::clone(&lineage));
                lineage
            }
        };
        if let Some(slot) = done.get_mut(at as usize) {
            *slot = Some(lineage);
        }
        let from = steps.partition_point(|(parent, _)| *parent < at);
        let children = steps.get(from..).unwrap_or_default().iter();
        for (_, child) in children.take_while(|(parent, _)| *parent == at) {
            if let Some(waiting) = waiting.get_mut(*child as usize) {
                *waiting -= 1;
                if *waiting == 0 {
                    ready.push(*child);
                }
            }
        }
        next += 1;
    }
    let all: Option<Vec<_>> = done.iter().cloned().collect();
    all.ok_or_else(|| cycle(nodes, &places, &done))
}

// === impl Nobody ===

impl Others for Nobody {
    fn lineage(&self, _: &Uid) -> Option<&Arc<Lineage>> {
        None
    }

    fn of_sibling(&self, _: &[Uid]) -> Option<&Arc<Lineage>> {
        None
    }
}

fn above<'a>(
    node: &Node<'_>,
    of_parent: impl Fn(&Uid) -> Option<&'a Arc<Lineage>>,
) -> Result<Lineage, EntitiesError> {
    let too_many = || EntitiesError::TooManyAncestors(node.uid.clone());
    if node.parents.len() > MAX_ANCESTORS {
        return Err(too_many());
    }
    let mut ancestors = node.parents.to_vec();
    for parent in node.parents {
        let lineage = of_parent(parent).map(|lineage| lineage.ancestors());
        ancestors.extend_from_slice(lineage.unwrap_or_default());
        // As soon as there could be too many, those that are there twice are taken out.
        if ancestors.len() > 2 * MAX_ANCESTORS {
            ancestors = Lineage::sorted(ancestors).into_vec();
        }
        if ancestors.len() > 2 * MAX_ANCESTORS {
            return Err(too_many());
        }
    }
    let lineage = Lineage::new(node.parents.to_vec(), ancestors);
    if lineage.ancestors().len() > MAX_ANCESTORS {
        return Err(too_many());
    }
    Ok(lineage)
}

/// Names a cycle among those nodes that are not done: each of them waits for a parent that is not.
fn cycle(
    nodes: &[Node<'_>],
    places: &HashMap<&Uid, u32, ByUid>,
    done: &[Option<Arc<Lineage>>],
) -> EntitiesError {
    let left = |at: &u32| matches!(done.get(*at as usize), Some(None));
    let node = |at: u32| nodes.get(at as usize);
    // The smallest each time, so that the same entities are always told of in the same way.
    let smallest = |places: &mut dyn Iterator<Item = u32>| {
        let named = places.filter_map(|at| Some((node(at)?.uid, at)));
        named.min().map(|(_, at)| at)
    };
    let mut way: Vec<u32> = Vec::new();
    let mut seen: HashMap<u32, usize> = HashMap::new();
    let mut at = smallest(&mut (0..).take(nodes.len()).filter(left));
    while let Some(here) = at {
        if let Some(from) = seen.insert(here, way.len()) {
            way.drain(..from);
            break;
        }
        way.push(here);
        let parents = node(here).map(|node| node.parents).unwrap_or_default();
        at = smallest(
            &mut parents
                .iter()
                .filter_map(|uid| places.get(uid))
                .copied()
                .filter(left),
        );
    }
    let mut names: Vec<Uid> = way
        .into_iter()
        .filter_map(|at| node(at).map(|node| node.uid.clone()))
        .collect();
    // The way goes round: it begins with the smallest.
    if let Some(smallest) = (0..names.len()).min_by_key(|at| names.get(*at)) {
        names.rotate_left(smallest);
    }
    let mut names = names.into_iter();
    match (names.next(), names.next()) {
        (Some(uid), Some(parent)) => EntitiesError::Cycle { uid, parent },
        (Some(uid), None) => EntitiesError::OwnParent(uid),
        // Then all nodes were done.
        (None, _) => EntitiesError::Inconsistent,
    }
}
