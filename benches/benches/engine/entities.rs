//! Few stored entities and many.

use std::hint::black_box;

use cedar_policy::{Entity, EntityUid};

use crate::measure::{Measure, Times, each, in_turn, once, tell};
use crate::scene::{Dice, Names};
use crate::stored::{Store, entity, user};

/// How many entities. Without optimisation the larger ones would only be waited for.
const ENTITIES: &[u64] = if cfg!(debug_assertions) {
    &[1_000]
} else {
    &[1_000, 1_000_000]
};
/// Distinct questions.
const QUESTIONS: usize = 10_000;
/// Changes of one entity each.
const CHANGES: u64 = 1_000;

/// Neither a look nor a decision nor a change costs more among many entities, but for the memory that
/// is waited for: a look alone says how much that is.
pub(crate) fn by_number() {
    let stores: Vec<Store> = ENTITIES.iter().map(|number| Store::new(*number)).collect();
    for (how, skewed) in [("uniform", false), ("Zipf   ", true)] {
        tell_all(&format!("look, {how}"), &stores, |store| {
            let names = names(store, skewed);
            let snapshot = store.pdp.snapshot();
            Box::new(move || each(&names, |uid| black_box(snapshot.stored(uid)).is_some()))
        });
        tell_all(&format!("decide, {how}"), &stores, |store| {
            let questions = questions(store, skewed);
            let snapshot = store.pdp.snapshot();
            Box::new(move || each(&questions, |question| snapshot.decide(question)))
        });
    }
    for (what, moved) in [("attributes", 0), ("parents", 1)] {
        tell_all(&format!("change of a leaf's {what}"), &stores, |store| {
            let mut dice = Dice(3);
            let changes: Vec<Entity> = (0..CHANGES)
                .map(|at| {
                    let n = dice.below(usize::try_from(store.half).unwrap_or(1)) as u64;
                    entity(&user(n, n + moved * (at + 1), at, store.teams()))
                })
                .collect();
            Box::new(move || {
                once(&changes, |change| {
                    let changed = store.pdp.upsert_entities(vec![change.clone()]);
                    changed.expect("it fits");
                })
            })
        });
    }
}

fn tell_all<'a>(name: &str, stores: &'a [Store], measure: impl Fn(&'a Store) -> Measure<'a>) {
    let times: Vec<Times> = in_turn(stores.iter().map(measure));
    for (number, time) in ENTITIES.iter().zip(&times) {
        let beside = times.first().map(|few| time.beside(few));
        let beside = beside.unwrap_or_default();
        tell(&format!(
            "{name}, {number:>7} entities: {}; {beside}",
            time.text()
        ));
    }
}

/// Anyone of all, or some of them far more often than others.
fn one(store: &Store, dice: &mut Dice, skewed: bool) -> u64 {
    let all = usize::try_from(store.half).unwrap_or(1);
    let one = match skewed {
        // The hot ones lie anywhere among all.
        true => dice.skewed(all) * 7919 % all,
        false => dice.below(all),
    };
    one as u64
}

fn names(store: &Store, skewed: bool) -> Vec<EntityUid> {
    let mut dice = Dice(5);
    let names = (0..QUESTIONS).map(|_| store.user(one(store, &mut dice, skewed)));
    names.collect()
}

fn questions(store: &Store, skewed: bool) -> Vec<pdp::Question> {
    let (mut dice, mut names) = (Dice(7), Names::default());
    let questions = (0..QUESTIONS).map(|_| {
        let mut one = || one(store, &mut dice, skewed).to_string();
        let (who, what) = (one(), one());
        names.question(("User", &who), "view", ("Document", &what))
    });
    questions.collect()
}
