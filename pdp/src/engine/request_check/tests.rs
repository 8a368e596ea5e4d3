use std::borrow::Cow;

use cedar_policy::{Context, EntityUid, RestrictedExpression, Schema};
use cedar_policy_core::ast::Request;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;

const SCHEMA: &str = r#"
    entity Group;
    entity Color enum ["red", "green"];
    entity User, Doc in [Group];
    action group;
    action bare in [group] appliesTo { principal: [User, Color], resource: [Doc, Color] };
    action full appliesTo { principal: User, resource: Doc, context: {
        b?: Bool, n: Long, s?: String, u?: User, c?: Color, ip?: ipaddr, d?: decimal, t?: datetime,
        p?: duration, l?: Set<String>, us?: Set<User>, cs?: Set<Color>, e?: Set<Set<Long>>,
        r?: { x: Long, y?: Set<{ z: Bool }> }
    } };
"#;

/// A value that often is of the type that an attribute of this name has.
fn value(name: &'static str) -> BoxedStrategy<RestrictedExpression> {
    let parsed = |texts: Vec<&'static str>| {
        prop::sample::select(texts)
            .prop_map(|text| text.parse::<RestrictedExpression>().unwrap())
            .boxed()
    };
    let right = match name {
        "b" => parsed(vec!["true", "false"]),
        "n" => parsed(vec!["1", "-7"]),
        "s" => parsed(vec![r#""""#, r#""text""#]),
        "u" => parsed(vec![r#"User::"a""#, r#"User::"b""#]),
        "c" => parsed(vec![r#"Color::"red""#, r#"Color::"blue""#]),
        "ip" => parsed(vec![r#"ip("10.0.0.1")"#, r#"ip("::/8")"#]),
        "d" => parsed(vec![r#"decimal("1.5")"#]),
        "t" => parsed(vec![
            r#"datetime("2026-01-01")"#,
            r#"datetime("2026-01-01").offset(duration("1h"))"#,
        ]),
        "p" => parsed(vec![r#"duration("1d")"#]),
        "l" => parsed(vec!["[]", r#"["a", "b"]"#]),
        "us" => parsed(vec!["[]", r#"[User::"a", User::"b"]"#]),
        "cs" => parsed(vec![
            "[]",
            r#"[Color::"red"]"#,
            r#"[Color::"red", Color::"blue"]"#,
        ]),
        "e" => parsed(vec!["[]", "[[]]", "[[1], [2, 3]]"]),
        _ => parsed(vec![
            "{x: 1}",
            "{x: 1, y: []}",
            "{x: 1, y: [{z: true}, {z: false}]}",
        ]),
    };
    let wrong = parsed(vec![
        "true",
        "1",
        r#""text""#,
        r#"User::"a""#,
        r#"Doc::"a""#,
        r#"Color::"red""#,
        r#"Action::"full""#,
        r#"Nothing::"a""#,
        r#"ip("::1")"#,
        r#"decimal("1.0")"#,
        r#"duration("1s")"#,
        "[1]",
        r#"["a", 1]"#,
        "{}",
        "{x: 1, y: 2}",
        "{x: 1, more: 2}",
        "{y: []}",
        "{x: 1, y: [{z: 1}]}",
    ]);
    prop_oneof![15 => right, 1 => wrong].boxed()
}

fn context() -> impl Strategy<Value = Context> {
    let names = [
        "n", "b", "s", "u", "c", "ip", "d", "t", "p", "l", "us", "cs", "e", "r", "unheard",
    ];
    let members: Vec<_> = names
        .into_iter()
        .map(|name| {
            let share = match name {
                "n" => 0.95,
                "unheard" => 0.02,
                _ => 0.3,
            };
            prop::option::weighted(
                share,
                value(name).prop_map(move |value| (name.to_owned(), value)),
            )
        })
        .collect();
    let full =
        members.prop_map(|members| Context::from_pairs(members.into_iter().flatten()).unwrap());
    prop_oneof![4 => full, 1 => Just(Context::empty())]
}

fn uid(kinds: &'static [&'static str]) -> impl Strategy<Value = EntityUid> {
    let id = prop::sample::select(vec!["a", "red"]);
    (prop::sample::select(kinds), id)
        .prop_map(|(kind, id)| format!("{kind}::\"{id}\"").parse().unwrap())
}

#[test]
fn what_surely_fits_cedar_accepts_and_most_of_what_it_accepts_surely_fits() {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    let schema: &ValidatorSchema = schema.as_ref();
    let check = RequestCheck::new(schema);
    let (mut accepted, mut sure) = (0, 0);
    let questions = (
        uid(&[
            "User", "User", "User", "User", "Color", "Doc", "Nothing", "Action",
        ]),
        prop::sample::select(vec![
            "full", "full", "full", "bare", "bare", "group", "unheard",
        ]),
        uid(&["Doc", "Doc", "Doc", "Doc", "Color", "User", "Group"]),
        context(),
    );
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..4000 {
        let question = questions.new_tree(&mut runner).unwrap().current();
        let (principal, action, resource, context) = question;
        let action: EntityUid = format!("Action::\"{action}\"").parse().unwrap();
        let fits = check.surely_fits(&Asked {
            principal: Cow::Owned(Uid::of(principal.as_ref())),
            action: Cow::Owned(Uid::of(action.as_ref())),
            resource: Cow::Owned(Uid::of(resource.as_ref())),
            principal_kind: principal.as_ref().entity_type(),
            resource_kind: resource.as_ref().entity_type(),
            principal_stored: None,
            resource_stored: None,
            context: context.as_ref(),
        });
        let request = Request::new(
            (principal.as_ref().clone(), None),
            (action.as_ref().clone(), None),
            (resource.as_ref().clone(), None),
            context.as_ref().clone(),
            Some(schema),
            Extensions::all_available(),
        );
        accepted += usize::from(request.is_ok());
        sure += usize::from(fits);
        assert!(
            !fits || request.is_ok(),
            "{principal} {action} {resource} {context:?}"
        );
    }
    // Else the test would show little, and the check save little.
    assert!(accepted > 200, "{accepted}");
    assert!(sure * 4 > accepted * 3, "{sure} of {accepted}");
}
