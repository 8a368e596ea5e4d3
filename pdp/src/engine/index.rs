//! Policies by their scopes.
//!
//! A question meets a handful of constraints on each variable: none, its type, its own uid, and
//! one or two for every ancestor. The policies that it meets are those entered under one of the
//! combinations. They are found by going from the principal to the resource to the action. At
//! each step one of two ways is taken, whichever is the shorter: to look the combinations up, or
//! to go through the entries. So neither many policies nor many ancestors make it slow, only both
//! at once, and then no slower than the policies that agree on what has been looked up so far.

use std::collections::HashMap;

use foldhash::quality::RandomState;
use smallvec::SmallVec;

use super::axis::{self, Constraint};

/// So many entries are gone through rather than looked up in: they lie side by side in memory.
pub(super) const SHORT: usize = 16;

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

/// Entries in an order in which those that agree on the principal, or on principal and resource,
/// lie together.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) entries: Vec<Entry>,
    /// Where the entries of each constraint on the principal begin, and at last where all end.
    starts: Vec<usize>,
    /// Where the entries of a principal and a resource are, for principals with many entries.
    pairs: HashMap<(Constraint, Constraint), Run, RandomState>,
    pub(super) short: usize,
}

/// A part of the entries: from, and up to.
type Run = (usize, usize);

// === impl Index ===

impl Index {
    pub(super) fn new(mut entries: Vec<Entry>, short: usize) -> Self {
        entries.sort_unstable();
        entries.dedup();
        entries.shrink_to_fit();
        let mut starts = vec![0];
        let mut pairs = HashMap::default();
        let mut at = 0;
        for of_principal in entries.chunk_by(|one, next| one.principal == next.principal) {
            let principal = of_principal.first().map_or(0, |entry| entry.principal);
            // Constraints without entries of their own end where they begin.
            starts.resize(principal as usize + 1, at);
            let mut from = at;
            at += of_principal.len();
            if of_principal.len() <= short {
                continue;
            }
            for of_pair in of_principal.chunk_by(|one, next| one.resource == next.resource) {
                let resource = of_pair.first().map_or(0, |entry| entry.resource);
                pairs.insert((principal, resource), (from, from + of_pair.len()));
                from += of_pair.len();
            }
        }
        starts.push(at);
        Self {
            entries,
            starts,
            pairs,
            short,
        }
    }

    /// The policies whose scopes are met, in order, each once.
    pub(super) fn candidates(&self, met: &Met) -> Found {
        let mut found = Found::new();
        for principal in &met.principal {
            let entries = self.of_principal(*principal);
            if entries.len() <= self.short.max(met.resource.len()) {
                let resource_met = |entry: &&Entry| has(&met.resource, entry.resource);
                found.extend(of_actions(entries.iter().filter(resource_met), met));
                continue;
            }
            for resource in &met.resource {
                let entries = self.of_pair(*principal, *resource);
                if entries.len() <= self.short.max(met.action.len()) {
                    found.extend(of_actions(entries.iter(), met));
                    continue;
                }
                for action in &met.action {
                    let from = entries.partition_point(|entry| entry.action < *action);
                    let run = entries.get(from..).unwrap_or_default().iter();
                    found.extend(
                        run.take_while(|entry| entry.action == *action)
                            .map(|entry| entry.rule),
                    );
                }
            }
        }
        // A policy that lists actions is found once for each that is met.
        found.sort_unstable();
        found.dedup();
        found
    }

    fn of_principal(&self, principal: Constraint) -> &[Entry] {
        let at = principal as usize;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(from), Some(to)) => self.run((*from, *to)),
            _ => &[],
        }
    }

    fn of_pair(&self, principal: Constraint, resource: Constraint) -> &[Entry] {
        match self.pairs.get(&(principal, resource)) {
            Some(run) => self.run(*run),
            None => &[],
        }
    }

    fn run(&self, (from, to): Run) -> &[Entry] {
        self.entries.get(from..to).unwrap_or_default()
    }
}

/// The policies among `entries` whose constraint on the action is met.
fn of_actions<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    met: &Met,
) -> impl Iterator<Item = u32> {
    entries
        .filter(|entry| has(&met.action, entry.action))
        .map(|entry| entry.rule)
}

fn has(met: &[Constraint], constraint: Constraint) -> bool {
    met.binary_search(&constraint).is_ok()
}
