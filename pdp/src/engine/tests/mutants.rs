//! Engines that are wrong in one way each.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::*;

/// One way of being wrong.
pub(super) struct Mutant {
    pub(super) name: &'static str,
    fault: Fault,
}

/// Where it is wrong.
enum Fault {
    /// In what is known of the policies.
    Engine(fn(&mut Engine)),
    /// In what is made of a question.
    Met(fn(&Look<'_>, &mut Met)),
}

/// All that a question is judged by.
struct Look<'a> {
    engine: &'a Engine,
    asked: &'a Asked<'a>,
    view: &'a View<'a>,
    /// Without what the question brought along.
    stored: &'a View<'a>,
}

use Fault::{Engine as InEngine, Met as InMet};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "policies for any principal are dropped",
        fault: InEngine(|engine| keep(engine, |_, entry| entry.principal != ANY)),
    },
    Mutant {
        name: "policies for any action are dropped",
        fault: InEngine(|engine| keep(engine, |_, entry| entry.action != ANY)),
    },
    Mutant {
        name: "policies for any resource are dropped",
        fault: InEngine(|engine| keep(engine, |_, entry| entry.resource != ANY)),
    },
    Mutant {
        name: "`principal ==` is dropped",
        fault: InEngine(|engine| forget_exactly(&mut engine.principals)),
    },
    Mutant {
        name: "`action ==` is dropped",
        fault: InEngine(|engine| forget_exactly(&mut engine.actions)),
    },
    Mutant {
        name: "`resource ==` is dropped",
        fault: InEngine(|engine| forget_exactly(&mut engine.resources)),
    },
    Mutant {
        name: "`principal is` is dropped",
        fault: InEngine(|engine| forget_is(&mut engine.principals)),
    },
    Mutant {
        name: "`resource is` is dropped",
        fault: InEngine(|engine| forget_is(&mut engine.resources)),
    },
    Mutant {
        name: "`principal in` is dropped",
        fault: InEngine(|engine| forget_in(&mut engine.principals)),
    },
    Mutant {
        name: "`action in` is dropped",
        fault: InEngine(|engine| forget_in(&mut engine.actions)),
    },
    Mutant {
        name: "`resource in` is dropped",
        fault: InEngine(|engine| forget_in(&mut engine.resources)),
    },
    Mutant {
        name: "`principal is … in` is dropped",
        fault: InEngine(|engine| forget_is_in(&mut engine.principals)),
    },
    Mutant {
        name: "`resource is … in` is dropped",
        fault: InEngine(|engine| forget_is_in(&mut engine.resources)),
    },
    Mutant {
        name: "`principal is` is ignored",
        fault: InEngine(|engine| {
            let is: Vec<u32> = constraints_is(&engine.principals);
            change(engine, |entry| {
                if is.contains(&entry.principal) {
                    entry.principal = ANY;
                }
            });
        }),
    },
    Mutant {
        name: "`resource is` is ignored",
        fault: InEngine(|engine| {
            let is: Vec<u32> = constraints_is(&engine.resources);
            change(engine, |entry| {
                if is.contains(&entry.resource) {
                    entry.resource = ANY;
                }
            });
        }),
    },
    Mutant {
        name: "the type in `principal is … in` is ignored",
        fault: InEngine(|engine| {
            let renumbered = ignore_type(&mut engine.principals);
            change(engine, |entry| renumber(&mut entry.principal, &renumbered));
        }),
    },
    Mutant {
        name: "the type in `resource is … in` is ignored",
        fault: InEngine(|engine| {
            let renumbered = ignore_type(&mut engine.resources);
            change(engine, |entry| renumber(&mut entry.resource, &renumbered));
        }),
    },
    Mutant {
        name: "`principal ==` is taken for `in`",
        fault: InEngine(|engine| {
            let renumbered = exactly_to_within(&mut engine.principals);
            change(engine, |entry| renumber(&mut entry.principal, &renumbered));
        }),
    },
    Mutant {
        name: "`resource ==` is taken for `in`",
        fault: InEngine(|engine| {
            let renumbered = exactly_to_within(&mut engine.resources);
            change(engine, |entry| renumber(&mut entry.resource, &renumbered));
        }),
    },
    Mutant {
        name: "`action ==` is taken for `in`",
        fault: InEngine(|engine| {
            let renumbered = exactly_to_within(&mut engine.actions);
            change(engine, |entry| renumber(&mut entry.action, &renumbered));
        }),
    },
    Mutant {
        name: "of a list of actions the first alone counts",
        fault: InEngine(|engine| {
            let mut seen = BTreeSet::new();
            keep(engine, |_, entry| seen.insert(entry.rule));
        }),
    },
    Mutant {
        name: "the principal is ignored",
        fault: InEngine(|engine| change(engine, |entry| entry.principal = ANY)),
    },
    Mutant {
        name: "the action is ignored",
        fault: InEngine(|engine| change(engine, |entry| entry.action = ANY)),
    },
    Mutant {
        name: "the resource is ignored",
        fault: InEngine(|engine| change(engine, |entry| entry.resource = ANY)),
    },
    Mutant {
        name: "principal and resource are mistaken for each other",
        fault: InEngine(|engine| std::mem::swap(&mut engine.principals, &mut engine.resources)),
    },
    Mutant {
        name: "forbids are dropped",
        fault: InEngine(|engine| {
            keep(engine, |rules, entry| {
                rules[entry.rule as usize].effect == Effect::Permit
            });
        }),
    },
    Mutant {
        name: "forbids are taken for permits",
        fault: InEngine(|engine| {
            engine
                .rules
                .iter_mut()
                .for_each(|rule| rule.effect = Effect::Permit);
        }),
    },
    Mutant {
        name: "conditions are ignored",
        fault: InEngine(|engine| {
            engine
                .rules
                .iter_mut()
                .for_each(|rule| rule.condition = None)
        }),
    },
    Mutant {
        name: "links are dropped",
        fault: InEngine(|engine| {
            keep(engine, |rules, entry| {
                !rules[entry.rule as usize].id.starts_with("link")
            });
        }),
    },
    Mutant {
        name: "the last policy of each principal is dropped",
        fault: InEngine(|engine| {
            let entries = engine.index.entries();
            let last = |entry: &Entry| {
                let same = entries
                    .iter()
                    .filter(|other| other.principal == entry.principal);
                same.max() == Some(entry)
            };
            keep(engine, |_, entry| !last(entry));
        }),
    },
    Mutant {
        name: "the last policy of all is dropped",
        fault: InEngine(|engine| {
            let last = engine.index.entries().last().copied();
            keep(engine, |_, entry| Some(*entry) != last);
        }),
    },
    Mutant {
        name: "the principal's ancestors are missed",
        fault: InMet(|look, met| {
            met.principal =
                look.engine
                    .principals
                    .met_by(&look.asked.principal, look.asked.principal_kind, []);
        }),
    },
    Mutant {
        name: "the action's groups are missed",
        fault: InMet(|look, met| {
            met.action =
                look.engine
                    .actions
                    .met_by(&look.asked.action, look.asked.action.kind(), []);
        }),
    },
    Mutant {
        name: "the resource's ancestors are missed",
        fault: InMet(|look, met| {
            met.resource =
                look.engine
                    .resources
                    .met_by(&look.asked.resource, look.asked.resource_kind, []);
        }),
    },
    Mutant {
        name: "the principal's ancestors beyond its parents are missed",
        fault: InMet(|look, met| {
            let principal = &look.asked.principal;
            let parents = look.of(principal).map(Stored::parents).unwrap_or_default();
            met.principal =
                look.engine
                    .principals
                    .met_by(principal, look.asked.principal_kind, parents);
        }),
    },
    Mutant {
        name: "the resource's parents are missed, not those beyond",
        fault: InMet(|look, met| {
            let resource = &look.asked.resource;
            let parents = look.of(resource).map(Stored::parents).unwrap_or_default();
            let beyond = look
                .above(resource)
                .iter()
                .filter(|uid| !parents.contains(uid));
            met.resource = look
                .engine
                .resources
                .met_by(resource, look.asked.resource_kind, beyond);
        }),
    },
    Mutant {
        name: "one ancestor of the principal is missed",
        fault: InMet(|look, met| {
            let principal = &look.asked.principal;
            let mut ancestors: Vec<&Uid> = look.above(principal).iter().collect();
            ancestors.sort_unstable();
            let ancestors = ancestors.into_iter().skip(1);
            met.principal =
                look.engine
                    .principals
                    .met_by(principal, look.asked.principal_kind, ancestors);
        }),
    },
    Mutant {
        name: "a principal is not in itself",
        fault: InMet(|look, met| {
            let (axis, uid) = (&look.engine.principals, &look.asked.principal);
            forget_itself(axis, uid, &mut met.principal);
        }),
    },
    Mutant {
        name: "an action is not in itself",
        fault: InMet(|look, met| {
            forget_itself(&look.engine.actions, &look.asked.action, &mut met.action);
        }),
    },
    Mutant {
        name: "a resource is not in itself",
        fault: InMet(|look, met| {
            let (axis, uid) = (&look.engine.resources, &look.asked.resource);
            forget_itself(axis, uid, &mut met.resource);
        }),
    },
    Mutant {
        name: "the types of ancestors count as the principal's",
        fault: InMet(|look, met| {
            let above = look.above(&look.asked.principal).iter();
            let types = above.filter_map(|uid| look.engine.principals.kinds.get(uid.kind()));
            let types = types.filter_map(|kind| kind.is);
            met.principal.extend(types.map(NonZeroU32::get));
            met.principal.sort_unstable();
        }),
    },
    Mutant {
        name: "the question's own entities are not asked for ancestors",
        fault: InMet(|look, met| {
            *met = look.engine.met_by(look.asked, look.stored);
        }),
    },
];

