//! Cases: policies, schema, entities and a request, and what must come of them.

use cedar_policy::Entity;

use super::*;
use crate::api::{Asked, ask};
use crate::load::{Ids, Rules, Text, Texts, build};
use crate::namespace::Namespace;
use crate::question::Consistency;

const SCHEMA: &str = r#"
namespace Shop {
    entity Group in [Group];
    entity Color enum ["red", "green"];
    entity User in [Group] { age?: Long, ip?: ipaddr };
    entity Doc in [Group] { owner?: User, public?: Bool } tags String;
    action read;
    action view in [read] appliesTo { principal: User, resource: Doc, context: { mfa?: Bool, ip?: ipaddr, at?: datetime } };
    action edit appliesTo { principal: User, resource: Doc, context: { mfa: Bool } };
    action paint appliesTo { principal: User, resource: Color };
}
"#;

const ENTITIES: &str = r#"[
    {"uid":{"type":"Shop::Group","id":"all"},"attrs":{},"parents":[]},
    {"uid":{"type":"Shop::Group","id":"staff"},"attrs":{},"parents":[{"type":"Shop::Group","id":"all"}]},
    {"uid":{"type":"Shop::User","id":"ann"},"attrs":{"age":40},"parents":[{"type":"Shop::Group","id":"staff"}]},
    {"uid":{"type":"Shop::User","id":"ben"},"attrs":{"age":10,"ip":"10.0.0.1"},"parents":[]},
    {"uid":{"type":"Shop::Doc","id":"plan"},"attrs":{"owner":{"type":"Shop::User","id":"ann"}},"parents":[],"tags":{"kind":"secret"}}
]"#;

const POLICIES: &str = r#"
    @id("staff_read") permit(principal in Shop::Group::"all", action in Shop::Action::"read", resource);
    @id("owner_edit") permit(principal, action == Shop::Action::"edit", resource)
        when { resource has owner && resource.owner == principal && context.mfa };
    @id("no_children") forbid(principal, action, resource) when { principal has age && principal.age < 18 };
    @id("local_only") forbid(principal, action, resource is Shop::Doc)
        when { resource.hasTag("kind") && resource.getTag("kind") == "secret" }
        when { context has ip && !context.ip.isLoopback() };
    @id("overflow") permit(principal, action == Shop::Action::"paint", resource)
        when { principal has age && principal.age + 9223372036854775807 > 0 };
    @id("painters") permit(principal, action == Shop::Action::"paint", resource == Shop::Color::"red");
    @id("template") permit(principal == ?principal, action, resource);
"#;

fn snapshot(on_error: OnError) -> Snapshot {
    let text = |path: &str, content: &str| Text {
        path: path.into(),
        content: content.to_owned(),
    };
    build(
        Texts {
            policies: vec![text("p.cedar", POLICIES)],
            schema: Some(text("s.cedarschema", SCHEMA)),
            entities: Some(text("e.json", ENTITIES)),
        },
        Rules {
            ids: Ids::Annotated,
            validate: true,
            on_error,
        },
    )
    .unwrap()
}

/// `ALLOW|DENY policies`, then each error as `! policy` or `! message`.
fn summary(answer: &Answer) -> String {
    let mut summary = answer.decision_name().to_owned();
    for policy in &answer.determining_policies {
        summary = format!("{summary} {policy}");
    }
    for error in &answer.errors {
        summary = format!(
            "{summary} ! {}",
            error.policy.as_deref().unwrap_or(&error.message)
        );
    }
    summary
}

fn one(request: &str, on_error: OnError) -> String {
    let namespace = Namespace::new(Some("Shop")).unwrap();
    match ask(request.as_bytes(), 32, &snapshot(on_error), &namespace).unwrap() {
        Asked::One(Ok(answer)) => {
            assert_eq!(answer.source, Source::Engine);
            summary(&answer)
        }
        Asked::One(Err(refusal)) => format!("{} {}", refusal.code, refusal.message),
        Asked::Many(_) => panic!("one was asked"),
    }
}

