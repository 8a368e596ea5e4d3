//! Policies by their scopes.
//!
//! A question meets a handful of constraints on each variable: none, its type, its own uid, and
//! one or two for every ancestor. The policies that it meets are those entered under one of the
//! combinations. They are found by going from the principal to the resource to the action. At
//! each step one of two ways is taken, whichever is the shorter: to look the combinations up, or
//! to go through what there is. So neither many policies nor many ancestors make it slow, only both
//! at once, and then no slower than the policies that agree on what has been looked up so far.
//!
//! What is gone through lies side by side, as bare numbers: of a hundred thousand policies hardly
//! anything is in the processor's caches, and what counts is how often memory is waited for.

use std::collections::HashMap;

use foldhash::quality::RandomState;
use smallvec::SmallVec;

use super::axis::{self, Constraint};

/// So many resources of a principal are gone through rather than looked up in.
pub(super) const SHORT: usize = 64;

/// So many entries of a principal and a resource are gone through rather than searched.
const FEW: usize = 16;

/// So many pairs share a number that says whether they are there: it is wrong about one in sixty that
/// are not, and then they are looked for.
const PAIRS_OF_A_MARK: usize = 4;

/// A policy under one combination of constraints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) principal: Constraint,
    pub(super) resource: Constraint,
    pub(super) action: Constraint,
    /// Which policy.
    pub(super) rule: u32,
}

/// Policies, each once, in order. So many as most questions find need no memory of their own.
pub(super) type Found = SmallVec<[u32; 32]>;

/// The constraints that a question meets on each variable.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) principal: axis::Met,
    pub(super) action: axis::Met,
    pub(super) resource: axis::Met,
}

/// Three lists, each of which says where things are in the next: a constraint on the principal has
/// pairs, one for each constraint on the resource beside it, and a pair has entries.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Where the pairs of each constraint on the principal begin, and at last where all end.
    principals: Vec<u32>,
    /// The constraint on the resource of each pair; sorted, for each principal.
    resources: Vec<Constraint>,
    /// Where the entries of each pair begin, and at last where all end.
    pairs: Vec<u32>,
    /// Actions and rules; sorted, for each pair.
    entries: Vec<(Constraint, u32)>,
    /// Which pairs there may be: of most that a question asks for there is none, and this says so
    /// without a look at what is kept of them. Two bits are set for each, in one number.
    marks: Vec<u64>,
    /// Where a pair is, for principals with many.
    places: HashMap<(Constraint, Constraint), u32, RandomState>,
    pub(super) short: usize,
}

// === impl Index ===

impl Index {
    pub(super) fn new(mut entries: Vec<Entry>, short: usize) -> Self {
        entries.sort_unstable();
        entries.dedup();
        let mut index = Self {
            entries: entries
                .iter()
                .map(|entry| (entry.action, entry.rule))
                .collect(),
            short,
            ..Self::default()
        };
        let mut at = 0;
        for of_principal in entries.chunk_by(|one, next| one.principal == next.principal) {
            let principal = of_principal.first().map_or(0, |entry| entry.principal);
            let first = index.resources.len();
            // Constraints without pairs of their own end where they begin.
            index
                .principals
                .resize(principal as usize + 1, place(first));
            for of_pair in of_principal.chunk_by(|one, next| one.resource == next.resource) {
                let resource = of_pair.first().map_or(0, |entry| entry.resource);
                index.resources.push(resource);
                index.pairs.push(place(at));
                at += of_pair.len();
            }
            let resources = index.resources.get(first..).unwrap_or_default();
            if resources.len() > short {
                let places = (first..).zip(resources);
                let places = places.map(|(at, resource)| ((principal, *resource), place(at)));
                index.places.extend(places);
            }
        }
        index.principals.push(place(index.resources.len()));
        index.pairs.push(place(at));
        index.mark_pairs();
        index.principals.shrink_to_fit();
        index.resources.shrink_to_fit();
        index.pairs.shrink_to_fit();
        index.places.shrink_to_fit();
        index
    }

