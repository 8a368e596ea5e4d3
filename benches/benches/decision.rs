//! The decision alone, on the `fortress` pack.

use std::collections::{HashMap, HashSet};
use std::hint::black_box;

use cedar_policy::{Context, Entity, EntityId, EntityUid, RestrictedExpression};
use criterion::Criterion;
use pdp::{Namespace, Question};

use crate::fixture;

pub(crate) fn bench(criterion: &mut Criterion) {
    let pdp = fixture::pdp();
    let snapshot = pdp.snapshot();
    let mut group = criterion.benchmark_group("decision");
    for (name, resource, allowed) in [("allowed", "user-1", true), ("denied", "user-2", false)] {
        let question = question(pdp.namespace(), resource);
        let answer = snapshot.decide(&question);
        assert_eq!(answer.is_allow(), allowed, "{answer:?}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| snapshot.decide(black_box(&question)))
        });
    }
    group.finish();
}

/// Whether `user-1`, an end user, may read a profile.
pub(crate) fn question(namespace: &Namespace, resource: &str) -> Question {
    let user_type = namespace.entity_type("User").expect("a type");
    let user = |id: &str| EntityUid::from_type_name_and_id(user_type.clone(), EntityId::new(id));
    let attributes = HashMap::from([(
        "user_type".to_owned(),
        RestrictedExpression::new_string("end_user".to_owned()),
    )]);
    let principal = user("user-1");
    Question {
        principal: principal.clone(),
        action: namespace.action("read_user").expect("an action"),
        resource: user(resource),
        context: Context::empty(),
        entities: vec![Entity::new(principal, attributes, HashSet::new()).expect("an entity")],
        consistency: pdp::Consistency::default(),
        expires_at: None,
    }
}
