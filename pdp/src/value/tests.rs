use std::hash::BuildHasher as _;

use cedar_policy_core::evaluator::RestrictedEvaluator;
use cedar_policy_core::extensions::Extensions;
use proptest::prelude::*;

use super::*;

/// Extension values in several spellings, some of the same value.
fn extension() -> impl Strategy<Value = ast::Value> {
    let text = prop::sample::select(vec![
        r#"ip("10.0.0.1")"#,
        r#"ip("10.0.0.1/32")"#,
        r#"ip("10.0.0.0/8")"#,
        r#"ip("::1")"#,
        r#"decimal("1.5")"#,
        r#"decimal("1.5000")"#,
        r#"decimal("-1.5")"#,
        r#"datetime("2026-01-01")"#,
        r#"datetime("2026-01-01T00:00:00Z")"#,
        r#"duration("1d")"#,
        r#"duration("24h")"#,
    ]);
    text.prop_map(|text| {
        let expression: ast::RestrictedExpr = text.parse().unwrap();
        let extensions = Extensions::all_available();
        RestrictedEvaluator::new(extensions)
            .interpret(expression.as_borrowed())
            .unwrap()
    })
}

fn values() -> impl Strategy<Value = ast::Value> {
    let uid = prop::sample::select(vec![r#"U::"a""#, r#"U::"b""#, r#"A::U::"a""#]);
    let leaf = prop_oneof![
        any::<bool>().prop_map(ast::Value::from),
        prop_oneof![-2..3_i64, any::<i64>()].prop_map(ast::Value::from),
        "[ab]{0,2}".prop_map(|text| ast::Value::from(text.as_str())),
        uid.prop_map(|uid| ast::Value::from(uid.parse::<ast::EntityUID>().unwrap())),
        extension(),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|members| ast::Value::set(members, None)),
            prop::collection::btree_map("[ab]{1,2}", inner, 0..3)
                .prop_map(|pairs| ast::Value::record(pairs, None)),
        ]
    })
}

fn hash(value: &Value) -> u64 {
    foldhash::fast::FixedState::default().hash_one(value)
}

proptest! {
    #[test]
    fn values_are_what_cedars_are(a in values(), b in values()) {
        let (ours, other) = (Value::of(&a), Value::of(&b));
        prop_assert_eq!(ours.to_cedar(), a.clone());
        prop_assert_eq!(Value::of(&ours.to_cedar()), ours.clone());
        prop_assert_eq!(ours == other, a == b);
        prop_assert_eq!(ours.cmp(&other), a.cmp(&b));
        if a == b {
            prop_assert_eq!(hash(&ours), hash(&other));
        }
    }

    #[test]
    fn sets_answer_as_cedars_do(
        a in prop::collection::vec(values(), 0..5),
        b in prop::collection::vec(values(), 0..5),
        one in values(),
        shared in any::<bool>(),
    ) {
        let b = if shared { a.iter().take(2).cloned().chain(b).collect() } else { b };
        let (theirs, other) = (ast::Set::new(a.clone()), ast::Set::new(b.clone()));
        let ours = |members: &[ast::Value]| Set::new(members.iter().map(Value::of));
        let (set, another) = (ours(&a), ours(&b));
        prop_assert_eq!(set.len(), theirs.len());
        prop_assert_eq!(set.is_empty(), theirs.is_empty());
        prop_assert_eq!(set.is_subset(&another), theirs.is_subset(&other));
        prop_assert_eq!(another.is_subset(&set), other.is_subset(&theirs));
        prop_assert_eq!(set.is_disjoint(&another), theirs.is_disjoint(&other));
        for value in a.iter().chain([&one]) {
            prop_assert_eq!(set.contains(&Value::of(value)), theirs.contains(value));
        }
    }
}

#[test]
fn records_are_searched_by_name() {
    let record = Record::new([
        ("b".into(), Value::Long(1)),
        ("a".into(), Value::Bool(true)),
        ("b".into(), Value::Long(2)),
    ]);
    assert_eq!(record.get("b"), Some(&Value::Long(2)));
    assert_eq!(record.get("a"), Some(&Value::Bool(true)));
    assert_eq!(record.get(""), None);
    assert_eq!(record.len(), 2);
    assert_eq!(Record::default().len(), 0);
}

#[test]
fn names_are_found_wherever_they_stand() {
    let uid = |id: &str| Uid::of(&format!("U::\"{id}\"").parse().unwrap());
    let value = Value::Record(Record::new([
        ("a".into(), Value::Entity(uid("1"))),
        (
            "b".into(),
            Value::Set(Set::new([Value::Long(1), Value::Entity(uid("2"))])),
        ),
    ]));
    let mut names = Vec::new();
    value.names(&mut |uid| names.push(uid.clone()));
    assert_eq!(names, [uid("1"), uid("2")]);
}

#[test]
fn a_value_takes_little_room() {
    assert!(size_of::<Value>() <= 24, "{}", size_of::<Value>());
}

#[test]
fn attributes_are_those_of_the_record_they_are_made_of() {
    let pair = |n: i64| (SmolStr::from(format!("k{n}")), Value::Long(n));
    for count in 0..8 {
        let record = Record::new((0..count).map(pair));
        let attributes = Attributes::from(&record);
        assert!(attributes.are(&record));
        assert_eq!(Record::from(&attributes), record);
        assert!(attributes.iter().eq(record.iter()));
        for n in 0..9 {
            let key = format!("k{n}");
            assert_eq!(attributes.get(&key), record.get(&key));
        }
        for other in [count + 1, count.wrapping_sub(1).max(0), 8] {
            let other = Record::new((0..other).map(pair));
            assert_eq!(attributes.are(&other), record == other);
            assert_eq!(attributes == Attributes::from(&other), record == other);
        }
        let mut changed = Record::new((0..count).map(|n| (pair(n).0, Value::Bool(true))));
        assert_eq!(attributes.are(&changed), count == 0);
        changed = Record::new((1..=count).map(pair));
        assert_eq!(attributes.are(&changed), count == 0);
    }
}