    fn mark_pairs(&mut self) {
        let numbers = self.resources.len().div_ceil(PAIRS_OF_A_MARK);
        self.marks = vec![0; numbers.next_power_of_two()];
        for principal in 0..self.principals.len() {
            let (from, to) = run(&self.principals, principal).unwrap_or_default();
            let resources = self.resources.get(from..to).unwrap_or_default();
            for resource in resources {
                let (at, bits) = mark(place(principal), *resource, self.marks.len());
                if let Some(marks) = self.marks.get_mut(at) {
                    *marks |= bits;
                }
            }
        }
    }

    /// The policies whose scopes are met, in order, each once.
    pub(super) fn candidates(&self, met: &Met) -> Found {
        let mut found = Found::new();
        for principal in &met.principal {
            let Some((from, to)) = run(&self.principals, *principal as usize) else {
                continue;
            };
            let resources = self.resources.get(from..to).unwrap_or_default();
            if resources.len() < met.resource.len() {
                for (pair, resource) in (from..).zip(resources) {
                    if has(&met.resource, *resource) {
                        self.of_pair(pair, &met.action, &mut found);
                    }
                }
                continue;
            }
            for resource in &met.resource {
                let (at, bits) = mark(*principal, *resource, self.marks.len());
                if self.marks.get(at).is_none_or(|marks| marks & bits != bits) {
                    continue;
                }
                let pair = if resources.len() > self.short {
                    let place = self.places.get(&(*principal, *resource));
                    place.map(|pair| *pair as usize)
                } else {
                    // A count, for which nothing has to be guessed and which is done on several
                    // numbers at once.
                    let before = resources.iter().filter(|other| *other < resource).count();
                    let found = resources.get(before) == Some(resource);
                    found.then_some(from + before)
                };
                if let Some(pair) = pair {
                    self.of_pair(pair, &met.action, &mut found);
                }
            }
        }
        // A policy that lists actions is found once for each that is met.
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Adds the policies of a pair whose constraint on the action is met.
    fn of_pair(&self, pair: usize, actions: &axis::Met, found: &mut Found) {
        let run = run(&self.pairs, pair);
        let entries = run.and_then(|(from, to)| self.entries.get(from..to));
        let entries = entries.unwrap_or_default();
        if entries.len() <= FEW.max(actions.len()) {
            let met = entries.iter().filter(|(action, _)| has(actions, *action));
            found.extend(met.map(|(_, rule)| *rule));
            return;
        }
        for action in actions {
            let from = entries.partition_point(|(other, _)| other < action);
            let same = entries.get(from..).unwrap_or_default().iter();
            let same = same.take_while(|(other, _)| other == action);
            found.extend(same.map(|(_, rule)| *rule));
        }
    }

    /// What it was made of.
    #[cfg(test)]
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for principal in 0..self.principals.len() {
            let (from, to) = run(&self.principals, principal).unwrap_or_default();
            for pair in from..to {
                let (first, last) = run(&self.pairs, pair).unwrap();
                entries.extend(
                    self.entries[first..last]
                        .iter()
                        .map(|(action, rule)| Entry {
                            principal: u32::try_from(principal).unwrap(),
                            resource: self.resources[pair],
                            action: *action,
                            rule: *rule,
                        }),
                );
            }
        }
        entries
    }
}

/// From where to where something goes, in a list of where each begins.
fn run(starts: &[u32], at: usize) -> Option<(usize, usize)> {
    match starts.get(at..)? {
        [from, to, ..] => Some((*from as usize, *to as usize)),
        _ => None,
    }
}

/// Which of so many numbers, a power of two, says whether there is a pair, and by which bits.
fn mark(principal: Constraint, resource: Constraint, numbers: usize) -> (usize, u64) {
    let pair = u64::from(principal) << 32 | u64::from(resource);
    // Multiplying by the golden ratio spreads what is close together over the upper bits.
    let mixed = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = 1 << (mixed >> 58) | 1 << (mixed >> 52 & 63);
    let at = (mixed >> 24) as usize & (numbers.max(1) - 1);
    (at, bits)
}

/// There is not the memory for so many entries that their places would run out.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn has(met: &[Constraint], constraint: Constraint) -> bool {
    met.binary_search(&constraint).is_ok()
}