// === impl Mutant ===

impl Mutant {
    pub(super) fn bend(&self, engine: &mut Engine) {
        if let Fault::Engine(bend) = self.fault {
            bend(engine);
        }
    }

    pub(super) fn met(
        &self,
        engine: &Engine,
        asked: &Asked<'_>,
        view: &View<'_>,
        stored: &View<'_>,
    ) -> Met {
        let mut met = engine.met_by(asked, view);
        if let Fault::Met(bend) = self.fault {
            let look = Look {
                engine,
                asked,
                view,
                stored,
            };
            bend(&look, &mut met);
        }
        met
    }
}

// === impl Look ===

impl<'a> Look<'a> {
    fn of(&self, uid: &Uid) -> Option<&'a Stored> {
        self.view.entity(uid)
    }

    fn above(&self, uid: &Uid) -> &'a [Uid] {
        self.of(uid).map(Stored::ancestors).unwrap_or_default()
    }
}

fn keep(engine: &mut Engine, mut keep: impl FnMut(&[Rule], &Entry) -> bool) {
    let mut entries = engine.index.entries();
    entries.retain(|entry| keep(&engine.rules, entry));
    engine.index = Index::new(entries, engine.index.short);
}

fn change(engine: &mut Engine, change: impl FnMut(&mut Entry)) {
    let mut entries = engine.index.entries();
    entries.iter_mut().for_each(change);
    engine.index = Index::new(entries, engine.index.short);
}

