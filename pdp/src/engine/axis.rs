//! One variable of a scope, the principal, the action or the resource, and the constraints that
//! policies put on it.

use std::collections::HashMap;
use std::num::NonZeroU32;

use cedar_policy_core::ast::{EntityReference, EntityType, PrincipalOrResourceConstraint};
use foldhash::quality::RandomState;
use smallvec::SmallVec;

use crate::uid::{ByUid, Uid};
use crate::value::Naming;

/// A constraint on one variable, by its number. The same constraint always has the same one.
pub(super) type Constraint = u32;

/// No constraint: what every entity meets.
pub(super) const ANY: Constraint = 0;

/// The constraints that an entity meets, sorted. So many as most meet need no memory of their own.
pub(super) type Met = SmallVec<[Constraint; 16]>;

/// The constraints on one variable, by what must be asked of an entity to know those that it meets.
///
/// A question looks up its own name and that of every ancestor, once each, among names that are many
/// and lie anywhere in memory. So what is known of a name stands in one place, and is small.
#[derive(Debug, Default)]
pub(super) struct Axis {
    /// How many there are, without [`ANY`]. There is not the memory for so many policies that their
    /// numbers would run out.
    pub(super) count: u32,
    /// What policies say of the entities that they name.
    pub(super) named: HashMap<Uid, Named, ByUid>,
    /// What they say of types.
    pub(super) kinds: HashMap<EntityType, Kind, RandomState>,
    /// How many types there are.
    count_of_kinds: u32,
    /// Whether any of them wants an entity to be within another.
    looks_up: bool,
}

/// The constraints that name one entity.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// `==`
    pub(super) exactly: Option<NonZeroU32>,
    /// `in`
    pub(super) within: Option<NonZeroU32>,
    /// `is … in`, by the number of the type.
    pub(super) of_type: SmallVec<[(u32, Constraint); 2]>,
}

/// What is known of a type.
#[derive(Debug)]
pub(super) struct Kind {
    /// The number that stands for it.
    pub(super) number: u32,
    /// `is`
    pub(super) is: Option<NonZeroU32>,
}

// === impl Axis ===

impl Axis {
    /// The number of a constraint. `slot` is what fills its slot; `None` when it needs one and there
    /// is none.
    pub(super) fn enter(
        &mut self,
        constraint: &PrincipalOrResourceConstraint,
        slot: Option<&Uid>,
        naming: Naming<'_>,
    ) -> Option<Constraint> {
        let uid = |reference: &EntityReference, naming: Naming<'_>| match reference {
            EntityReference::EUID(uid) => Some(naming(uid)),
            EntityReference::Slot(_) => slot.cloned(),
        };
        Some(match constraint {
            PrincipalOrResourceConstraint::Any => ANY,
            PrincipalOrResourceConstraint::Eq(around) => self.exactly(&uid(around, naming)?),
            PrincipalOrResourceConstraint::In(around) => self.within(&uid(around, naming)?),
            PrincipalOrResourceConstraint::Is(kind) => {
                self.kind(kind);
                let known = self.kinds.get_mut(&**kind)?;
                number(&mut known.is, &mut self.count)
            }
            PrincipalOrResourceConstraint::IsIn(kind, around) => {
                self.within_of_type(kind, &uid(around, naming)?)
            }
        })
    }

    /// The number of `== uid`.
    pub(super) fn exactly(&mut self, uid: &Uid) -> Constraint {
        let named = self.named.entry(uid.clone()).or_default();
        number(&mut named.exactly, &mut self.count)
    }

    /// The number of `in uid`.
    pub(super) fn within(&mut self, uid: &Uid) -> Constraint {
        self.looks_up = true;
        let named = self.named.entry(uid.clone()).or_default();
        number(&mut named.within, &mut self.count)
    }

    /// The number of `is kind in uid`.
    fn within_of_type(&mut self, kind: &EntityType, uid: &Uid) -> Constraint {
        self.looks_up = true;
        let kind = self.kind(kind);
        let named = self.named.entry(uid.clone()).or_default();
        if let Some((_, known)) = named.of_type.iter().find(|(known, _)| *known == kind) {
            return *known;
        }
        self.count += 1;
        named.of_type.push((kind, self.count));
        self.count
    }

    /// The number of a type.
    fn kind(&mut self, kind: &EntityType) -> u32 {
        if let Some(known) = self.kinds.get(kind) {
            return known.number;
        }
        self.count_of_kinds += 1;
        let number = self.count_of_kinds;
        self.kinds
            .insert(kind.with_loc(None), Kind { number, is: None });
        number
    }

    /// Gives all constraints new numbers, by the old ones: those that name the same entity follow each
    /// other, so that what is kept by their numbers lies together and is fetched together.
    pub(super) fn renumber(&mut self) -> Vec<Constraint> {
        let mut new = vec![ANY; self.count as usize + 1];
        let mut last = ANY;
        let mut renumber = |constraint: &mut Constraint| {
            last += 1;
            if let Some(new) = new.get_mut(*constraint as usize) {
                *new = last;
            }
            *constraint = last;
        };
        let mut renumber_some = |place: &mut Option<NonZeroU32>| {
            if let Some(constraint) = place {
                let mut number = constraint.get();
                renumber(&mut number);
                *place = NonZeroU32::new(number);
            }
        };
        for kind in self.kinds.values_mut() {
            renumber_some(&mut kind.is);
        }
        for named in self.named.values_mut() {
            renumber_some(&mut named.exactly);
            renumber_some(&mut named.within);
            for (_, constraint) in &mut named.of_type {
                let mut place = NonZeroU32::new(*constraint);
                renumber_some(&mut place);
                *constraint = place.map_or(ANY, NonZeroU32::get);
            }
        }
        new
    }

    /// Whether what is above an entity has a part in what it meets.
    pub(super) fn looks_up(&self) -> bool {
        self.looks_up
    }

    /// The name as it is shared here, if a constraint names it.
    pub(super) fn shared(&self, uid: &Uid) -> Option<&Uid> {
        self.named.get_key_value(uid).map(|(uid, _)| uid)
    }

    /// Every constraint that an entity of a type meets.
    pub(super) fn met_by<'a>(
        &self,
        uid: &'a Uid,
        kind: &EntityType,
        ancestors: impl IntoIterator<Item = &'a Uid>,
    ) -> Met {
        let mut met = Met::new();
        met.push(ANY);
        let kind = match self.kinds.is_empty() {
            true => None,
            false => self.kinds.get(kind),
        };
        met.extend(kind.and_then(|kind| kind.is).map(NonZeroU32::get));
        let kind = kind.map(|kind| kind.number);
        if let Some(named) = self.named.get(uid) {
            met.extend(named.exactly.map(NonZeroU32::get));
            named.around(kind, &mut met);
        }
        if self.looks_up {
            for above in ancestors {
                if let Some(named) = self.named.get(above) {
                    named.around(kind, &mut met);
                }
            }
        }
        met.sort_unstable();
        met
    }
}

// === impl Named ===

impl Named {
    /// Adds the constraints that an entity of a type meets by being within this one.
    fn around(&self, kind: Option<u32>, met: &mut Met) {
        met.extend(self.within.map(NonZeroU32::get));
        for (of, constraint) in &self.of_type {
            if Some(*of) == kind {
                met.push(*constraint);
            }
        }
    }
}

/// The number of a constraint, which it gets when it is first met with.
fn number(place: &mut Option<NonZeroU32>, count: &mut u32) -> Constraint {
    if let Some(known) = place {
        return known.get();
    }
    *count += 1;
    *place = NonZeroU32::new(*count);
    *count
}
