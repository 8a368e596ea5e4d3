use std::collections::BTreeMap;
use std::path::PathBuf;

use cedar_policy::{Effect, PolicySet, SlotId};
use serde_json::json;

use super::super::read;
use super::*;

fn text(path: &str, content: impl Into<String>) -> Text {
    Text {
        path: PathBuf::from(path),
        content: content.into(),
    }
}

fn policies(texts: &[Text]) -> Result<Policies, Vec<String>> {
    let mut problems = Vec::new();
    let mut names = Names::new(None, None, None);
    let policies = read(texts, Ids::Annotated, &mut names, &mut problems);
    match problems.is_empty() {
        true => Ok(policies),
        false => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

fn file(templates: Value, policies: Value, links: Value) -> String {
    json!({ "templates": templates, "staticPolicies": policies, "templateLinks": links })
        .to_string()
}

fn link(template: &str, id: &str, slot: &str) -> Value {
    json!({
        "templateId": template,
        "newId": id,
        "values": { slot: { "__entity": { "type": "User", "id": "a" } } },
    })
}

/// Everything that can be told of a set.
fn shown(set: &PolicySet) -> Vec<String> {
    let core: &cedar_policy_core::ast::PolicySet = set.as_ref();
    let mut all: Vec<String> = core
        .policies()
        .map(|policy| {
            let slots: BTreeMap<_, _> = policy.env().iter().collect();
            format!("{} {} {slots:?}", policy.id(), policy.condition())
        })
        .chain(
            core.templates()
                .map(|template| format!("{} {template}", template.id())),
        )
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn a_file_is_what_cedar_reads_in_it() {
    let written = r#"
        permit(principal in Group::"g", action in [Action::"a", Action::"b"], resource is Doc in Folder::"f")
            when { principal.age > 3 && resource has a.b } unless { context.ip.isInRange(ip("10.0.0.0/8")) };
        forbid(principal, action, resource) when { [1, {a: "x*y"}].contains(principal.x) || resource.name like "a\**" };
        permit(principal == ?principal, action, resource in ?resource) when { if context.a then true else -1 < 2 };
    "#;
    let mut set: PolicySet = written.parse().unwrap();
    let uid = |uid: &str| uid.parse::<EntityUid>().unwrap();
    let values = HashMap::from([
        (SlotId::principal(), uid(r#"User::"a \" b""#)),
        (SlotId::resource(), uid(r#"A::Folder::"f""#)),
    ]);
    set.link(PolicyId::new("policy2"), PolicyId::new("link"), values)
        .unwrap();
    let json = set.clone().to_json().unwrap().to_string();
    let cedars = PolicySet::from_json_str(&json).unwrap();
    let ours = policies(&[text("p.cedar.json", json)]).unwrap();
    assert_eq!(ours.origins.len(), 4);
    assert!(ours.height > 3);
    // The links are not kept among Cedar's, but can be had there.
    let kept = crate::policies::Policies::new(ours.set, ours.links);
    assert_eq!((kept.written().num_of_policies(), kept.count()), (2, 3));
    assert_eq!(shown(kept.whole()), shown(&cedars));
}

#[test]
fn ids_are_those_of_annotations_and_links_find_their_templates() {
    let template = r#"@id("shared") permit(principal == ?principal, action, resource);"#;
    let inner = json!({
        "effect": "permit",
        "principal": { "op": "==", "slot": "?principal" },
        "action": { "op": "All" },
        "resource": { "op": "All" },
        "conditions": [],
        "annotations": { "id": "named" },
    });
    let links = json!([
        link("shared", "one", "?principal"),
        link("inner", "two", "?principal"),
    ]);
    let texts = [
        // Before the templates, which makes no difference.
        text(
            "a.cedar.json",
            file(json!({ "inner": inner }), json!({}), links),
        ),
        text("b.cedar", template),
    ];
    let policies = policies(&texts).unwrap();
    let ids: Vec<_> = policies.texts().map(|(id, _)| id.to_owned()).collect();
    assert_eq!(ids, ["named", "one", "shared", "two"]);
    let of = |id: &str| {
        let link = policies.links.iter().find(|link| &*link.id == id);
        link.unwrap().template.to_string()
    };
    assert_eq!((of("one"), of("two")), ("shared".into(), "named".into()));
    let kept = crate::policies::Policies::new(policies.set, policies.links);
    let described = kept.describe("two").unwrap();
    assert_eq!(described, (Effect::Permit, vec![("id", "named")]));
    assert!(kept.describe("named").is_none());
    assert!(kept.actions().is_empty());
}

#[test]
fn mistakes_are_told_where_they_stand() {
    let policy = |conditions: Value| {
        json!({
            "effect": "permit",
            "principal": { "op": "All" },
            "action": { "op": "All" },
            "resource": { "op": "All" },
            "conditions": conditions,
        })
    };
    let plain = policy(json!([]));
    let mut deep = json!({ "Value": true });
    for _ in 0..200 {
        deep = json!({ "!": { "arg": deep } });
    }
    let many: Vec<Value> = (0..1100)
        .map(|_| json!({ "kind": "when", "body": { "Value": true } }))
        .collect();
    for (content, expected) in [
        ("{", "p.cedar.json:1:1: is not a policy set in JSON: "),
        ("[]", "p.cedar.json:1:"),
        (r#"{"templates":{}}"#, "missing field `staticPolicies`"),
        (
            r#"{"templates":{},"staticPolicies":{},"templateLinks":[],"links":[]}"#,
            "unknown field `links`",
        ),
        (
            &file(json!({}), json!({ "a": { "effect": "allow" } }), json!([])),
            "policy `a`: ",
        ),
        (
            &file(
                json!({}),
                json!({ "a": plain }),
                json!([link("t", "b", "?principal")]),
            ),
            "link `b`: ",
        ),
        (
            &file(
                json!({}),
                json!({ "a": plain }),
                json!([link("a", "b", "?principal")]),
            ),
            "link `b`: ",
        ),
        (
            &file(json!({}), json!({}), json!([link("a", "b", "?action")])),
            "there is no slot `?action`",
        ),
        (
            r#"{"templates":{},"staticPolicies":{},"templateLinks":[{"templateId":"a","newId":"b","values":{"?principal":{"type":"U","id":"a"},"?principal":{"type":"U","id":"b"}}}]}"#,
            "duplicate field `?principal`",
        ),
        (
            &file(
                json!({}),
                json!({ "a": policy(json!([{ "kind": "when", "body": deep }])) }),
                json!([]),
            ),
            "nests more than 120 deep",
        ),
        (
            &file(json!({}), json!({ "a": policy(json!(many)) }), json!([])),
            "policy `a`: is too deep: conditions are ",
        ),
    ] {
        let problems = policies(&[text("p.cedar.json", content)]).unwrap_err();
        assert!(problems[0].contains(expected), "{expected}: {problems:?}");
        assert!(problems[0].starts_with("p.cedar.json:1:"), "{problems:?}");
    }
    let twice = format!(
        "{{\"templates\":{{}},\"templateLinks\":[],\n\"staticPolicies\":{{\"a\":{plain},\n\"a\":{plain}}}}}"
    );
    let problems = policies(&[text("p.cedar.json", twice)]).unwrap_err();
    assert_eq!(
        problems,
        ["p.cedar.json:3:5: the policy id `a` is already taken at p.cedar.json:2:23"]
    );
}
