//! One variable of a scope, the principal, the action or the resource, and the constraints that
//! policies put on it.

use std::collections::HashMap;

use cedar_policy_core::ast::{
    EntityReference, EntityType, EntityUID, PrincipalOrResourceConstraint,
};
use foldhash::quality::RandomState;
use smallvec::SmallVec;

use crate::uid::{ByUid, Uid};

/// A constraint on one variable, by its number. The same constraint always has the same one.
pub(super) type Constraint = u32;

/// No constraint: what every entity meets.
pub(super) const ANY: Constraint = 0;

/// The constraints that an entity meets, sorted. So many as most meet need no memory of their own.
pub(super) type Met = SmallVec<[Constraint; 16]>;

/// The constraints on one variable, by what must be asked of an entity to know those that it meets.
#[derive(Debug, Default)]
pub(super) struct Axis {
    /// How many there are, without [`ANY`]. There is not the memory for so many policies that their
    /// numbers would run out.
    pub(super) count: u32,
    /// `==`
    pub(super) exactly: HashMap<Uid, Constraint, ByUid>,
    /// `is`
    pub(super) is: HashMap<EntityType, Constraint, RandomState>,
    /// `in` and `is … in`. Apart from `exactly`, because ancestors need not be asked for there.
    pub(super) within: HashMap<Uid, Within, ByUid>,
}

/// The constraints that want an entity to be within a certain one.
#[derive(Debug, Default)]
pub(super) struct Within {
    /// `in`
    pub(super) of_any_type: Option<Constraint>,
    /// `is … in`
    pub(super) of_type: Vec<(EntityType, Constraint)>,
}

// === impl Axis ===

impl Axis {
    /// The number of a constraint. `slot` is what fills its slot; `None` when it needs one and there
    /// is none.
    pub(super) fn enter(
        &mut self,
        constraint: &PrincipalOrResourceConstraint,
        slot: Option<&EntityUID>,
    ) -> Option<Constraint> {
        let uid = |reference| filled(reference, slot).map(Uid::of);
        Some(match constraint {
            PrincipalOrResourceConstraint::Any => ANY,
            PrincipalOrResourceConstraint::Eq(reference) => self.exactly(&uid(reference)?),
            PrincipalOrResourceConstraint::In(reference) => self.within(&uid(reference)?),
            PrincipalOrResourceConstraint::Is(kind) => match self.is.get(&**kind) {
                Some(known) => *known,
                None => {
                    let new = next(&mut self.count);
                    self.is.insert(EntityType::clone(kind), new);
                    new
                }
            },
            PrincipalOrResourceConstraint::IsIn(kind, reference) => {
                self.within_of_type(kind, &uid(reference)?)
            }
        })
    }

    /// The number of `== uid`.
    pub(super) fn exactly(&mut self, uid: &Uid) -> Constraint {
        if let Some(known) = self.exactly.get(uid) {
            return *known;
        }
        let new = next(&mut self.count);
        self.exactly.insert(uid.clone(), new);
        new
    }

    /// The number of `in uid`.
    pub(super) fn within(&mut self, uid: &Uid) -> Constraint {
        let within = self.within.entry(uid.clone()).or_default();
        *within
            .of_any_type
            .get_or_insert_with(|| next(&mut self.count))
    }

    /// The number of `is kind in uid`.
    fn within_of_type(&mut self, kind: &EntityType, uid: &Uid) -> Constraint {
        let within = self.within.entry(uid.clone()).or_default();
        if let Some((_, known)) = within.of_type.iter().find(|(known, _)| known == kind) {
            return *known;
        }
        let new = next(&mut self.count);
        within.of_type.push((kind.clone(), new));
        new
    }

    /// Whether what is above an entity has a part in what it meets.
    pub(super) fn looks_up(&self) -> bool {
        !self.within.is_empty()
    }

    /// Every constraint that an entity meets.
    pub(super) fn met_by<'a>(
        &self,
        uid: &'a Uid,
        ancestors: impl IntoIterator<Item = &'a Uid>,
    ) -> Met {
        let mut met = Met::new();
        met.push(ANY);
        met.extend(self.exactly.get(uid).copied());
        if !self.is.is_empty() {
            met.extend(self.is.get(uid.kind()).copied());
        }
        if self.looks_up() {
            for around in std::iter::once(uid).chain(ancestors) {
                let Some(within) = self.within.get(around) else {
                    continue;
                };
                met.extend(within.of_any_type);
                let of_type = within.of_type.iter();
                met.extend(
                    of_type
                        .filter(|(kind, _)| kind == uid.kind())
                        .map(|(_, constraint)| *constraint),
                );
            }
        }
        met.sort_unstable();
        met
    }
}

fn next(count: &mut u32) -> Constraint {
    *count += 1;
    *count
}

/// The entity that a reference of a scope names.
fn filled<'a>(
    reference: &'a EntityReference,
    slot: Option<&'a EntityUID>,
) -> Option<&'a EntityUID> {
    match reference {
        EntityReference::EUID(uid) => Some(uid),
        EntityReference::Slot(_) => slot,
    }
}