fn renumber(constraint: &mut u32, renumbered: &[(u32, u32)]) {
    if let Some((_, new)) = renumbered.iter().find(|(old, _)| old == constraint) {
        *constraint = *new;
    }
}

fn forget_exactly(axis: &mut Axis) {
    axis.named
        .values_mut()
        .for_each(|named| named.exactly = None);
}

fn forget_is(axis: &mut Axis) {
    axis.kinds.values_mut().for_each(|kind| kind.is = None);
}

fn constraints_is(axis: &Axis) -> Vec<u32> {
    let is = axis.kinds.values().filter_map(|kind| kind.is);
    is.map(NonZeroU32::get).collect()
}

fn forget_in(axis: &mut Axis) {
    axis.named
        .values_mut()
        .for_each(|named| named.within = None);
}

fn forget_is_in(axis: &mut Axis) {
    axis.named
        .values_mut()
        .for_each(|named| named.of_type.clear());
}

fn forget_itself(axis: &Axis, uid: &Uid, met: &mut axis::Met) {
    if let Some(named) = axis.named.get(uid) {
        let itself = named.of_type.iter().map(|(_, constraint)| *constraint);
        let itself: Vec<u32> = itself.chain(named.within.map(NonZeroU32::get)).collect();
        met.retain(|constraint| !itself.contains(constraint));
    }
}

fn ignore_type(axis: &mut Axis) -> Vec<(u32, u32)> {
    let typed = axis
        .named
        .iter()
        .filter(|(_, named)| !named.of_type.is_empty());
    let uids: Vec<Uid> = typed.map(|(uid, _)| uid.clone()).collect();
    let mut renumbered = Vec::new();
    for uid in uids {
        let within = axis.within(&uid);
        let of_type = &axis.named[&uid].of_type;
        renumbered.extend(of_type.iter().map(|(_, constraint)| (*constraint, within)));
    }
    renumbered
}

fn exactly_to_within(axis: &mut Axis) -> Vec<(u32, u32)> {
    let exactly = axis.named.iter_mut();
    let exactly = exactly.filter_map(|(uid, named)| Some((uid.clone(), named.exactly.take()?)));
    let exactly: Vec<(Uid, NonZeroU32)> = exactly.collect();
    exactly
        .into_iter()
        .map(|(uid, constraint)| (constraint.get(), axis.within(&uid)))
        .collect()
}
