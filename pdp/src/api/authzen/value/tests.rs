use std::collections::BTreeMap;

use cedar_policy::{Context, EvalResult, Expression, Schema};
use serde_json::json;

use super::*;
use crate::namespace::Namespace;

const SCHEMA: &str = r#"namespace Lab {
    entity User;
    action a appliesTo { principal: User, resource: User, context: {
        bool?: Bool, long?: Long, string?: String, ip?: ipaddr, decimal?: decimal, at?: datetime,
        lapse?: duration, who?: User, set?: Set<Long>, people?: Set<User>,
        record?: { n?: Long, inner?: { at?: datetime } },
    }};
}"#;

fn types() -> Types {
    let renamed = BTreeMap::from([("user".to_owned(), "User".to_owned())]);
    Types::new(&renamed, &Namespace::new(Some("Lab")).unwrap(), None).unwrap()
}

/// What becomes of a value: `Ok(true)` if it is what `cedar` says in Cedar's syntax.
fn is(
    pairs: Result<Vec<(String, RestrictedExpression)>, Misfit>,
    cedar: &str,
) -> Result<bool, String> {
    let pairs = pairs.map_err(|misfit| misfit.to_string())?;
    let context = Context::from_pairs(pairs).map_err(|error| format!("evaluation: {error}"))?;
    let request = cedar_policy::Request::new(
        "P::\"\"".parse().unwrap(),
        "Action::\"\"".parse().unwrap(),
        "R::\"\"".parse().unwrap(),
        context,
        None,
    );
    let expression: Expression = cedar.parse().unwrap();
    let result = cedar_policy::eval_expression(
        &request.unwrap(),
        &cedar_policy::Entities::empty(),
        &expression,
    );
    match result {
        Ok(EvalResult::Bool(value)) => Ok(value),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn a_declared_type_says_what_a_value_is() {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    let action = "Lab::Action::\"a\"".parse().unwrap();
    let shape = ContextShape::of(&schema, &action).unwrap();
    let good = [
        (json!({"bool": true}), "context.bool"),
        (json!({"long": -7}), "context.long == -7"),
        (json!({"long": 7.0}), "context.long == 7"),
        (
            json!({"long": i64::MIN}),
            "context.long == -9223372036854775808",
        ),
        (
            json!({"string": "\u{1f600}\u{0}\"\\"}),
            "context.string like \"\u{1f600}*\\\\\"",
        ),
        (
            json!({"ip": "10.0.0.0/8"}),
            "context.ip.isInRange(ip(\"10.0.0.0/8\"))",
        ),
        (
            json!({"decimal": "1.5"}),
            "context.decimal == decimal(\"1.5\")",
        ),
        (
            json!({"decimal": 1.5}),
            "context.decimal == decimal(\"1.5\")",
        ),
        (
            json!({"decimal": -12}),
            "context.decimal == decimal(\"-12.0\")",
        ),
        (
            json!({"at": "1985-10-26T01:22-07:00"}),
            "context.at == datetime(\"1985-10-26T08:22:00Z\")",
        ),
        (
            json!({"at": "1985-10-26"}),
            "context.at == datetime(\"1985-10-26\")",
        ),
        (
            json!({"lapse": "1d2h"}),
            "context.lapse == duration(\"26h\")",
        ),
        (
            json!({"who": {"type": "user", "id": "a"}}),
            "context.who == Lab::User::\"a\"",
        ),
        (
            json!({"who": {"type": "Lab::User", "id": "a", "more": 1}}),
            "context.who == Lab::User::\"a\"",
        ),
        (
            json!({"who": {"__entity": {"type": "User", "id": "a"}}}),
            "context.who == Lab::User::\"a\"",
        ),
        (json!({"set": [1, 2, 2, 3.0]}), "context.set == [3, 2, 1]"),
        (json!({"set": []}), "context.set.isEmpty()"),
        (
            json!({"people": [{"type": "user", "id": "a"}]}),
            "context.people.contains(Lab::User::\"a\")",
        ),
        (
            json!({"record": {"n": 1, "x": 1.5}}),
            "context.record == {n: 1}",
        ),
        (
            json!({"record": {"inner": {"at": "1985-10-26"}}}),
            "context.record.inner.at < datetime(\"1985-10-27\")",
        ),
        // What is not declared does not exist, and what is null is not there.
        (
            json!({"weather": [1.5, null, {"__extn": {"fn": "unknown", "arg": "x"}}]}),
            "!(context has weather)",
        ),
        (
            json!({"long": null, "record": {"n": null}}),
            "!(context has long) && !(context.record has n)",
        ),
    ];
    for (given, expected) in good {
        let members = given.as_object().unwrap().clone();
        assert_eq!(
            is(declared(members, &shape, &types()), expected),
            Ok(true),
            "{given}"
        );
    }
    let bad = [
        (json!({"bool": "true"}), "`bool` is not a boolean"),
        (json!({"bool": 1}), "`bool` is not a boolean"),
        (json!({"long": "7"}), "`long` is not an integer of 64 bits"),
        (json!({"long": 7.5}), "`long` is not an integer of 64 bits"),
        (
            json!({"long": 1e300}),
            "`long` is not an integer of 64 bits",
        ),
        (
            json!({"long": u64::MAX}),
            "`long` is not an integer of 64 bits",
        ),
        (json!({"string": 7}), "`string` is not a string"),
        (json!({"string": ["a"]}), "`string` is not a string"),
        (
            json!({"ip": 7}),
            "`ip` is not a string that holds an IP address",
        ),
        (json!({"ip": "10.0.0.256"}), "evaluation: "),
        (json!({"decimal": 0.12345}), "evaluation: "),
        (json!({"decimal": 1e300}), "evaluation: "),
        (
            json!({"at": 0}),
            "`at` is not a string that holds a date and time",
        ),
        (json!({"at": "yesterday"}), "evaluation: "),
        (json!({"lapse": "1 day"}), "evaluation: "),
        (json!({"who": "a"}), "`who` is not an entity: "),
        (json!({"who": {"type": "user"}}), "`who` is not an entity: "),
        (
            json!({"who": {"type": "a b", "id": "a"}}),
            "`who` is not an entity: ",
        ),
        (json!({"set": {"0": 1}}), "`set` is not an array"),
        (
            json!({"set": [1, null]}),
            "`set.1` is not an integer of 64 bits",
        ),
        (json!({"record": []}), "`record` is not an object"),
        (
            json!({"record": {"inner": {"at": 1}}}),
            "`record.inner.at` is not a string that holds a date and time",
        ),
        (
            json!({"string": {"__extn": {"fn": "unknown", "arg": "x"}}}),
            "`string` is not a string",
        ),
    ];
    for (given, expected) in bad {
        let members = given.as_object().unwrap().clone();
        let error = is(declared(members, &shape, &types()), "true").unwrap_err();
        assert!(error.starts_with(expected), "{given}: {error}");
    }
}

#[test]
fn without_a_schema_json_says_it_itself() {
    let good = [
        (
            json!({"a": [true, 1, "x", {"b": {}}]}),
            "context.a == [true, 1, \"x\", {b: {}}]",
        ),
        (json!({"a": null, "b": {"c": null}}), "context == {b: {}}"),
        (
            json!({"a": {"__entity": {"type": "user", "id": "x"}}}),
            "context.a == Lab::User::\"x\"",
        ),
        (
            json!({"a": {"__extn": {"fn": "ip", "arg": "::1"}}}),
            "context.a.isLoopback()",
        ),
        (
            json!({"a": {"type": "user", "id": "x"}}),
            "context.a == {type: \"user\", id: \"x\"}",
        ),
    ];
    for (given, expected) in good {
        let members = given.as_object().unwrap().clone();
        assert_eq!(
            is(undeclared(members, &types()), expected),
            Ok(true),
            "{given}"
        );
    }
    let bad = [
        (json!({"a": 1.5}), "`a` is not an integer of 64 bits"),
        (
            json!({"a": {"b": [1, 1e99]}}),
            "`a.b.1` is not an integer of 64 bits",
        ),
        (
            json!({"a": [null]}),
            "`a.0` is not a value that Cedar has, which null is not",
        ),
        (
            json!({"a": {"__entity": "x"}}),
            "`a.__entity` is not an entity: ",
        ),
        (
            json!({"a": {"__extn": {"fn": "unknown", "arg": "x"}}}),
            "`a.__extn` is not `{\"fn\":…,\"arg\":…}`",
        ),
        (
            json!({"a": {"__extn": {"fn": "ip", "arg": "x"}}}),
            "evaluation: ",
        ),
    ];
    for (given, expected) in bad {
        let members = given.as_object().unwrap().clone();
        let error = is(undeclared(members, &types()), "true").unwrap_err();
        assert!(error.starts_with(expected), "{given}: {error}");
    }
}