#[test]
fn cases() {
    let scope = |principal: &str, action: &str, resource: &str| {
        format!(
            r#""principal":"User::\"{principal}\"","action":"{action}","resource":"{resource}""#
        )
    };
    let doc = |principal: &str, action: &str, id: &str, rest: &str| {
        format!(
            "{{{}{rest}}}",
            scope(principal, action, &format!("Doc::\\\"{id}\\\""))
        )
    };
    let color = |id: &str| {
        format!(
            "{{{}}}",
            scope("ann", "paint", &format!("Color::\\\"{id}\\\""))
        )
    };
    let given = |age: &str, parent: &str| {
        format!(
            r#","entities":[{{"uid":{{"type":"Shop::User","id":"zoe"}},"attrs":{{{age}}},"parents":[{{"type":"Shop::Group","id":"{parent}"}}]}}]"#
        )
    };
    for (request, expected) in [
        (doc("ann", "view", "plan", ""), "ALLOW staff_read"),
        (doc("ann", "view", "unknown", ""), "ALLOW staff_read"),
        (doc("ben", "view", "plan", ""), "DENY no_children"),
        (doc("nobody", "view", "plan", ""), "DENY"),
        (
            doc("ann", "view", "plan", r#","context":{"ip":"8.8.8.8"}"#),
            "DENY local_only",
        ),
        (
            doc("ann", "view", "plan", r#","context":{"ip":"127.0.0.1"}"#),
            "ALLOW staff_read",
        ),
        (
            doc("ann", "view", "plan", r#","context":{"at":"2026-01-31"}"#),
            "ALLOW staff_read",
        ),
        (
            doc("ann", "edit", "plan", r#","context":{"mfa":true}"#),
            "ALLOW owner_edit",
        ),
        (
            doc("ann", "edit", "plan", r#","context":{"mfa":false}"#),
            "DENY",
        ),
        (color("red"), "DENY ! overflow"),
        (
            doc("zoe", "view", "plan", &given("", "all")),
            "ALLOW staff_read",
        ),
        (
            doc("zoe", "view", "plan", &given("", "staff")),
            "ALLOW staff_read",
        ),
        (
            doc("zoe", "view", "plan", &given(r#""age":3"#, "staff")),
            "DENY no_children",
        ),
        (doc("zoe", "view", "plan", &given("", "other")), "DENY"),
        (
            doc("ann", "edit", "plan", ""),
            "DENY ! context `{}` is not valid for `Shop::Action::\"edit\"`",
        ),
        (
            doc("ann", "nope", "plan", ""),
            "DENY ! request's action `Shop::Action::\"nope\"` is not declared in the schema",
        ),
        (
            doc("ann", "read", "plan", ""),
            "DENY ! principal type `Shop::User` is not valid for `Shop::Action::\"read\"`",
        ),
        (
            format!("{{{}}}", scope("ann", "view", "User::\\\"ann\\\"")),
            "DENY ! resource type `Shop::User` is not valid for `Shop::Action::\"view\"`",
        ),
    ] {
        assert_eq!(one(&request, OnError::Deny), expected, "{request}");
    }
    assert_eq!(
        one(&color("red"), OnError::Cedar),
        "ALLOW painters ! overflow"
    );
    let starts = |request: &str, expected: &str| {
        let got = one(request, OnError::Deny);
        assert!(got.starts_with(expected), "{request}: {got}");
    };
    starts(
        &color("blue"),
        "DENY ! entity `Shop::Color::\"blue\"` is of an enumerated",
    );
    starts(
        &doc("ann", "view", "plan", r#","context":{"mfa":"yes"}"#),
        "DENY ! context `",
    );
    starts(
        &doc("ann", "view", "plan", r#","context":{"extra":1}"#),
        "DENY ! context: ",
    );
    starts(
        &doc("ann", "nope", "plan", r#","context":{}"#),
        "DENY ! context: action",
    );
    starts(
        &doc("zoe", "view", "plan", &given(r#""age":"x""#, "staff")),
        "DENY ! entities: ",
    );
    starts(
        &doc("zoe", "view", "plan", &given(r#""more":1"#, "staff")),
        "DENY ! entities: ",
    );
    starts(
        &doc("ann", "view", "plan", r#","context":{"mfa":null}"#),
        "invalid_request `context`: ",
    );
    starts(
        &doc("ann", "view", "plan", r#","context":[]"#),
        "invalid_request `context`: ",
    );
    starts(
        &doc("ann", "view", "plan", r#","entities":[{}]"#),
        "invalid_request `entities`: ",
    );
    starts("{}", "invalid_request `principal` is missing");
}

#[test]
fn an_answer_names_the_snapshot_that_gave_it() {
    let snapshot = snapshot(OnError::Deny);
    assert_eq!(&snapshot.refused("").revision, snapshot.revision());
    assert_eq!(snapshot.entity_count(), 5 + 4);
    let ann: EntityUid = r#"Shop::User::"ann""#.parse().unwrap();
    assert_eq!(snapshot.stored(&ann).unwrap().uid(), ann);
    assert!(
        snapshot
            .context_shape(&r#"Shop::Action::"edit""#.parse().unwrap())
            .unwrap()
            .get("mfa")
            .unwrap()
            .required
    );
    let (effect, annotations) = snapshot.describe("no_children").unwrap();
    assert_eq!(
        (effect, annotations),
        (Effect::Forbid, vec![("id", "no_children")])
    );
}

#[test]
fn entities_given_with_a_question_are_held_to_the_schema() {
    let snapshot = snapshot(OnError::Deny);
    let parse = |text: &str| Entity::from_json_str(text, None).unwrap();
    let decide = |entities: Vec<Entity>| {
        let answer = snapshot.decide(&Question {
            principal: r#"Shop::User::"ann""#.parse().unwrap(),
            action: r#"Shop::Action::"view""#.parse().unwrap(),
            resource: r#"Shop::Doc::"plan""#.parse().unwrap(),
            context: cedar_policy::Context::empty(),
            entities,
            consistency: Consistency::default(),
            expires_at: None,
        });
        summary(&answer)
    };
    let user = |attributes: &str| {
        parse(&format!(
            r#"{{"uid":{{"type":"Shop::User","id":"ann"}},"attrs":{attributes},"parents":[]}}"#
        ))
    };
    assert_eq!(decide(vec![user("{}")]), "DENY");
    assert_eq!(decide(vec![user("{}"), user("{}")]), "DENY");
    assert!(decide(vec![user("{}"), user(r#"{"age":1}"#)]).contains("given twice"));
    assert!(decide(vec![user(r#"{"age":"old"}"#)]).starts_with("DENY ! "));
    let action = |parent: &str| {
        let parents = if parent.is_empty() {
            String::new()
        } else {
            format!(r#"{{"type":"Shop::Action","id":"{parent}"}}"#)
        };
        parse(&format!(
            r#"{{"uid":{{"type":"Shop::Action","id":"view"}},"attrs":{{}},"parents":[{parents}]}}"#
        ))
    };
    assert_eq!(decide(vec![action("read")]), "ALLOW staff_read");
    assert!(decide(vec![action("")]).starts_with("DENY ! "));
    let group = |id: &str, parent: &str| {
        parse(&format!(
            r#"{{"uid":{{"type":"Shop::Group","id":"{id}"}},"attrs":{{}},"parents":[{{"type":"Shop::Group","id":"{parent}"}}]}}"#
        ))
    };
    assert!(decide(vec![group("all", "staff")]).contains("its own ancestor"));
    assert_eq!(decide(vec![group("staff", "other")]), "DENY");
    assert_eq!(
        decide(vec![group("staff", "other"), group("other", "all")]),
        "ALLOW staff_read"
    );
}
