//! The entity store: what a change, a look and a decision cost among a thousand entities and among
//! a million, and what an entity takes of memory.

use std::hint::black_box;

use cedar_policy::{Context, Entity, EntityUid};
use criterion::Criterion;
use pdp::Question;

use crate::stored::{Store, entity, group_of, uid, user};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    // A million take half a minute to load: only for whoever asks for this group.
    let asked = std::env::args().any(|argument| argument.contains("store"));
    let sizes = [("1,000", 1_000), ("1,000,000", 1_000_000)];
    for (name, entities) in sizes.into_iter().take(if asked { 2 } else { 1 }) {
        let store = Store::new(entities);
        let mut dice = 1;
        group.bench_function(format!("look/{name}"), |bencher| {
            let snapshot = store.pdp.snapshot();
            let names: Vec<EntityUid> = (0..10_000).map(|_| store.user(roll(&mut dice))).collect();
            let mut names = names.iter().cycle();
            bencher.iter(|| {
                names
                    .next()
                    .map(|uid| black_box(snapshot.stored(uid)).is_some())
            });
        });
        group.bench_function(format!("decide/{name}"), |bencher| {
            let snapshot = store.pdp.snapshot();
            let mut question = || {
                let (who, what) = (roll(&mut dice), roll(&mut dice));
                Question {
                    principal: store.user(who),
                    action: uid("Action", "view"),
                    resource: uid("Document", &(what % store.half).to_string()),
                    context: Context::empty(),
                    entities: Vec::new(),
                    consistency: pdp::Consistency::default(),
                    expires_at: None,
                }
            };
            let questions: Vec<Question> = (0..10_000).map(|_| question()).collect();
            let mut questions = questions.iter().cycle();
            bencher.iter(|| questions.next().map(|question| snapshot.decide(question)));
        });
        for (what, moved) in [("attributes of a leaf", 0), ("parents of a leaf", 1)] {
            group.bench_function(format!("change of {what}/{name}"), |bencher| {
                let changes: Vec<Entity> = (0..1_000)
                    .map(|at| {
                        let n = roll(&mut dice) % store.half;
                        entity(&user(n, n + moved * (at + 1), at, store.teams()))
                    })
                    .collect();
                let mut changes = changes.iter().cycle();
                bencher.iter(|| {
                    let change = changes.next().into_iter().cloned().collect();
                    store.pdp.upsert_entities(change).expect("it fits");
                });
            });
        }
        group.bench_function(format!("a leaf comes and goes/{name}"), |bencher| {
            let new = [entity(&user(u64::MAX, 1, 1, store.teams()))];
            let name = [new[0].uid()];
            bencher.iter(|| {
                store.pdp.upsert_entities(new.to_vec()).expect("it fits");
                store.pdp.remove_entities(&name).expect("it is there");
            });
        });
        group.bench_function(
            format!("move of a team of {}/{name}", members(&store)),
            |bencher| {
                let team = store.teams() - 1;
                let parents = ["0", "1"].map(|parent| entity(&group_of("Team", team, parent)));
                let mut parents = parents.iter().cycle();
                bencher.iter(|| {
                    let change = parents.next().into_iter().cloned().collect();
                    store.pdp.upsert_entities(change).expect("it fits");
                });
            },
        );
    }
    group.finish();
}

/// How many users are in a team that has no other below it.
fn members(store: &Store) -> u64 {
    store.half / store.teams()
}

/// The next of many numbers that are spread evenly (a linear congruential generator).
fn roll(dice: &mut u64) -> u64 {
    *dice = dice
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *dice >> 33
}
